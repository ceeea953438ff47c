"""What methods of a comparison learn from, and baselines against other implementations."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import anndata
import h5py
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from gimp_plugin.cohort.splitting.splits import Splits, read_splits
from gimp_plugin.config import load_preset
from gimp_plugin.errors import ConfigError
from gimp_plugin.plugins import registry
from gimp_plugin.storage.predictions import read_predictions
from gimp_plugin.storage.runs import read_run
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.studies.benchmark.arms import shuffled_labels
from gimp_plugin.studies.benchmark.contract import warn_of_parts
from gimp_plugin.studies.benchmark.folder import Place
from gimp_plugin.studies.benchmark.inputs import look
from gimp_plugin.studies.benchmark.methods import METHODS, method_of
from gimp_plugin.studies.benchmark.protocol import Regime
from tests.benchmark_factory import benchmark, cell, evaluations, probabilities
from tests.plugin_factory import installing
from tests.study_factory import make_study, tiny_config

pytestmark = pytest.mark.timeout(600)
N_CASES = 40
HALVES = ("logistic-genes", "logistic-bag", "logistic-both")
ROWS = ("gimp-snn", "gimp-mpm", "gimp-image-triplet", "gimp-triplet")
BY_SETTINGS = [(name, METHODS[name]) for name in (*registry().names("system"), *ROWS)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    fold = [case // 2 % 2 for case in range(N_CASES)]
    folder = tmp_path_factory.mktemp("inputs")
    study = make_study(folder, n_cases=N_CASES, n_genes=17, n_patches=(5, 13), obs={"fold": fold})
    return replace(study, splits="obs:fold")


def by_sklearn(source, parts):
    """Probabilities of the second class by half, made without our code."""
    cohort = anndata.read_h5ad(source.adata)
    labels = (cohort.obs["label"] == "LUSC").to_numpy(int)
    means = []
    for case in cohort.obs_names:
        with h5py.File(source.features / f"{case}.h5") as bag:
            means.append(bag["features"][:].astype(float).mean(axis=0))
    genes, bags = np.asarray(cohort.X, float), np.array(means)
    part = np.array([parts[case] for case in cohort.obs_names])
    found = {}
    for name, x in zip(HALVES, (genes, bags, np.c_[genes, bags]), strict=True):
        scores = []
        for c in (0.001, 0.01, 0.1, 1, 10):
            model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000))
            model.fit(x[part == "train"], labels[part == "train"])
            val, truth = model.predict_proba(x[part == "val"]), labels[part == "val"]
            rank = (balanced_accuracy_score(truth, val[:, 1] > 0.5), -log_loss(truth, val), -c)
            scores.append((rank, model))
        best = max(scores, key=lambda one: one[0])[1]
        found[name] = dict(zip(cohort.obs_names, best.predict_proba(x)[:, 1], strict=True))
    return found


def test_logistic_regressions_are_those_of_a_plain_pipeline(source, tmp_path):
    result = benchmark(source, tmp_path / "s", "--methods", ",".join(HALVES), "--fold", 1)

    assert result.exit_code == 0, result.stderr
    expected = by_sklearn(source, read_splits(tmp_path / "s" / "splits.csv", fold="1").parts)
    for name in HALVES:
        ours = probabilities(cell(tmp_path / "s", name, 1))
        assert ours == pytest.approx(expected[name], abs=2e-5)  # genes pass through float32
    assert len({tuple(one.values()) for one in expected.values()}) == 3


def test_a_few_labels_are_nested_and_leave_val_and_test_alone(source):
    full, some, few = (
        look(source, Regime.parse(text), seed=3).fold("1")
        for text in ("full", "labels:5", "labels:2")
    )

    assert set(few.of("train")) < set(some.of("train")) < set(full.of("train"))
    assert (len(few.of("train")), len(some.of("train"))) == (2 * 2, 2 * 5)
    for part in ("val", "test"):
        assert few.of(part) == some.of(part) == full.of(part)
    other = look(source, Regime.parse("labels:5"), seed=4).fold("1")
    assert set(other.of("train")) != set(some.of("train"))


def test_all_methods_learn_from_the_same_few_labels(source, tmp_path):
    words = ("--methods", "gimp-none,logistic-bag", "--regime", "labels:3", "--fold", 0)
    result = benchmark(source, tmp_path / "s", *words)

    assert result.exit_code == 0, result.stderr
    run = read_run(cell(tmp_path / "s", "gimp-none") / "finetune")
    rows = read_csv(cell(tmp_path / "s", "logistic-bag") / "predictions.csv")
    trained = [row["case_id"] for row in rows if row["split"] == "train"]
    assert len(trained) == 2 * 3
    assert run.trained_on["train"] == sorted(trained)
    assert "regime labels:3" in result.stdout


def test_all_methods_read_the_same_random_genes(source, tmp_path):
    words = ("--methods", "gimp-gene-half,logistic-genes", "--regime", "genes:5", "--fold", 0)
    result = benchmark(source, tmp_path / "s", *words, "--seed", 2)

    assert result.exit_code == 0, result.stderr
    panel, whole = anndata.read_h5ad(tmp_path / "s/genes.h5ad"), anndata.read_h5ad(source.adata)
    run = read_run(cell(tmp_path / "s", "gimp-gene-half", 0, 2) / "finetune")
    chosen = np.random.default_rng(2).choice(17, 5, replace=False)
    assert list(panel.var_names) == [f"G{gene:03d}" for gene in chosen]
    assert [row["id"] for row in run.gene_rows] == list(panel.var_names)
    assert np.array_equal(panel.X, whole.X[:, chosen])
    assert evaluations(tmp_path / "s")["logistic-genes"]["n_parameters"] == 5 + 1


def test_a_panel_of_counts_keeps_the_totals_of_all_genes(tmp_path):
    source = make_study(tmp_path, n_cases=20, n_genes=17, scale="counts")
    counts = np.asarray(anndata.read_h5ad(source.adata).X, float)

    cohort = look(source, Regime.parse("genes:4"), seed=0).study.cohort

    columns = [int(name[1:]) for name in cohort.gene_ids]
    expected = np.log1p(1e6 * counts / counts.sum(axis=1, keepdims=True))[:, columns]
    assert cohort.scale == "log1p"
    np.testing.assert_allclose(cohort.values, expected, rtol=1e-6)


def test_without_splits_they_are_drawn_once_for_all_seeds(source, tmp_path):
    words = ("--methods", "logistic-bag", "--seeds", 2)
    result = benchmark(source, tmp_path / "s", *words, splits="")

    assert result.exit_code == 0, result.stderr
    first, second = (
        {row["case_id"]: row["split"] for row in read_csv(table)}
        for table in sorted((tmp_path / "s").glob("cells/*/*/predictions.csv"))
    )
    assert first == second
    assert sorted(first.values()).count("test") == N_CASES // 5


def test_a_fold_of_any_name_stays_in_the_folder(tmp_path):
    folds = ["../../x" if case // 2 % 2 else "." for case in range(16)]
    source = make_study(tmp_path, n_cases=16, obs={"fold": folds})
    before = {path.name for path in tmp_path.iterdir()} | {"s", "settings.toml"}

    result = benchmark(source, tmp_path / "s", "--methods", "logistic-bag")

    assert result.exit_code == 0, result.stderr
    assert {path.name for path in tmp_path.iterdir()} == before
    assert len(list((tmp_path / "s" / "cells" / "logistic-bag").iterdir())) == 2


def test_three_classes_are_compared_too(tmp_path):
    classes = ("A", "B", "C")
    source = make_study(tmp_path, n_cases=30, classes=classes)

    result = benchmark(source, tmp_path / "s", "--methods", "late-fusion", splits="")

    assert result.exit_code == 0, result.stderr
    genes, slides, both = (
        read_predictions(cell(tmp_path / "s", name) / "predictions.csv").probabilities
        for name in ("logistic-genes", "abmil", "late-fusion")
    )
    product = np.sqrt(genes * slides)
    np.testing.assert_allclose(both, product / product.sum(axis=1, keepdims=True), rtol=1e-9)
    found = evaluations(tmp_path / "s")["logistic-genes"]
    assert found["n_parameters"] == 3 * (17 + 1)
    assert set(found["evaluation"]["by_class"]) == set(classes)


def test_systems_and_rows_of_table_2_differ_by_these_settings():
    base = load_preset("paper")
    configs = {name: base.replace(method.train.keywords["changes"]) for name, method in BY_SETTINGS}
    weights = {
        name: (
            config.pretrain.reconstruction_weight,
            config.pretrain.patient_triplet_weight,
            config.pretrain.image_triplet_weight,
        )
        for name, config in configs.items()
        if name in ROWS
    }

    systems = {name: config.model.system for name, config in configs.items() if name not in ROWS}
    assert systems == {name: name for name in registry().names("system")}
    assert {configs[name].model.modalities for name in ROWS} == {"slides+genes"}
    assert weights == {
        "gimp-snn": (1, 1, 0),
        "gimp-mpm": (1, 0, 0),
        "gimp-image-triplet": (0, 0, 1),
        "gimp-triplet": (0, 1, 0),
    }
    assert configs["gimp-snn"].model.gene_encoder == "snn"


def test_a_system_and_rows_of_table_2_are_trained_and_predict(source, monkeypatch, tmp_path):
    names = ("dsmil", "gimp-snn", "gimp-image-triplet")

    result = benchmark(source, tmp_path / "s", "--methods", ",".join(names), "--fold", 0)

    assert result.exit_code == 0, result.stderr
    stages = {
        name: [*read_run(cell(tmp_path / "s", name) / "finetune").metrics["stages"]]
        for name in names
    }
    assert stages == {
        "dsmil": ["finetune"],
        "gimp-snn": ["finetune", "genes"],
        "gimp-image-triplet": ["finetune"],
    }
    assert all(len(set(probabilities(cell(tmp_path / "s", name)).values())) > 1 for name in names)


def test_other_pre_trainings_are_trained_without_labels_on_cases_that_have_none(
    source, monkeypatch, tmp_path
):
    names = ("mgca", "biovil", "refers")
    words = ("--methods", ",".join(names), "--fold", 0, "--regime", "labels:3+unlabelled")

    result = benchmark(source, tmp_path / "s", *words)

    assert result.exit_code == 0, result.stderr
    for name in names:
        before, after = (
            read_run(cell(tmp_path / "s", name) / stage) for stage in ("pretrain", "finetune")
        )
        assert before.config.model.trainer == after.config.model.trainer == name
        assert [*before.metrics["stages"]] == ["pretrain"]
        assert [*after.metrics["stages"]] == ["finetune"]
        assert before.metrics["n_unlabelled"] == before.metrics["n_cases"]["train"] - 6 > 0
        assert len(set(probabilities(cell(tmp_path / "s", name)).values())) > 1


def test_one_part_is_swapped_by_a_setting_behind_the_name(source, tmp_path):
    swapped = "gimp-slides-none+model.aggregator=abmil+finetune.lr=3e-3"

    result = benchmark(source, tmp_path / "s", "--methods", f"{swapped},abmil", "--fold", 0)
    again = benchmark(source, tmp_path / "s", "--methods", f"abmil,{swapped}", "--fold", 0)

    assert result.exit_code == 0, result.stderr
    assert list(evaluations(tmp_path / "s")) == ["abmil", swapped]
    own, other = (cell(tmp_path / "s", name) for name in (swapped, "abmil"))
    assert (own / "predictions.csv").read_bytes() == (other / "predictions.csv").read_bytes()
    assert read_run(own / "finetune").config.model.aggregator == "abmil"
    assert again.stdout.endswith("s: nothing to do\n")


def test_a_method_with_a_path_in_its_settings_stays_in_the_folder(tmp_path):
    place = Place("gimp+model.gene_grouping=gmt:/a/../b.gmt", "0", 0)

    assert place.within(tmp_path).parent.parent == tmp_path / "cells"


@pytest.mark.parametrize("n_cases", [17, 23, 90])
def test_shuffled_labels_agree_with_the_truth_by_half(n_cases):
    parts = {f"P{case}": ("train", "val", "test")[case % 5 % 3] for case in range(n_cases)}
    labels = {case: "AB"[number % 2] for number, case in enumerate(parts)}
    splits = Splits(parts=parts, source="test", fold="1")

    drawn, again, other = (shuffled_labels(labels, splits, seed=seed) for seed in (0, 0, 1))

    assert list(drawn) == list(labels)
    assert drawn == again != other
    for name in "AB":
        true = [case for case in splits.of("train") if labels[case] == name]
        assert abs(sum(drawn[case] == "A" for case in true) - len(true) / 2) <= 0.5
    assert sorted(drawn[case] for case in splits.of("val")) == sorted(
        labels[case] for case in splits.of("val")
    )
    assert all(drawn[case] == labels[case] for case in splits.of("test"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_control_of_shuffled_labels_is_at_chance(tmp_path):
    source = make_study(tmp_path, n_cases=120, n_patches=(3, 7))
    parts = ("train", "train", "val", "test", "test")
    rows = [f"P{case:02d},{parts[case // 2 % 5]}\n" for case in range(120)]
    (tmp_path / "splits.csv").write_text("case_id,split\n" + "".join(rows))

    words = ("--methods", "logistic-genes,gimp-shuffled", "--json")
    result = benchmark(source, tmp_path / "s", *words, splits=str(tmp_path / "splits.csv"))

    aucs = {
        name: one["evaluation"]["metrics"]["auc"]["value"]
        for name, one in json.loads(result.stdout)["methods"].items()
    }
    assert aucs["logistic-genes"] > 0.9
    assert abs(aucs["gimp-shuffled"] - 0.5) < 0.17  # two standard errors with 48 cases


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("groupmsa", "takes part as gimp+model.gene_encoder=groupmsa"),
        ("gimp+aggregator=abmil", "as in gimp+model.aggregator=abmil"),
        ("nonsense", "methods: all, table1"),
    ],
)
def test_what_is_no_method_is_told_how_it_takes_part(name, hint):
    with pytest.raises(ConfigError, match=re.escape(hint)):
        method_of(name)


PADDED = """
    from torch import nn
    from gimp_plugin.plugins import hookimpl

    class Mean(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.dim = config.dim
            self.linear = nn.Linear(config.dim, config.dim)

        def forward(self, tokens, valid, *, slide=None, rows=None):
            wanted = valid & False if rows is None else rows
            return self.linear(tokens.mean(dim=1)), self.linear(tokens)[wanted]

    def ours(config):
        from gimp_plugin.models.abmil import GatedAttention
        return GatedAttention.from_config(config)

    @hookimpl
    def gimp_components():
        return [("aggregator", "padded", "their_plugin:Mean", "reads padding"),
                ("aggregator", "good", "their_plugin:ours", "as ours")]
"""


def test_a_plugins_part_that_breaks_its_contract_is_warned_of_before_it_is_compared(
    tmp_path, caplog
):
    names = ("gimp", "gimp+model.aggregator=padded", "abmil+model.aggregator=padded")
    with installing(tmp_path) as install:
        install("their-plugin", PADDED, entry="theirs")
        warn_of_parts(tiny_config(), (*names, "gimp+model.aggregator=good", "logistic-bag"))

    (message,) = caplog.messages
    assert (
        "aggregator 'padded' of plugin 'theirs' of their-plugin 2.1 breaks its contract, so"
        in message
    )
    assert "it reads the padding: values differ by " in message
