"""Where both halves carry part of the class, fusion finds both; shuffled labels teach nothing."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from statistics import mean

import anndata
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from gimp_plugin.config import CohortSource, Runtime
from gimp_plugin.prediction import predict
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.training import finetune
from tests.study_factory import make_study, tiny_config

N_CASES, SEEDS = 126, range(3)
PARTS = ("train", "train", "val", *["test"] * 4)
QUICK = {
    "model__n_layers": 1,
    "genes__epochs": 6,
    "finetune__epochs": 6,
    "finetune__batch_size": 16,
    "finetune__lr": 5e-3,
}
ARMS = {
    "both": {},
    "slides": {"model__modalities": "slides"},
    "genes": {"model__modalities": "genes"},
    "paper": {"preset": "paper"},
}


def auc_of(source: CohortSource, folder: Path, **changes) -> float:
    """AUC on the test cases."""
    config = tiny_config(**QUICK | {"preset": "recommended"} | changes)
    finetune(source, config, start="genes", output=folder, runtime=Runtime())
    predict(folder, write_tests(source), output=folder / "t.csv", runtime=Runtime())
    rows = read_csv(folder / "t.csv")
    assert {row["split"] for row in rows} == {"test"}
    labels = [row["label"] == "LUSC" for row in rows]
    return roc_auc_score(labels, [float(row["prob_LUSC"]) for row in rows])


def write_tests(source: CohortSource) -> CohortSource:
    """Put the test cases into a folder of their own: all are trained on, but few predicted."""
    folder = Path(source.adata).with_name("tests")
    rows = [case for case in range(N_CASES) if PARTS[case // 2 % len(PARTS)] == "test"]
    (folder / "features").mkdir(parents=True, exist_ok=True)
    for case in rows:
        shutil.copy(Path(source.features) / f"P{case:02d}.h5", folder / "features")
    anndata.read_h5ad(source.adata)[rows].write_h5ad(folder / "genes.h5ad")
    return replace(source, adata=folder / "genes.h5ad", features=folder / "features")


def aucs_of_all_arms(folder: Path, seed: int) -> dict[str, float]:
    """AUC of each arm on a cohort of its own, and of the fusion when the labels are shuffled."""
    folder.mkdir()
    source = make_study(
        folder, n_cases=N_CASES, n_patches=(5, 13), gene_signal=0.7, image_signal=0.4, seed=seed
    )
    rows = [f"P{case:02d},{PARTS[case // 2 % len(PARTS)]}\n" for case in range(N_CASES)]
    (folder / "splits.csv").write_text("case_id,split\n" + "".join(rows))
    source = replace(source, splits=str(folder / "splits.csv"))
    found = {name: auc_of(source, folder / name, **changes) for name, changes in ARMS.items()}
    cohort = anndata.read_h5ad(source.adata)
    rng = np.random.default_rng(seed)
    cohort.obs["label"] = rng.permutation(cohort.obs["label"].to_numpy())
    cohort.write_h5ad(source.adata)
    return {**found, "shuffled": auc_of(source, folder / "shuffled")}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fusion_is_no_worse_than_the_better_half_and_shuffled_labels_teach_nothing(
    monkeypatch, tmp_path
):
    each = [aucs_of_all_arms(tmp_path / str(seed), seed) for seed in SEEDS]
    auc = {name: mean(one[name] for one in each) for name in each[0]}

    assert min(auc["slides"], auc["genes"]) > 0.65
    assert auc["both"] > max(auc["slides"], auc["genes"]) - 0.03
    assert auc["both"] > auc["paper"]
    assert abs(auc["shuffled"] - 0.5) < 0.09  # two standard errors of the mean of three are .08
