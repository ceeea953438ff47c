"""Training cases without a class: what they take part in, and what they must not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.cohort.expression import Cohort
from gimp_plugin.cohort.splitting.splits import Splits, draw_splits
from gimp_plugin.config import Runtime
from gimp_plugin.data.cases import Case
from gimp_plugin.data.study import Study, prepare
from gimp_plugin.prediction import predict
from gimp_plugin.storage import runs
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.training import finetune, pretrain
from gimp_plugin.training.gimp import GimpTrainer
from gimp_plugin.training.plan import splits_of
from gimp_plugin.training.unlabelled import with_unlabelled
from tests.study_factory import make_bag, make_study, settings, tiny_config

N_CASES, BARE = 34, ("P03", "P08", "P16", "P21", "P30")
PARTS = {
    f"P{case:02d}": ("train", "train", "val", "test")[case // 2 % 4] for case in range(N_CASES)
}
PARTS |= {"P03": "train", "P08": "train", "P16": "test", "P21": "val"}  # P30 is in none
TRAINED = ("P03", "P08")
QUICK = {"genes__epochs": 1, "pretrain__epochs": 1, "finetune__epochs": 1}


def rewritten(path, change):
    """Change a cohort on the disk."""
    adata = anndata.read_h5ad(path)
    change(adata)
    adata.write_h5ad(path)


def without_class(case_ids):
    """What takes the classes of some cases away."""

    def change(adata):
        adata.obs["label"] = adata.obs["label"].astype(object)
        adata.obs.loc[list(case_ids), "label"] = None

    return change


def write_splits(folder, parts):
    rows = "".join(f"{case},{part}\n" for case, part in sorted(parts.items()) if case != "P30")
    (folder / "splits.csv").write_text(f"case_id,split\n{rows}")
    return str(folder / "splits.csv")


def made(folder):
    fold = [float(case // 2 % 3) for case in range(N_CASES)]
    fold[30] = np.nan
    source = make_study(folder, n_cases=N_CASES, n_patches=(3, 9), obs={"site": fold})
    rewritten(source.adata, without_class(BARE))
    return replace(source, splits=write_splits(folder, PARTS), unlabelled="use")


@pytest.fixture
def study(tmp_path):
    return made(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run on such a study."""
    folder = tmp_path_factory.mktemp("whole")
    return pretrained(made(folder), folder / "p")


def pretrained(study, output, **changes):
    pretrain(study, tiny_config(**QUICK, **changes), output=output, runtime=Runtime())
    return runs.read_run(output)


def weights(run):
    return (run.path / runs.MODEL).read_bytes()


def other_bag(study, case_id):
    rng = np.random.default_rng(7)
    make_bag(study.features / f"{case_id}.h5", 17, 0.9, rng=rng, encoder="untrained")


def test_training_cases_without_a_class_are_in_the_run_and_counted(whole):
    run = whole

    assert {case for case in BARE if case in run.parts} == set(TRAINED)
    assert set(TRAINED) < set(run.trained_on["train"])
    assert not set(BARE) & set(run.trained_on["val"])
    n_labelled = sum(part == "train" for case, part in PARTS.items() if case not in BARE)
    assert run.metrics["n_unlabelled"] == 2
    assert run.metrics["n_cases"]["train"] == n_labelled + 2
    counted = json.loads((run.path / runs.PROVENANCE).read_text())["training_cases"]
    assert counted == {"labelled": n_labelled, "unlabelled": 2}
    assert (
        f"{n_labelled + 2} for training (2 without a class)" in (run.path / "README.md").read_text()
    )
    left = {row["case_id"]: row["reason"] for row in read_csv(run.path / "exclusions.csv")}
    assert left == dict.fromkeys(set(BARE) - set(TRAINED), "no class, and not a training case")


def test_a_bag_without_a_class_has_a_say_in_training(study, whole, tmp_path):
    other_bag(study, "P03")

    assert weights(pretrained(study, tmp_path / "p")) != weights(whole)


def test_bags_and_genes_of_val_of_test_and_of_no_part_have_none(study, whole, tmp_path):
    outside = sorted(set(BARE) - set(TRAINED))
    for case in outside:
        other_bag(study, case)

    def change(adata):
        adata.X[[int(case[1:]) for case in outside]] += 1.5

    rewritten(study.adata, change)

    assert weights(pretrained(study, tmp_path / "p")) == weights(whole)


def test_the_genes_are_standardised_by_all_training_cases(study, whole):
    run, adata = whole, anndata.read_h5ad(study.adata)

    values = np.asarray(adata[sorted(run.trained_on["train"])].X, float)

    found = [float(row["mean"]) for row in read_csv(run.path / runs.GENES)]
    np.testing.assert_allclose(found, values.mean(axis=0), rtol=1e-5)


def test_the_gene_stage_and_the_fine_tuning_see_labelled_cases_only(study, tmp_path, monkeypatch):
    seen = {}

    def spied(name):
        original = getattr(GimpTrainer, name)

        def call(self, model, material, **others):
            seen[name] = [case.case_id for case in material.train]
            return original(self, model, material, **others)

        monkeypatch.setattr(GimpTrainer, name, call)

    for name in ("pretrain_genes", "pretrain", "finetune"):
        spied(name)
    run = pretrained(study, tmp_path / "p")
    finetune(
        study, tiny_config(**QUICK), start=str(run.path), output=tmp_path / "f", runtime=Runtime()
    )

    labelled = {case for case in run.parts if run.parts[case] == "train"} - {*TRAINED}
    assert set(seen["pretrain_genes"]) == set(seen["finetune"]) == labelled
    assert set(seen["pretrain"]) == labelled | {*TRAINED}


def test_predictions_say_that_the_model_was_trained_on_them(study, whole, tmp_path):
    config = tiny_config(**QUICK)
    finetune(study, config, start=str(whole.path), output=tmp_path / "f", runtime=Runtime())

    predict(tmp_path / "f", study, output=tmp_path / "t.csv", runtime=Runtime())

    rows = {row["case_id"]: row for row in read_csv(tmp_path / "t.csv")}
    parts = dict(zip(BARE, ("train", "train", "new", "new", "new"), strict=True))
    assert {case: rows[case]["split"] for case in BARE} == parts
    assert {rows[case]["label"] for case in BARE} == {""}


def parts_of(source):
    """Parts that a training on a study takes."""
    return splits_of(prepare(source, unlabelled=True), source, seed=0).parts


def test_a_column_of_folds_keeps_its_test_value_and_empty_cells_outside(study):
    parts = parts_of(replace(study, splits="obs:site", fold="1"))

    # sites of P03, P08, P16, P21: 1, 1, 2, 1; that of P30 is not known
    assert {case: parts[case] for case in BARE if case in parts} == {"P16": "train"}


def test_where_splits_are_drawn_all_cases_without_a_class_train(study):
    labels = anndata.read_h5ad(study.adata).obs["label"].drop(list(BARE))

    parts = parts_of(replace(study, splits=None))

    assert parts == draw_splits(labels.to_dict(), seed=0).parts | dict.fromkeys(BARE, "train")


def test_a_case_of_a_validation_or_test_patient_does_not_train():
    a, b, c = (f"TCGA-05-{number}" for number in (4244, 4249, 4250))
    parts = {f"{a}-01A": "train", f"{b}-01A": "val", f"{c}-01A": "test"}
    bare = (f"{a}-02A", f"{b}-02A", f"{c}-02A", "TCGA-05-4251-01A")

    nobody = Cohort.without_genes(Path("x"), pd.DataFrame())
    study = Study(
        cohort=nobody,
        obs=nobody.obs,
        labels=dict.fromkeys(parts, "A"),
        cases=tuple(Case(case_id=case_id) for case_id in (*parts, *bare)),
        feature_dim=0,
        encoder="",
        exclusions=(),
    )

    splits = with_unlabelled(Splits(parts=parts, source="x"), bare, study)

    assert splits.parts == {**parts, bare[0]: "train", bare[3]: "train"}


def test_a_patient_with_a_labelled_test_case_and_a_training_row_is_refused(study, tmp_path):
    names = {"P00": "TCGA-05-4244-01A", "P03": "TCGA-05-4244-02A"}
    rows = {**{names.get(case, case): part for case, part in PARTS.items()}, names["P00"]: "test"}

    def change(adata):
        adata.obs["slide_id"] = list(adata.obs_names)
        adata.obs_names = [names.get(case, case) for case in adata.obs_names]

    rewritten(study.adata, change)
    result = gimp(replace(study, splits=write_splits(tmp_path, rows)), tmp_path)

    assert result.exit_code == 3
    assert "1 patient is in two parts" in result.stderr
    assert "TCGA-05-4244" in result.stderr


def test_where_every_case_has_a_class_the_choice_changes_no_byte(tmp_path):
    source = make_study(tmp_path, n_cases=22, n_patches=(3, 9))

    plain = pretrained(source, tmp_path / "a").path
    chosen = pretrained(replace(source, unlabelled="use"), tmp_path / "b").path

    for name in (*runs.RESULTS, runs.CONFIG):
        assert (plain / name).read_bytes() == (chosen / name).read_bytes()


def test_slides_without_genes_and_class_take_part_when_they_are_kept(study, tmp_path):
    for name in ("X1", "X2"):
        make_bag(study.features / f"{name}.h5", 9, 0.5, rng=np.random.default_rng(0))
    source = replace(study, splits=write_splits(tmp_path, {**PARTS, "X1": "train"}), missing="keep")
    for path in study.features.glob("P*.h5"):  # bags of the same, unnamed encoder
        make_bag(path, 9, 0.5, rng=np.random.default_rng(len(path.name)))

    run = pretrained(source, tmp_path / "p")

    assert ("X1" in run.trained_on["train"], "X2" in run.trained_on["train"]) == (True, False)
    assert run.metrics["n_unlabelled"] == 3


def quick_settings():
    return settings().replace("epochs = 3", "epochs = 1").replace("epochs = 2", "epochs = 1")


def gimp(source, folder, *words, verb="pretrain"):
    """Run a training by the command line; what is not given is not said."""
    (folder / "s.toml").write_text(quick_settings())
    told = {"adata": source.adata, "features": source.features, "labels": source.labels}
    told |= {"splits": source.splits, "fold": source.fold, "unlabelled": source.unlabelled}
    told |= {"config": folder / "s.toml"}
    given = [str(x) for name, value in told.items() if value for x in (f"--{name}", value)]
    output = words if "-o" in words else (*words, "-o", folder / "run")
    return CliRunner().invoke(cli, [verb, *given, *map(str, output)])


def test_the_command_line_tells_how_many_fine_tunes_and_refuses_another_choice(study, tmp_path):
    result = gimp(study, tmp_path)
    tuned = gimp(
        replace(study, unlabelled=None, splits=None),
        *(tmp_path, "--from", tmp_path / "run", "-o", tmp_path / "f"),
        verb="finetune",
    )

    assert result.exit_code == tuned.exit_code == 0, result.stderr + tuned.stderr
    assert "2 training cases have no class and will be used for pre-training only" in result.stderr
    assert "3 cases left out, without a class and outside the training part: " in result.stderr
    assert "5 cases left out, without a class: 'P03', 'P08'" in tuned.stderr

    before = everything(tmp_path)
    other = gimp(replace(study, unlabelled="drop"), tmp_path)

    assert other.exit_code == 3
    assert "unlabelled: 2 -> null" in other.stderr
    assert everything(tmp_path) == before


def test_dropped_cases_are_told_and_listed(study, tmp_path):
    result = gimp(replace(study, unlabelled="drop"), tmp_path)

    rows = read_csv(tmp_path / "run" / "exclusions.csv")
    assert result.exit_code == 0, result.stderr
    assert "5 cases left out, without a class: 'P03', 'P08', 'P16', 'P21'" in result.stderr
    assert {(row["case_id"], row["step"], row["reason"]) for row in rows} == {
        (case, "labels", "no class") for case in BARE
    }
    assert "n_unlabelled" not in runs.read_run(tmp_path / "run").metrics


def test_a_table_of_some_labels_leaves_the_others_for_pretraining(study, tmp_path):
    cohort = anndata.read_h5ad(study.adata).obs
    rows = [f"{case},{cohort.loc[case, 'label']}\n" for case in cohort.index if case not in BARE]
    (tmp_path / "labels.csv").write_text("case_id,label\n" + "".join(rows) + "P03,\n")
    source = replace(study, labels=tmp_path / "labels.csv")

    used = gimp(source, tmp_path)
    refused = gimp(replace(source, unlabelled=None), tmp_path, "-o", tmp_path / "other")

    assert used.exit_code == 0, used.stderr
    assert runs.read_run(tmp_path / "run").metrics["n_unlabelled"] == 2
    assert refused.exit_code == 3
    assert "1 of 30 cases have no value in column 'label' of" in refused.stderr
    assert "--unlabelled use or drop" in refused.stderr


def everything(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_cohort_without_any_class_is_refused(study, tmp_path):
    (tmp_path / "s.toml").write_text(quick_settings())
    rewritten(study.adata, lambda adata: adata.obs.insert(0, "grade", np.nan))
    before = everything(tmp_path)

    result = gimp(study, tmp_path, "--label-key", "grade")

    assert result.exit_code == 3
    assert f"no case has a value in obs['grade'] of {str(study.adata)!r}" in result.stderr
    assert "expected at least 2 classes" in result.stderr
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("parts", "code", "words"),
    [
        (("train",), 2, "set patient_triplet_weight and image_triplet_weight of [pretrain] to 0"),
        (("val",), 3, "no validation case has slides"),
    ],
)
def test_slides_of_cases_without_a_class_alone_are_refused(study, tmp_path, parts, code, words):
    for case, part in PARTS.items():
        if part in parts and case not in BARE:
            (study.features / f"{case}.h5").unlink()
    (tmp_path / "s.toml").write_text(quick_settings())
    before = everything(tmp_path)

    result = gimp(study, tmp_path, "--missing", "keep")

    assert result.exit_code == code
    assert words in result.stderr
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("command", "part", "code", "words"),
    [
        (("pretrain",), "train", 3, "no training case has slides to learn from"),
        (("pretrain",), "val", 3, "no validation case has slides"),
        (("finetune", "--from", "none"), "train", 3, "no training case has slides to learn from"),
    ],
)
def test_a_part_without_slides_is_refused_where_all_cases_have_a_class(
    tmp_path, command, part, code, words
):
    study = make_study(tmp_path, n_cases=15)
    parts = draw_splits(prepare(study).labels, seed=0).parts
    for case in (case for case, own in parts.items() if own == part):
        (study.features / f"{case}.h5").unlink()
    (tmp_path / "s.toml").write_text(quick_settings())
    before = everything(tmp_path)
    verb, *given = command

    result = gimp(study, tmp_path, "--missing", "keep", *given, verb=verb)

    assert result.exit_code == code
    assert words in result.stderr
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("command", "part", "name"),
    [
        (("pretrain",), "train", "training"),
        (("pretrain",), "val", "validation"),
        (("finetune", "--from", "genes"), "val", "validation"),
    ],
)
def test_gene_pre_training_without_genes_in_a_part_is_refused(study, tmp_path, command, part, name):
    of_part = [case for case, own in PARTS.items() if own == part and case not in BARE]
    cohort = anndata.read_h5ad(study.adata)
    rows = [f"{case},{label}\n" for case, label in cohort.obs["label"].dropna().items()]
    (tmp_path / "labels.csv").write_text("case_id,label\n" + "".join(rows))
    cohort[~cohort.obs_names.isin(of_part)].copy().write_h5ad(study.adata)
    (tmp_path / "s.toml").write_text(quick_settings())
    before = everything(tmp_path)
    (verb, *given), labels = command, ("--labels", tmp_path / "labels.csv")

    result = gimp(study, tmp_path, "--missing", "keep", *labels, *given, verb=verb)

    assert result.exit_code == 3
    assert f"no {name} case has genes and a class" in result.stderr
    assert everything(tmp_path) == before


def test_a_class_without_genes_in_training_is_warned_of(study, tmp_path):
    cohort = anndata.read_h5ad(study.adata)
    labels = cohort.obs["label"].dropna()
    rows = [f"{case},{label}\n" for case, label in labels.items()]
    (tmp_path / "labels.csv").write_text("case_id,label\n" + "".join(rows))
    bare = [case for case, label in labels.items() if (PARTS[case], label) == ("train", "LUSC")]
    cohort[~cohort.obs_names.isin(bare)].copy().write_h5ad(study.adata)
    (tmp_path / "s.toml").write_text(quick_settings())

    words = ("--labels", tmp_path / "labels.csv", "--missing", "keep", "--from", "genes")
    result = gimp(study, tmp_path, *words, verb="finetune")

    assert result.exit_code == 0, result.stderr
    warning = "Warning: no training case of class 'LUSC' has genes: only slides can tell it\n"
    assert result.stderr.count(warning) == 1
    assert "class 'LUAD' has genes" not in result.stderr


def test_triplets_of_patients_are_refused_where_no_case_has_both_halves(study, tmp_path):
    of_train = [case for case, part in PARTS.items() if part == "train" and case not in BARE]
    cohort = anndata.read_h5ad(study.adata)
    rows = [f"{case},{label}\n" for case, label in cohort.obs["label"].dropna().items()]
    (tmp_path / "labels.csv").write_text("case_id,label\n" + "".join(rows))
    for case in of_train[::2] + of_train[1::4]:  # the rest of the second half keeps its bag
        (study.features / f"{case}.h5").unlink()
    cohort[~cohort.obs_names.isin(of_train[3::4])].copy().write_h5ad(study.adata)
    (tmp_path / "s.toml").write_text(quick_settings())
    before = everything(tmp_path)
    words = ("--labels", tmp_path / "labels.csv", "--missing", "keep")

    refused = gimp(study, tmp_path, *words, verb="pretrain")

    assert refused.exit_code == 2
    assert "no training case has slides, genes and a class" in refused.stderr
    assert "set patient_triplet_weight of [pretrain] to 0" in refused.stderr
    assert everything(tmp_path) == before


@pytest.mark.parametrize("mask_ratio", [0.5, 0.95])
def test_bags_too_short_to_hide_a_patch_end_no_pretraining(tmp_path, caplog, mask_ratio):
    study = make_study(tmp_path, n_cases=15)
    parts = draw_splits(prepare(study).labels, seed=0).parts
    for case in (case for case, own in parts.items() if own == "val"):
        make_bag(
            study.features / f"{case}.h5", 1, 0.5, rng=np.random.default_rng(0), encoder="untrained"
        )

    run = pretrained(study, tmp_path / "run", pretrain__mask_ratio=mask_ratio)

    (epoch,) = run.metrics["stages"]["pretrain"]["epochs"]
    assert epoch["val_reconstruction"] == epoch["val_median"] == 0
    assert "did not beat the bag's median" in caplog.text


def test_without_triplets_slides_without_a_class_are_enough(study, tmp_path):
    for case, part in PARTS.items():
        if part == "train" and case not in TRAINED:
            (study.features / f"{case}.h5").unlink()
    no_triplets = {"pretrain__patient_triplet_weight": 0.0, "pretrain__image_triplet_weight": 0.0}

    run = pretrained(replace(study, missing="keep"), tmp_path / "p", **no_triplets)

    assert "triplet_image" not in run.metrics["stages"]["pretrain"]["epochs"][-1]


@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_an_unknown_choice_is_wrong_usage(study, tmp_path, verb):
    result = gimp(replace(study, unlabelled=None), tmp_path, "--unlabelled", "us", verb=verb)

    assert result.exit_code == 2
    assert "Did you mean 'use'?" in result.stderr
