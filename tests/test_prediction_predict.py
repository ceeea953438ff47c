"""Probabilities of a run's temperature, cases without an answer, and halves that are hidden."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import resource
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.config import CohortSource, Runtime
from gimp_plugin.errors import CheckpointError, ConfigError, PairingError, StaleOutputError
from gimp_plugin.prediction import predict
from gimp_plugin.prediction.files import inherited
from gimp_plugin.storage import runs
from gimp_plugin.storage.atomic import write_json
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.training import finetune
from tests.study_factory import make_study, tiny_config

N_CASES = 50


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    weak = {"gene_signal": 1.0, "image_signal": 0.4}  # some of the 20 validation cases are wrong
    return make_study(folder, n_cases=N_CASES, n_patches=(3, 11), **weak)


@pytest.fixture(scope="module")
def trained(study, tmp_path_factory):
    """Runs that do without a half (`both`), that need both (`strict`), and of slides alone."""
    folder = tmp_path_factory.mktemp("runs")
    changes = {
        "both": {"finetune__image_dropout": 0.3, "finetune__epochs": 2},
        "strict": {"finetune__image_dropout": 0.0, "finetune__gene_dropout": 0.0},
        "slides": {"model__modalities": "slides"},
    }
    parts = ("train", "train", "val", "val", "test")  # 20 validation cases have a temperature
    rows = [f"P{case:02d},{parts[case // 2 % 5]}\n" for case in range(N_CASES)]
    (folder / "splits.csv").write_text("case_id,split\n" + "".join(rows))
    split = replace(study, splits=str(folder / "splits.csv"))
    for name, own in changes.items():
        config = tiny_config(**{"finetune__epochs": 1, **own})
        finetune(split, config, start="none", output=folder / name, runtime=Runtime())
    return folder


def with_calibration(run, path, calibration):
    """A copy of a run that has another calibration, or none as runs had before there was one."""
    shutil.copytree(run, path)
    metrics = json.loads((path / runs.METRICS).read_text())
    del metrics["stages"]["finetune"]["calibration"]
    if calibration is not None:
        metrics["stages"]["finetune"]["calibration"] = calibration
    write_json(path / runs.METRICS, metrics)
    runs.seal_run(path, json.loads((path / runs.PROVENANCE).read_text()))
    return path


def predicted(run, source, path, **options):
    predict(run, source, output=path, runtime=Runtime(), **options)
    return {row["case_id"]: row for row in read_csv(path)}


def probabilities(rows):
    """Of each case, in the order of the names."""
    return np.array(
        [[float(row["prob_LUAD"]), float(row["prob_LUSC"])] for _, row in sorted(rows.items())]
    )


def classes(rows):
    return [row["predicted"] for _, row in sorted(rows.items())]


def test_a_run_of_before_has_temperature_1_and_another_scales_its_logits(study, trained, tmp_path):
    before = with_calibration(trained / "both", tmp_path / "before", None)
    warm = with_calibration(trained / "both", tmp_path / "warm", {"temperature": 2.5})

    plain = predicted(before, study, tmp_path / "a.csv")
    scaled = predicted(warm, study, tmp_path / "b.csv")

    assert runs.read_run(before).temperature == 1.0
    log_odds, scaled_odds = (
        np.log(each[:, 1] / each[:, 0]) for each in (probabilities(plain), probabilities(scaled))
    )
    np.testing.assert_allclose(scaled_odds, log_odds / 2.5, rtol=1e-9, atol=1e-12)
    assert np.abs(log_odds).max() > 0.1
    assert classes(scaled) == classes(plain)


def test_the_stored_temperature_is_the_best_for_the_validation_cases(study, trained, tmp_path):
    before = with_calibration(trained / "both", tmp_path / "before", None)
    rows = [
        row
        for row in predicted(before, study, tmp_path / "a.csv").values()
        if row["split"] == "val"
    ]
    log_odds = np.array([np.log(float(row["prob_LUSC"]) / float(row["prob_LUAD"])) for row in rows])
    signs = np.array([1 if row["label"] == "LUSC" else -1 for row in rows])
    grid = np.exp(np.linspace(np.log(0.05), np.log(20), 2001))  # steps of .3 %

    right, wrong = (
        [np.log1p(np.exp(-sign * log_odds / one)).mean() for one in grid]
        for sign in (signs, -signs)
    )
    losses = (21 * np.array(right) + np.array(wrong)) / 22  # of 20 cases, smoothed

    stored = runs.read_run(trained / "both")
    assert stored.metrics["stages"]["finetune"]["calibration"]["n_cases"] == len(rows) == 20
    assert stored.temperature != 1.0
    assert stored.temperature == pytest.approx(grid[np.argmin(losses)], rel=0.01)


@pytest.mark.parametrize("temperature", [0, -1.5, "2", None])
def test_a_temperature_that_cannot_be_is_refused_with_its_file(trained, tmp_path, temperature):
    run = with_calibration(trained / "both", tmp_path / "run", {"temperature": temperature})

    with pytest.raises(CheckpointError, match=r"run/metrics\.json': the temperature is"):
        runs.read_run(run)


def test_cases_below_the_threshold_keep_their_probabilities_and_get_no_class(
    study, trained, tmp_path, caplog
):
    every = predicted(trained / "both", study, tmp_path / "all.csv")
    below = float(np.median(probabilities(every).max(axis=1)))

    with caplog.at_level(logging.INFO):
        some = predicted(trained / "both", study, tmp_path / "some.csv", abstain_below=below)

    sure = probabilities(every).max(axis=1) >= below
    expected = [
        name if answered else "" for name, answered in zip(classes(every), sure, strict=True)
    ]
    assert classes(some) == expected
    assert 0 < expected.count("") < N_CASES
    assert f"{expected.count('')} of {N_CASES} cases have no probability of" in caplog.text
    np.testing.assert_array_equal(probabilities(some), probabilities(every))


def test_another_threshold_or_half_is_another_table(study, trained, tmp_path):
    table = tmp_path / "t.csv"
    predict(trained / "both", study, output=table, runtime=Runtime(), abstain_below=0.6)
    before = table.read_bytes()

    others = {
        "abstain_below: 0.6 -> null": {},
        "abstain_below: 0.6 -> 0.7": {"abstain_below": 0.7},
        'modalities: null -> "genes"': {"abstain_below": 0.6, "modalities": "genes"},
    }
    for changed, options in others.items():
        with pytest.raises(StaleOutputError, match=rf"t\.csv' was made .* '{re.escape(changed)}'"):
            predict(trained / "both", study, output=table, runtime=Runtime(), **options)

    again = predict(trained / "both", study, output=table, runtime=Runtime(), abstain_below=0.6)
    assert again.outcome == "nothing to do"
    assert table.read_bytes() == before


def test_a_table_that_was_edited_is_not_current(study, trained, tmp_path):
    run, path = trained / "both", tmp_path / "p.csv"
    predicted(run, study, path)
    right = path.read_bytes()
    path.write_bytes(right.replace(b"LUAD", b"LUSC"))
    before = path.read_bytes()

    with pytest.raises(StaleOutputError, match=r"p\.csv' was changed after it was predicted"):
        predicted(run, study, path)

    assert path.read_bytes() == before
    predict(run, study, output=path, runtime=Runtime(overwrite=True))
    assert path.read_bytes() == right


def test_a_table_of_before_there_were_hashes_is_current(study, trained, tmp_path):
    run, path = trained / "both", tmp_path / "p.csv"
    predicted(run, study, path)
    beside = tmp_path / "p.csv.json"
    note = json.loads(beside.read_text())
    assert note.pop("table_sha256") == hashlib.sha256(path.read_bytes()).hexdigest()
    write_json(beside, note)

    result = predict(run, study, output=path, runtime=Runtime())

    assert result.outcome == "nothing to do"


def test_on_a_full_disk_the_table_of_before_stays(study, trained, tmp_path):
    run, path = trained / "both", tmp_path / "p.csv"
    predicted(run, study, path)
    before = {one.name: one.read_bytes() for one in tmp_path.iterdir()}
    limits, heard = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size // 2, limits[1]))
        with pytest.raises(OSError, match="too large"):
            predict(run, study, output=path, runtime=Runtime(overwrite=True), abstain_below=0.9)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, heard)

    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["p.csv", "p.csv.json"])
def test_overwrite_replaces_nothing_that_is_no_prediction(study, trained, tmp_path, name):
    (tmp_path / name).write_text('{"thesis": "years of work"}')

    with pytest.raises(StaleOutputError, match=rf"{name}' already exists") as caught:
        predict(trained / "both", study, output=tmp_path / "p.csv", runtime=Runtime(overwrite=True))

    assert caught.value.exit_code == 3
    files = [path for path in tmp_path.iterdir() if not path.name.endswith(".lock")]
    assert [path.read_text() for path in files] == ['{"thesis": "years of work"}']


@pytest.mark.parametrize("below", [1.0, -0.1, float("nan")])
def test_a_threshold_out_of_range_is_refused(study, trained, tmp_path, below):
    with pytest.raises(ConfigError, match=r"abstain_below = .*expected \[0, 1\)"):
        predicted(trained / "both", study, tmp_path / "t.csv", abstain_below=below)

    assert list(tmp_path.iterdir()) == []


def test_a_hidden_half_is_as_if_it_were_not_there(study, trained, tmp_path):
    (tmp_path / "one").mkdir()
    shutil.copy(study.features / "P00.h5", tmp_path / "one")
    no_genes = replace(study, adata=None)
    one_slide = replace(study, features=tmp_path / "one")

    for half, source in (("slides", no_genes), ("genes", one_slide)):
        hidden = predicted(trained / "both", study, tmp_path / f"{half}.csv", modalities=half)
        absent = predicted(trained / "both", source, tmp_path / f"no-{half}.csv")
        absent |= {"P00": hidden["P00"]}
        assert {row["modalities"] for row in hidden.values()} == {half}
        assert len(hidden) == N_CASES
        np.testing.assert_array_equal(probabilities(hidden), probabilities(absent))
    seen = {row["n_patches"] for row in hidden.values()}
    assert seen == {"0"}


def test_both_halves_are_what_cases_that_have_both_are_predicted_from_anyway(
    study, trained, tmp_path
):
    asked = predicted(trained / "both", study, tmp_path / "a.csv", modalities="slides+genes")
    usual = predicted(trained / "both", study, tmp_path / "b.csv")

    assert asked == usual


@pytest.fixture
def ragged(study, tmp_path):
    """The study without the slide of P03 and without the genes of P04."""
    features = tmp_path / "ragged"
    shutil.copytree(study.features, features)
    (features / "P03.h5").unlink()
    cohort = anndata.read_h5ad(study.adata)
    cohort[cohort.obs_names != "P04"].copy().write_h5ad(tmp_path / "ragged.h5ad")
    return replace(study, adata=tmp_path / "ragged.h5ad", features=features)


def test_it_is_said_how_many_cases_were_predicted_from_which_halves(
    ragged, trained, tmp_path, caplog
):
    rows = predicted(trained / "both", ragged, tmp_path / "t.csv")

    halves = [row["modalities"] for row in rows.values()]
    counts = f"{halves.count('slides+genes')} from slides+genes, 1 from "
    assert halves.count("slides") == halves.count("genes") == 1
    assert f"not all cases have the same halves: {counts}" in caplog.text


@pytest.mark.parametrize(
    ("modalities", "lacking"),
    [
        ("slides", {"P03": "no slides, which --modalities asks for"}),
        ("genes", {}),  # the cohort does not know P04, and no slide is looked for
        (
            "slides+genes",
            {
                "P03": "no slides, which --modalities asks for",
                "P04": "no genes, which --modalities asks for",
            },
        ),
    ],
)
def test_a_case_that_lacks_a_half_that_is_asked_for_is_left_out_and_listed(
    ragged, trained, tmp_path, modalities, lacking
):
    rows = predicted(trained / "both", ragged, tmp_path / "t.csv", modalities=modalities)

    known = {f"P{case:02d}" for case in range(N_CASES)} - (
        {"P04"} if modalities == "genes" else set()
    )
    assert known - set(rows) == set(lacking)
    assert {row["modalities"] for row in rows.values()} == {modalities}
    excluded = json.loads((tmp_path / "t.csv.json").read_text())["excluded"]
    assert {case_id: reason for case_id, _, _, reason in excluded} == lacking


def test_with_missing_drop_the_three_tables_hold_the_same_cases(ragged, trained, tmp_path):
    tables = [
        predicted(
            *(trained / "both", ragged, tmp_path / f"{half}.csv"), modalities=half, missing="drop"
        )
        for half in ("slides", "genes", "slides+genes")
    ]

    assert set(tables[0]) == set(tables[1]) == set(tables[2])
    assert len(tables[0]) == N_CASES - 2


def test_genes_alone_need_no_folder_of_features(study, trained, tmp_path):
    source = replace(study, features=tmp_path / "nowhere")

    rows = predicted(trained / "both", source, tmp_path / "t.csv", modalities="genes")

    assert len(rows) == N_CASES


def test_a_case_that_has_nothing_is_not_predicted(study, trained, tmp_path):
    (tmp_path / "labels.csv").write_text("case_id,label\nP00,LUAD\nP01,LUSC\nX99,LUSC\n")
    source = replace(study, adata=None, labels=tmp_path / "labels.csv")

    rows = predicted(trained / "both", source, tmp_path / "t.csv")

    assert "X99" not in rows
    assert rows["P01"]["modalities"] == "slides"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (("strict", "slides"), "was not trained to do without genes (gene_dropout = 0)"),
        (("strict", "genes"), "was not trained to do without slides (image_dropout = 0)"),
        (("slides", "genes"), "was trained on slides: it has no genes"),
        (("slides", "slides+genes"), "was trained on slides: it has no genes"),
    ],
)
def test_halves_that_a_run_cannot_do_with_or_without_are_3(
    study, trained, tmp_path, asked, message
):
    run, modalities = str(trained / asked[0]), asked[1]

    result = CliRunner().invoke(
        cli,
        [
            *("predict", "--adata", str(study.adata), "--features", str(study.features)),
            *("--model", run, "--modalities", modalities, "-o", str(tmp_path / "t.csv")),
        ],
    )

    assert result.exit_code == 3
    assert f"run {run!r} {message}" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_predicts_from_the_halves_that_it_has(study, trained, tmp_path):
    assert len(predicted(trained / "slides", study, tmp_path / "a.csv", modalities="slides"))
    assert len(predicted(trained / "strict", study, tmp_path / "b.csv", modalities="slides+genes"))


def test_where_no_case_has_the_half_nothing_is_predicted(study, trained, tmp_path):
    source = replace(study, adata=None)

    with pytest.raises(PairingError, match=f"none of {N_CASES} cases can be predicted"):
        predicted(trained / "both", source, tmp_path / "t.csv", modalities="slides+genes")


def test_the_runs_table_of_slides_is_used_with_the_runs_own_features_only(trained, monkeypatch):
    record = runs.read_run(trained / "both")
    folder = Path(record.source["features"])
    record = replace(record, source={**record.source, "slide_table": "slides.csv"})
    monkeypatch.chdir(folder.parent)

    def table(features):
        return inherited(record, CohortSource(features=features))["slide_table"]

    assert table(None) == table(folder) == table(Path(folder.name)) == "slides.csv"
    assert table(folder / ".." / folder.name) == "slides.csv"
    assert table(folder.parent / "other") is None
