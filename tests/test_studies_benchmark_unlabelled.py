"""The regime `labels:K+unlabelled`: who sees which cases; hidden labels reach no method."""

from __future__ import annotations

from dataclasses import replace

import anndata
import pytest

from gimp_plugin.config import Runtime, load_preset
from gimp_plugin.data.study import prepare
from gimp_plugin.errors import ConfigError
from gimp_plugin.storage.runs import MODEL, read_run
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.studies.benchmark.cells import Cell
from gimp_plugin.studies.benchmark.folder import Place
from gimp_plugin.studies.benchmark.inputs import look, write
from gimp_plugin.studies.benchmark.methods import METHODS, chosen
from gimp_plugin.studies.benchmark.protocol import Regime
from tests.benchmark_factory import benchmark, cell, files
from tests.study_factory import TINY, make_study

pytestmark = pytest.mark.timeout(600)
N_CASES, REGIME = 40, Regime.parse("labels:3+unlabelled")
SEEN = ("gimp", "gimp-none", "logistic-both")
QUICK = TINY | {"genes.epochs": 1, "pretrain.epochs": 1, "finetune.epochs": 1}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    fold = [case // 2 % 2 for case in range(N_CASES)]
    folder = tmp_path_factory.mktemp("inputs")
    study = make_study(folder, n_cases=N_CASES, n_patches=(3, 9), obs={"fold": fold})
    return replace(study, splits="obs:fold")


@pytest.fixture(scope="module")
def inputs(source):
    return look(source, REGIME, seed=0)


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """A comparison on one fold."""
    output = tmp_path_factory.mktemp("whole") / "study"
    words = ("--methods", ",".join(SEEN), "--regime", str(REGIME), "--fold", 0)
    result = benchmark(source, output, *words)
    assert result.exit_code == 0, result.stderr
    return output, words, result


@pytest.mark.parametrize("text", ["full", "labels:12", "labels:12+unlabelled", "genes:7"])
def test_a_regime_is_written_as_it_is_read(text):
    assert str(Regime.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "labels+unlabelled",
        "labels:+unlabelled",
        "labels:3+unlabeled",
        "labels:3+unlabelled+unlabelled",
        "genes:3+unlabelled",
        "full+unlabelled",
    ],
)
def test_other_spellings_are_refused_with_those_that_are_known(text):
    with pytest.raises(ConfigError) as caught:
        Regime.parse(text)

    assert repr(text) in str(caught.value)
    assert "labels:K+unlabelled" in caught.value.hint


def test_the_same_cases_keep_their_labels_as_without_the_others(source, inputs):
    few, full = (look(source, Regime.parse(text), seed=0) for text in ("labels:3", "full"))

    for one, other, every in zip(inputs.folds, few.folds, full.folds, strict=True):
        assert one == other
        assert {*one.of("train"), *inputs.hidden[one.fold]} == {*every.of("train")}
        assert not {*one.parts} & {*inputs.hidden[one.fold]}


def test_pretraining_sees_the_others_and_nothing_else_does(whole, inputs):
    output, *_ = whole
    few, hidden = set(inputs.fold("0").of("train")), set(inputs.hidden["0"])

    first, tuned, scratch = (
        read_run(cell(output, method) / stage)
        for method, stage in (("gimp", "pretrain"), ("gimp", "finetune"), ("gimp-none", "finetune"))
    )
    rows = read_csv(cell(output, "logistic-both") / "predictions.csv")

    assert (len(few), len(hidden)) == (6, 10)
    assert set(first.trained_on["train"]) == few | hidden
    assert first.metrics["n_unlabelled"] == len(hidden)
    for run in (tuned, scratch):
        assert {case for case, part in run.parts.items() if part == "train"} == few
        assert "n_unlabelled" not in run.metrics
    assert {row["case_id"] for row in rows if row["split"] == "train"} == few
    assert not {row["case_id"] for row in rows} & hidden


def test_the_table_of_labels_of_a_fold_lacks_what_is_hidden_there(whole, inputs, source):
    output, *_ = whole
    true = anndata.read_h5ad(source.adata).obs["label"].to_dict()

    for fold in ("0", "1"):
        told = {
            row["case_id"]: row["label"] for row in read_csv(output / f"labels/fold-{fold}.csv")
        }
        assert told == {
            case: label for case, label in true.items() if case not in inputs.hidden[fold]
        }
    rows = read_csv(cell(output, "gimp") / "predictions.csv")
    assert {row["label"] for row in rows if row["case_id"] in inputs.hidden["0"]} == {""}
    assert all(row["label"] for row in rows if row["split"] == "test")


def test_what_does_not_pretrain_is_what_it_is_with_the_few_labels_alone(whole, source, tmp_path):
    output, *_ = whole
    words = ("--methods", "gimp-none,logistic-both", "--regime", "labels:3", "--fold", 0)
    result = benchmark(source, tmp_path / "s", *words)

    def weights(folder, method):
        return (cell(folder, method) / "finetune" / MODEL).read_bytes()

    def parts(folder, method):
        rows = read_csv(cell(folder, method) / "predictions.csv")
        return [{**row, "label": ""} for row in rows if row["split"] != "new"]

    assert result.exit_code == 0, result.stderr
    assert weights(output, "gimp-none") == weights(tmp_path / "s", "gimp-none")
    assert weights(output, "gimp") != weights(output, "gimp-none")
    for method in ("gimp-none", "logistic-both"):
        assert parts(output, method) == parts(tmp_path / "s", method)


def test_the_same_command_does_nothing_and_another_regime_is_refused(whole, source):
    output, words, first = whole
    before = files(output)

    again = benchmark(source, output, *words)
    other = benchmark(source, output, *words[:2], "--regime", "labels:3", "--fold", 0)

    assert f"regime {REGIME}" in first.stdout
    assert (again.exit_code, other.exit_code) == (0, 3)
    assert again.stdout.endswith("study: nothing to do\n")
    assert 'regime: "labels:3+unlabel... -> "labels:3"' in other.stderr
    assert files(output) == before


def test_what_a_method_is_handed_lacks_the_labels_too(inputs):
    study = inputs.study_of("0")

    assert {*inputs.study.labels} - {*study.labels} == {*inputs.hidden["0"]}
    assert study.unlabelled == tuple(sorted(inputs.hidden["0"]))
    unknown = [case.case_id for case in study.with_classes(inputs.classes) if case.label == -1]
    assert unknown == sorted(inputs.hidden["0"])


def trained(inputs, output, methods):
    """Bytes that methods leave on fold 0, of models and predictions."""
    output.mkdir()
    written = write(inputs, output, regime=REGIME)
    for method in chosen(methods):
        one = Cell(
            place=Place(method, "0", 0),
            output=output,
            identity={},
            inputs=written,
            config=load_preset("recommended", QUICK),
            runtime=Runtime(),
        )
        one.folder.mkdir(parents=True)
        METHODS[method].train(one)
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for name in ("*.safetensors", "predictions.csv", "config.json", "metrics.json")
        for path in output.glob(f"cells/**/{name}")
    }


def with_labels(inputs, folder, labels):
    """The same cases and folds, from a cohort on the disk that has other labels."""
    adata = anndata.read_h5ad(inputs.source.adata)
    adata.obs["label"] = [labels[case] for case in adata.obs_names]
    folder.mkdir()
    adata.write_h5ad(folder / "genes.h5ad")
    source = replace(inputs.source, adata=folder / "genes.h5ad")
    return replace(inputs, source=source, study=prepare(source))


def test_labels_that_are_hidden_cannot_reach_a_method_and_others_do(inputs, tmp_path):
    methods = ("gimp", "logistic-both")
    labels, hidden = dict(inputs.study.labels), inputs.hidden["0"]
    turned = {case: ("LUAD", "LUSC")[labels[case] == "LUAD"] for case in hidden}
    seen = next(case for case in inputs.fold("0").of("train") if labels[case] == "LUAD")

    plain = trained(inputs, tmp_path / "plain", methods)
    others = with_labels(inputs, tmp_path / "b", labels | turned)
    control = with_labels(inputs, tmp_path / "c", labels | {seen: "LUSC"})

    assert sorted(turned.values()) == sorted(labels[case] for case in hidden)  # a permutation
    assert len(plain) == 2 + 2 * 3  # tables; and models, configurations, metrics of two runs
    assert trained(others, tmp_path / "turned", methods) == plain
    assert all(
        text != plain[name]
        for name, text in trained(control, tmp_path / "control", methods).items()
    )
