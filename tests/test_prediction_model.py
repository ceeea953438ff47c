"""`gimp_plugin.GimpModel`: a bundle in Python, to predict with and as a module of torch."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch

import gimp_plugin
from gimp_plugin import GimpModel
from gimp_plugin.cohort.expression import read_cohort
from gimp_plugin.config import Runtime
from gimp_plugin.errors import (
    CheckpointError,
    CohortError,
    ConfigError,
    MissingFileError,
    ResourceError,
)
from gimp_plugin.prediction import embed, predict
from gimp_plugin.storage.bags import list_bags, read_features
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.studies.bundle import export
from gimp_plugin.training import finetune, pretrain
from tests.study_factory import make_study, tiny_config

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def bundle(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    config = tiny_config(finetune__epochs=2)
    finetune(study, config, start="none", output=folder / "run", runtime=Runtime())
    export(folder / "run", output=folder / "bundle")
    return folder / "bundle"


def test_importing_the_package_imports_nothing_heavy():
    code = "import gimp_plugin, sys; print(sorted(sys.modules)); gimp_plugin.GimpModel"
    code += "; print('torch' in sys.modules)"

    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout

    before, after = printed.decode().splitlines()
    assert "'gimp_plugin'" in before
    assert not [name for name in ("torch", "numpy", "anndata", "click") if f"'{name}'" in before]
    assert after == "True"


def test_an_attribute_that_there_is_not_is_named():
    with pytest.raises(AttributeError, match="'gimp_plugin' has no attribute 'GimpModle'"):
        _ = gimp_plugin.GimpModle


def test_it_writes_the_table_that_predict_writes(bundle, study, tmp_path):
    model = GimpModel.from_pretrained(str(bundle))
    inputs = {"adata": str(study.adata), "features": str(study.features)}

    result = model.predict(**inputs, output=str(tmp_path / "a.csv"), abstain_below=0.6)

    predict(bundle, study, output=tmp_path / "b.csv", runtime=Runtime(), abstain_below=0.6)
    assert result.path.read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert result.n_cases == 30


def test_the_module_gives_the_probabilities_of_the_table_by_hand(bundle, study, tmp_path):
    model = GimpModel.from_pretrained(bundle)
    rows = read_csv(model.predict(adata=study.adata, features=study.features,
                                  output=tmp_path / "a.csv").path)  # fmt: skip
    cohort = read_cohort(study.adata)
    genes, coverage = model.transform.apply(cohort)
    bags = {bag.slide_id: bag for bag in list_bags(study.features)}
    here = torch.ones(1, dtype=torch.bool)

    found = []
    for place, case_id in enumerate(cohort.case_ids):
        bag = bags[case_id]
        features = torch.from_numpy(read_features(bag, 0, bag.n_patches))[None]
        with torch.no_grad():
            image = model.module.encode_slides(features, torch.ones(1, bag.n_patches).bool())
            expression = model.module.encode_genes(torch.from_numpy(genes[place : place + 1]))
            logits = model.module.classify(image.cls_img, expression, here, here)
        found.append((logits.double() / model.temperature).softmax(dim=1)[0].tolist())

    table = {row["case_id"]: [float(row[f"prob_{name}"]) for name in model.classes] for row in rows}
    expected = [table[case_id] for case_id in cohort.case_ids]
    np.testing.assert_allclose(found, expected, atol=1e-5)  # streamed or at once, in float32
    assert np.std(expected) > 0.05
    assert isinstance(model.module, torch.nn.Module)
    assert not model.module.training
    assert sorted(model.genes) == sorted(cohort.gene_ids)
    assert coverage == 1.0


def test_it_embeds_as_the_function_does(bundle, study):
    ours, theirs = anndata.read_h5ad(study.adata), anndata.read_h5ad(study.adata)

    GimpModel.from_pretrained(bundle).embed(ours, features=study.features, what="slides")

    embed(theirs, bundle, features=study.features, what="slides")
    np.testing.assert_array_equal(ours.obsm["X_gimp"], theirs.obsm["X_gimp"])
    assert ours.obsm["X_gimp"].shape == (30, 16)


def test_inputs_that_there_are_not_are_named_before_any_work(bundle, tmp_path):
    model = GimpModel.from_pretrained(bundle)

    with pytest.raises(ConfigError, match="unknown key 'feature', did you mean 'features'"):
        model.predict(feature="bags", output=tmp_path / "a.csv")
    with pytest.raises(MissingFileError, match="'none' does not exist"):
        GimpModel.from_pretrained("none")

    assert list(tmp_path.iterdir()) == []


def test_an_anndata_gives_the_table_that_its_file_gives(bundle, study, tmp_path):
    model = GimpModel.from_pretrained(bundle)
    inputs = {"features": study.features, "label_key": "label"}
    model.predict(adata=study.adata, output=tmp_path / "a.csv", **inputs)
    adata = anndata.read_h5ad(study.adata)
    before = adata.copy()

    result = model.predict(adata=adata, output=tmp_path / "b.csv", **inputs)
    again = model.predict(adata=adata, output=tmp_path / "a.csv", **inputs)

    assert result.path.read_bytes() == (tmp_path / "a.csv").read_bytes()
    assert {row["label"] for row in read_csv(result.path)} == set(model.classes)
    assert again.outcome == "nothing to do"
    assert adata.obs.equals(before.obs)
    np.testing.assert_array_equal(adata.X, before.X)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"adata": 7}, "adata is int 7, expected a path or an AnnData"),
        ({"adata": ""}, "adata is str '', expected a path or an AnnData"),
        ({"features": ["a", "b"]}, r"features is list \['a', 'b'\], expected a path"),
        ({}, "nothing says which cases to predict"),
        ({"adata": "a.h5ad", "output": ""}, "output is str '', expected a path"),
    ],
)
def test_inputs_that_are_no_paths_are_named(bundle, tmp_path, inputs, message):
    with pytest.raises(ConfigError, match=message):
        GimpModel.from_pretrained(bundle).predict(**{"output": tmp_path / "a.csv", **inputs})

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["file/a.csv", "/proc/a.csv", f"{300 * 'a'}.csv"])
def test_a_table_that_cannot_be_written_is_out_of_a_resource(
    bundle, study, tmp_path, monkeypatch, place
):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("mine")

    with pytest.raises(ResourceError, match="cannot write in"):
        GimpModel.from_pretrained(bundle).predict(
            adata=study.adata, features=study.features, output=place
        )

    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_what_is_no_cohort_in_memory_is_told_as_in_a_file(bundle, study, tmp_path):
    adata = anndata.read_h5ad(study.adata)
    adata.uns["gimp"] = "mine"

    with pytest.raises(CohortError, match=r"uns\['gimp'\] of the AnnData is 'mine'"):
        GimpModel.from_pretrained(bundle).predict(adata=adata, output=tmp_path / "a.csv")

    assert list(tmp_path.iterdir()) == []


def test_labels_beside_an_anndata_are_refused(bundle, study, tmp_path):
    with pytest.raises(ConfigError, match="labels cannot be combined with an AnnData"):
        GimpModel.from_pretrained(bundle).predict(
            adata=anndata.read_h5ad(study.adata), labels="l.csv", output=tmp_path / "a.csv"
        )

    assert list(tmp_path.iterdir()) == []


def test_a_model_shows_what_it_is_on_a_line(bundle):
    model = GimpModel.from_pretrained(bundle)

    assert repr(model) == (
        f"<GimpModel of bundle {str(bundle)!r}: classes LUAD, LUSC; reads 17 genes and slides by "
        "'untrained'>"
    )


def test_a_pretrained_run_is_refused_and_says_what_to_do(study, tmp_path):
    pretrain(study, tiny_config(), output=tmp_path / "pre", runtime=Runtime())

    with pytest.raises(CheckpointError, match="is a pretrain run: it has no trained") as caught:
        GimpModel.from_pretrained(tmp_path / "pre")

    assert "gimp finetune --from" in caught.value.hint


PRINTED = {
    "documentation": (DOCS / "how-to" / "share-a-model.md", "bundle", "new.h5ad"),
    "card": (None, "this-folder", "genes.h5ad"),
}


@pytest.mark.parametrize("where", PRINTED)
def test_the_python_of_the_page_and_of_the_card_runs_as_it_is_printed(
    bundle, study, tmp_path, monkeypatch, where
):
    page, name, adata = PRINTED[where]
    monkeypatch.chdir(tmp_path)
    shutil.copytree(bundle, name)
    shutil.copy(study.adata, adata)
    shutil.copytree(study.features, "features")
    text = (page or bundle / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)

    exec(code, {})  # our own pages

    (table,) = tmp_path.glob("*.csv")
    assert len(read_csv(table)) == 30
