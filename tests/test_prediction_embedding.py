"""Embeddings in an AnnData: what they are, what they leave alone, what is refused."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
import torch

from gimp_plugin.assembly.load import load_run, transform_of
from gimp_plugin.cohort.expression import read_cohort
from gimp_plugin.config import Runtime
from gimp_plugin.errors import CheckpointError, CohortError, ConfigError, PairingError
from gimp_plugin.prediction import embed
from gimp_plugin.storage.bags import list_bags, read_features
from gimp_plugin.training import finetune, pretrain
from tests.study_factory import make_bag, make_study, tiny_config

DIM = 16


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("study"), n_cases=20, seed=3)


@pytest.fixture(scope="module")
def runs(study, tmp_path_factory):
    """A run of each kind: two halves, pre-trained; two halves; genes or slides alone."""
    folder = tmp_path_factory.mktemp("runs")
    config = tiny_config(finetune__image_dropout=0.3)
    pretrain(study, config, output=folder / "pretrain", runtime=Runtime())
    finetune(study, config, start="none", output=folder / "both", runtime=Runtime())
    for half in ("genes", "slides"):
        config = tiny_config(model__modalities=half)
        finetune(study, config, start="none", output=folder / half, runtime=Runtime())
    return folder


@pytest.fixture
def adata(study):
    return anndata.read_h5ad(study.adata)


def rows_of(adata):
    return dict(zip(adata.obs_names, adata.obsm["X_gimp"], strict=True))


def by_hand(run, study):
    """Both halves of each case by the model itself."""
    record, model = load_run(run)
    genes = torch.from_numpy(transform_of(record).apply(read_cohort(study.adata))[0])
    bags = {bag.slide_id: bag for bag in list_bags(study.features)}
    halves = []
    with torch.no_grad():
        for row, case_id in enumerate(read_cohort(study.adata).case_ids):
            features = torch.from_numpy(read_features(bags[case_id], 0, bags[case_id].n_patches))
            valid = torch.ones(1, len(features), dtype=torch.bool)
            cls_img = model.encode_slides(features[None], valid).cls_img
            halves.append((cls_img[0], model.encode_genes(genes[row : row + 1])[0]))
    return halves


@pytest.mark.parametrize("run", ["both", "pretrain"])
@pytest.mark.parametrize("what", ["patient", "slides", "genes"])
def test_a_row_is_what_the_model_gives_when_called_by_hand(adata, runs, study, run, what):
    embed(adata, runs / run, what=what, features=study.features)

    normalise = run == "pretrain" and what == "patient"
    expected = []
    for halves in by_hand(runs / run, study):
        cls_img, cls_ge = (half / half.norm() if normalise else half for half in halves)
        both = torch.cat([cls_img, cls_ge])
        expected.append({"slides": cls_img, "genes": cls_ge}.get(what, both))
    found = adata.obsm["X_gimp"]
    assert (found.dtype, found.shape) == (np.float32, (20, 2 * DIM if what == "patient" else DIM))
    np.testing.assert_allclose(found, torch.stack(expected).numpy(), rtol=1e-5, atol=1e-6)
    assert np.unique(found.round(4), axis=0).shape == found.shape


def test_the_head_reads_the_embedding_of_the_patient(adata, runs, study):
    embed(adata, runs / "both", features=study.features)
    _, model = load_run(runs / "both")
    here = torch.ones(1, dtype=torch.bool)

    with torch.no_grad():
        logits = model.head(torch.from_numpy(adata.obsm["X_gimp"]))
        expected = [
            model.classify(cls_img[None], cls_ge[None], here, here)
            for cls_img, cls_ge in by_hand(runs / "both", study)
        ]

    torch.testing.assert_close(logits, torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_one_key_is_added_and_nothing_else_changes(adata, runs, study, tmp_path):
    adata.obsm["X_pca"] = np.ones((20, 2))
    adata.uns["gimp"]["import"] = "{}"
    before = adata.copy()

    embed(adata, runs / "both", features=study.features, key_added="X_mine")
    embed(adata, runs / "both", what="genes", key_added="X_ge")

    assert set(adata.obsm) == {"X_pca", "X_mine", "X_ge"}
    np.testing.assert_array_equal(adata.X, before.X)
    assert adata.obs.equals(before.obs)
    assert adata.var.equals(before.var)
    facts = adata.uns["gimp"].pop("embeddings")
    assert adata.uns["gimp"] == before.uns["gimp"]
    assert {key: fact["what"] for key, fact in facts.items()} == {
        "X_mine": "patient",
        "X_ge": "genes",
    }
    assert facts["X_mine"]["gene_coverage"] == 1.0
    assert len(facts["X_mine"]["model_sha256"]) == 64


def test_an_embedded_cohort_can_be_written_read_and_embedded_again(adata, runs, study, tmp_path):
    embed(adata, runs / "both", features=study.features)
    adata.write_h5ad(tmp_path / "embedded.h5ad")

    again = anndata.read_h5ad(tmp_path / "embedded.h5ad")
    np.testing.assert_array_equal(again.obsm["X_gimp"], adata.obsm["X_gimp"])
    embed(again, runs / "both", features=study.features)

    np.testing.assert_array_equal(again.obsm["X_gimp"], adata.obsm["X_gimp"])


def test_cases_and_genes_in_another_order_change_no_row(adata, runs, study):
    rng = np.random.default_rng(2)
    mixed = adata[rng.permutation(20), rng.permutation(adata.n_vars)].copy()
    few = adata[[4, 11]].copy()

    for each in (adata, mixed, few):
        embed(each, runs / "both", features=study.features)

    expected = rows_of(adata)
    for each in (mixed, few):
        for case_id, row in rows_of(each).items():
            np.testing.assert_array_equal(row, expected[case_id])


def test_the_layer_is_read_and_x_is_not(adata, runs):
    embed(adata, runs / "both", what="genes")
    expected = adata.obsm["X_gimp"].copy()
    adata.layers["log"] = adata.X.copy()
    adata.X = adata.X[::-1].copy()

    embed(adata, runs / "both", what="genes", layer="log", scale="log", key_added="by_layer")
    embed(adata, runs / "both", what="genes", key_added="by_x")

    np.testing.assert_array_equal(adata.obsm["by_layer"], expected)
    np.testing.assert_array_equal(adata.obsm["by_x"], expected[::-1])
    assert adata.uns["gimp"]["embeddings"]["by_layer"]["layer"] == "log"
    assert adata.uns["gimp"]["embeddings"]["by_x"]["layer"] == "X"


def test_a_run_of_slides_only_needs_no_gene(adata, runs, study):
    embed(adata, runs / "slides", features=study.features)
    without = anndata.AnnData(adata.X[:, :1], obs=adata.obs, var=adata.var.iloc[:1])
    without.uns["gimp"] = {"scale": "log"}

    embed(without, runs / "slides", features=study.features)

    np.testing.assert_array_equal(without.obsm["X_gimp"], adata.obsm["X_gimp"])
    assert adata.obsm["X_gimp"].shape == (20, DIM)


def one_case_without_slides(study, folder):
    features = folder / "features"
    features.mkdir()
    for bag in list_bags(study.features):
        if bag.slide_id != "P07":
            (features / bag.path.name).write_bytes(bag.path.read_bytes())
    return features


def test_a_case_without_slides_gets_the_learned_token_where_the_run_knows_it(
    adata, runs, study, tmp_path, caplog
):
    embed(adata, runs / "both", features=study.features)
    expected = adata.obsm["X_gimp"].copy()

    embed(adata, runs / "both", features=one_case_without_slides(study, tmp_path))

    changed = np.flatnonzero((adata.obsm["X_gimp"] != expected).any(axis=1))
    assert changed.tolist() == [7]
    token = load_run(runs / "both")[1].fusion.slides_token.detach().numpy()
    np.testing.assert_array_equal(adata.obsm["X_gimp"][7, :DIM], token)
    np.testing.assert_array_equal(adata.obsm["X_gimp"][7, DIM:], expected[7, DIM:])
    assert "1 of 20 cases have no slide" in caplog.text


@pytest.mark.parametrize("asked", [("both", "slides"), ("pretrain", "patient")])
def test_where_slides_are_needed_a_case_without_is_refused_by_name(
    adata, runs, study, tmp_path, asked
):
    run, what = asked
    with pytest.raises(PairingError, match=r"1 of 20 cases have no slide.*'P07'"):
        embed(adata, runs / run, what=what, features=one_case_without_slides(study, tmp_path))

    assert "X_gimp" not in adata.obsm
    assert set(adata.uns["gimp"]) == {"scale"}


@pytest.mark.parametrize(("run", "what"), [("genes", "slides"), ("slides", "genes")])
def test_a_half_that_the_run_does_not_have_is_refused(adata, runs, study, run, what):
    with pytest.raises(CheckpointError, match=f"it has no {what}"):
        embed(adata, runs / run, what=what, features=study.features)


def test_bags_of_another_encoder_are_refused(adata, runs, study, tmp_path):
    make_bag(tmp_path / "P01.h5", 5, 0.5, rng=np.random.default_rng(0), encoder="other")

    with pytest.raises(CheckpointError, match="'other'"):
        embed(adata, runs / "both", features=tmp_path)


def test_genes_that_do_not_fit_are_refused_with_their_share(adata, runs):
    half = adata[:, :8].copy()

    with pytest.raises(CohortError, match="8 of the model's 17 genes"):
        embed(half, runs / "both", what="genes")
    embed(half, runs / "both", what="genes", min_gene_coverage=0.4)

    assert half.uns["gimp"]["embeddings"]["X_gimp"]["gene_coverage"] == pytest.approx(8 / 17)


def test_another_scale_than_the_training_is_refused(adata, runs):
    adata.uns["gimp"]["scale"] = "tpm"
    adata.X = np.expm1(adata.X)

    with pytest.raises(CohortError, match="the scale 'log'"):
        embed(adata, runs / "genes")


@pytest.mark.parametrize("key", ["", "a/b"])
def test_a_key_that_no_file_can_hold_is_refused(adata, runs, key):
    with pytest.raises(CohortError, match="key_added"):
        embed(adata, runs / "genes", key_added=key)


def test_an_unknown_embedding_is_refused_with_the_nearest(adata, runs):
    with pytest.raises(ConfigError, match="'patients'"):
        embed(adata, runs / "genes", what="patients")


def test_a_backed_anndata_is_refused(runs, study):
    backed = anndata.read_h5ad(study.adata, backed="r")

    with pytest.raises(CohortError, match="backed"):
        embed(backed, runs / "genes")
    backed.file.close()


def test_a_run_that_was_trained_from_elsewhere_finds_its_own_bags(adata, runs, study):
    embed(adata, str(runs / "both"))
    by_default = adata.obsm["X_gimp"].copy()

    embed(adata, runs / "both", features=str(study.features))

    np.testing.assert_array_equal(adata.obsm["X_gimp"], by_default)
