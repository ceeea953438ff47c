"""Where both halves carry part of the class, fusion finds both; shuffled labels teach nothing."""

from __future__ import annotations

from dataclasses import replace

import anndata
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gimp_plugin.config import Runtime
from gimp_plugin.prediction import predict
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.training import finetune
from tests.study_factory import make_study, tiny_config

N_CASES = 200
PARTS = ("train", "train", "val", "test", "test")


def auc_of(source, folder, **changes):
    """AUC on the test cases."""
    config = tiny_config(finetune__epochs=8, genes__epochs=8, **changes)
    finetune(source, config, start="genes", output=folder, runtime=Runtime())
    predict(folder, source, output=folder / "t.csv", runtime=Runtime())
    rows = [row for row in read_csv(folder / "t.csv") if row["split"] == "test"]
    labels = [row["label"] == "LUSC" for row in rows]
    return roc_auc_score(labels, [float(row["prob_LUSC"]) for row in rows])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fusion_is_no_worse_than_the_better_half_and_shuffled_labels_teach_nothing(tmp_path):
    source = make_study(
        tmp_path, n_cases=N_CASES, n_patches=(5, 13), gene_signal=0.7, image_signal=0.4
    )
    rows = [f"P{case:02d},{PARTS[case // 2 % 5]}\n" for case in range(N_CASES)]
    (tmp_path / "splits.csv").write_text("case_id,split\n" + "".join(rows))
    source = replace(source, splits=str(tmp_path / "splits.csv"))
    halves = [
        auc_of(source, tmp_path / half, model__modalities=half) for half in ("slides", "genes")
    ]
    both = auc_of(source, tmp_path / "both")

    cohort = anndata.read_h5ad(source.adata)
    rng = np.random.default_rng(0)
    cohort.obs["label"] = rng.permutation(cohort.obs["label"].to_numpy())
    cohort.write_h5ad(source.adata)
    shuffled = auc_of(source, tmp_path / "shuffled")

    assert min(halves) > 0.65
    assert both > max(halves) - 0.03
    assert abs(shuffled - 0.5) < 0.14  # 80 cases: two standard errors of an AUC of .5 are .13
