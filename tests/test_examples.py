"""The examples run from beginning to end."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import anndata
import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib import image
from scipy.stats import ttest_ind

from gimp_plugin.cli.main import cli
from gimp_plugin.cohort.splitting.splits import read_folds
from gimp_plugin.config import Runtime, load_preset
from gimp_plugin.prediction import embed
from gimp_plugin.storage.bags import list_bags, read_coords, read_features
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.training import finetune, pretrain
from tests import foreign_bags
from tests.benchmark_factory import benchmark
from tests.cohort_factory import make_cohort
from tests.slide_factory import make_slide
from tests.slide_readers import borrow
from tests.study_factory import make_study, tiny_config
from tests.toolbox_factory import make_run, make_slides

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def example(monkeypatch):
    """Import an example by name and call its main with arguments."""

    def call(name, *arguments):
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        module.main()

    return call


@pytest.mark.filterwarnings("ignore:The method obs_vector is deprecated:FutureWarning")  # scanpy
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")  # in scanpy
def test_the_umap_of_embeddings_is_drawn_and_the_cohort_stays_as_it_was(example, tmp_path, capsys):
    source = make_study(tmp_path, n_cases=40, n_genes=31, scale="counts")
    before = source.adata.read_bytes()
    run, figure = tmp_path / "run", tmp_path / "umap.png"
    finetune(source, tiny_config(), start="genes", output=run, runtime=Runtime())

    example("umap_of_embeddings", source.adata, run, figure)

    assert "40 cases, 32 dimensions" in capsys.readouterr().out
    assert image.imread(figure).std() > 0.05
    assert source.adata.read_bytes() == before


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_figure_2_has_its_numbers_from_held_out_cases(example, tmp_path, capsys):
    fold = [case // 2 % 2 for case in range(24)]
    source = make_study(tmp_path, n_cases=24, obs={"fold": fold})
    benchmark(source, tmp_path / "study", "--methods", "gimp-slides", "--fold", 1)
    figure = tmp_path / "figure.svg"

    drawn = set()
    for _ in range(2):
        example("figure2", tmp_path / "study", "-o", figure, "--fold", 1, "-k", 3)
        drawn.add(figure.read_text())

    told = capsys.readouterr()
    assert "biovil: " in told.err
    assert "is not done, left out" in told.err
    (row,) = read_csv(tmp_path / "figure.csv")
    adata = anndata.read_h5ad(source.adata)
    embed(adata, tmp_path / "study/cells/gimp-slides/fold-1-seed-0/pretrain")
    splits = next(one for one in read_folds(tmp_path / "study/splits.csv") if one.fold == "1")
    train, test = (adata[list(splits.of(part))] for part in ("train", "test"))
    assert (int(row["n_train"]), int(row["n_test"])) == (train.n_obs, test.n_obs)
    silhouettes, hits = [], []
    for case in test.obs_names:
        own = test.obs.loc[case, "label"]
        away = {
            other: np.linalg.norm(test[other].obsm["X_gimp"] - test[case].obsm["X_gimp"])
            for other in test.obs_names
            if other != case
        }
        near, far = (
            np.mean(
                [d for other, d in away.items() if (test.obs.loc[other, "label"] == own) is same]
            )
            for same in (True, False)
        )
        silhouettes.append((far - near) / max(near, far))
        order = np.linalg.norm(train.obsm["X_gimp"] - test[case].obsm["X_gimp"], axis=1).argsort()
        hits.append(sum(train.obs["label"].iloc[order[:3]] == own) >= 2)
    assert float(row["silhouette"]) == pytest.approx(np.mean(silhouettes), abs=6e-4)  # 3 decimals
    assert float(row["knn_accuracy"]) == pytest.approx(np.mean(hits), abs=6e-4)
    (text,) = drawn
    assert f"silhouette {np.mean(silhouettes):.2f}" in text


@pytest.mark.slow
def test_settings_are_chosen_on_the_folds_that_are_named_and_no_other(example, tmp_path, capsys):
    fold = [case // 2 % 4 for case in range(48)]
    source = make_study(tmp_path, n_cases=48, obs={"fold": fold})
    candidates = tmp_path / "candidates.toml"
    candidates.write_text(
        '[base]\n"model.dim" = 8\n"model.n_heads" = 2\n"genes.epochs" = 1\n"finetune.epochs" = 1\n'
        '[candidates.as-it-is]\n[candidates.raw]\n"model.feature_norm" = "none"\n'
    )
    out = tmp_path / "choice"
    arguments = (source.adata, source.features, out, candidates, "--regimes", "genes:5")

    example("choose_settings", *arguments, "--folds", 1, 2)

    table = capsys.readouterr().out
    assert "| as-it-is |" in table
    assert "| raw |" in table
    folds = {splits.fold: splits for splits in read_folds(out / "splits.csv")}
    assert list(folds) == ["1", "2"]
    fold_of = {f"P{case:02d}": number for case, number in enumerate(fold)}
    for own, judging in ((1, 2), (2, 1)):
        splits = folds[str(own)]
        assert {fold_of[case_id] for case_id in splits.of("test")} == {judging}
        assert own not in {fold_of[case_id] for case_id in splits.parts}
        assert {fold_of[case_id] for case_id in splits.of("train")} == {0, 3}
        assert len(splits.of("val")) == 4  # a fifth of 12 of each class, rounded


def test_simulated_slides_tell_the_class_by_regions_of_the_rare_kind_and_not_by_their_mean(
    example, tmp_path
):
    size = ("--cases", 40, "--patches", 400, 600, "--seed", 3)
    example("simulate_long_bags", tmp_path / "ordered", *size)
    example("simulate_long_bags", tmp_path / "shuffled", *size, "--shuffle-patches")

    regions = np.load(tmp_path / "ordered" / "regions.npz")
    cohort = anndata.read_h5ad(tmp_path / "ordered" / "genes.h5ad")
    bags = {
        order: {bag.slide_id: bag for bag in list_bags(tmp_path / order / "features")}
        for order in ("ordered", "shuffled")
    }
    assert set(bags["ordered"]) == set(regions) == set(cohort.obs_names)
    assert all(bags["ordered"][name].n_patches == len(kinds) for name, kinds in regions.items())
    rare = (cohort.obs["label"] == "rare").to_numpy()
    share = np.array([(regions[name] >= 5).mean() for name in cohort.obs_names])
    assert share[rare].mean() > 2 * share[~rare].mean()
    change = np.concatenate([np.diff(kinds) != 0 for kinds in regions.values()]).mean()
    assert 1 / 45 < change < 1 / 20  # regions are contiguous
    assert cohort.obs.groupby("fold", observed=True)["label"].value_counts().eq(4).all()

    features = {name: read_features(bag).astype(float) for name, bag in bags["ordered"].items()}
    for name, own in features.items():
        other = read_features(bags["shuffled"][name])
        assert not np.array_equal(own, other)
        np.testing.assert_array_equal(np.sort(own, axis=0), np.sort(other, axis=0))
    forms = [
        np.concatenate([features[name][regions[name] == kind] for name in features]).mean(0)
        for kind in (5, 6)
    ]
    means = np.array([features[name].mean(0) @ (forms[0] - forms[1]) for name in cohort.obs_names])
    assert ttest_ind(means[rare], means[~rare]).pvalue > 0.01


@pytest.mark.slow
def test_the_commands_in_python_write_what_the_commands_write(
    example, tmp_path, monkeypatch, capsys
):
    borrow(monkeypatch)
    adata = make_cohort(tmp_path / "genes.h5ad", n_cases=20, declared="log")
    for case in range(20):
        make_slide(tmp_path / "slides" / f"P{case:02d}.svs", (600, 600), seed=case)
    out = tmp_path / "study"
    small = ("--patch-encoder", "untrained", "--dim", 16, "--epochs", 1)

    example("python_api", tmp_path / "slides", adata, out, *small)
    printed = capsys.readouterr().out
    options = ("--model", out / "finetune", "--adata", adata, "-o", tmp_path / "own.csv")
    CliRunner().invoke(cli, ["predict", *map(str, options)])

    assert "predictions.csv: 4 test cases (2 LUAD, 2 LUSC)" in printed
    assert "('LUAD', 'LUSC') from 7 genes; GimpModel" in printed
    assert (tmp_path / "own.csv").read_bytes() == (out / "predictions.csv").read_bytes()
    ours, theirs = (read_csv(out / name) for name in ("by_bundle.csv", "predictions.csv"))
    assert [row["prob_LUSC"] for row in ours] == [row["prob_LUSC"] for row in theirs]
    assert {row["n_patches"] for row in theirs} == {"4"}


@pytest.mark.slow
def test_stores_of_lazyslide_train_and_predict_as_the_same_features_of_ours(
    example, tmp_path, capsys
):
    source = make_study(tmp_path)
    (tmp_path / "zarrs").mkdir()
    for bag in list_bags(source.features):
        features = read_features(bag, 0, bag.n_patches)
        coords = read_coords(bag)
        foreign_bags.wsidata_zarr(tmp_path / "zarrs", bag.slide_id, features, coords)
    before = source.adata.read_bytes()
    small = {"model.dim": 16} | {f"{one}.epochs": 1 for one in ("genes", "pretrain", "finetune")}
    config, run = load_preset("recommended", small), tmp_path / "ours"

    example("from_wsidata", tmp_path / "zarrs", source.adata, tmp_path / "s", "--dim", 16,
            "--epochs", 1)  # fmt: skip
    pretrain(source, config, output=run / "pretrain", runtime=Runtime())
    start = str(run / "pretrain")
    finetune(source, config, start=start, output=run / "finetune", runtime=Runtime())

    printed = capsys.readouterr().out
    assert "features of uni" in printed
    assert "6 test cases (3 LUAD, 3 LUSC)" in printed
    assert source.adata.read_bytes() == before
    embedded = anndata.read_h5ad(tmp_path / "s" / "embedded.h5ad")
    expected = anndata.read_h5ad(source.adata)
    embed(expected, run / "finetune")
    np.testing.assert_array_equal(embedded.obsm["X_gimp"], expected.obsm["X_gimp"])


@pytest.mark.slow
@pytest.mark.tiatoolbox
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # TIAToolbox
def test_a_pipeline_of_tiatoolbox_has_our_features_classes_and_overlays(
    example, monkeypatch, tmp_path, capsys
):
    borrow(monkeypatch)
    run, source = make_run(tmp_path)
    slides = make_slides(tmp_path / "slides")
    table = tmp_path / "slides.csv"
    table.write_text("slide_id,case_id\nP00-a,P00\nP00-b,P00\nP01,P01\n")
    output = tmp_path / "out"

    example(
        "tiatoolbox_pipeline", *slides.values(), "--run", run, "--output", output,
        "--adata", source.adata, "--slide-table", table,
    )  # fmt: skip

    told = capsys.readouterr().out
    for name in slides:
        assert f"{name}: " in told
        assert image.imread(output / f"{name}.png").shape == (256, 256, 3)
        assert (output / "overlays" / f"{name}.db").exists()
    assert told.count("the two features at most 0 apart") == len(slides)
    assert told.count("times an even share") == len(slides)
