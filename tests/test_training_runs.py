"""Training on small studies: what is written, what repeats, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import anndata
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gimp_plugin.assembly.load import load_run
from gimp_plugin.config import Runtime
from gimp_plugin.errors import (
    BagError,
    CheckpointError,
    ConfigError,
    ResourceError,
    SplitError,
    StaleOutputError,
)
from gimp_plugin.prediction import predict
from gimp_plugin.storage import runs
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.training import finetune, pretrain
from tests.cohort_factory import make_cohort
from tests.study_factory import make_bag, make_study, tiny_config


def results(path):
    """Files of a run that the same command must write again, byte for byte."""
    return {name: (path / name).read_bytes() for name in runs.RESULTS}


def everything(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def study(tmp_path):
    return make_study(tmp_path)


@pytest.fixture
def pretrained(study, tmp_path):
    pretrain(study, tiny_config(), output=tmp_path / "pretrain", runtime=Runtime())
    return tmp_path / "pretrain"


def test_the_three_stages_leave_runs_that_predict_every_case(study, pretrained, tmp_path):
    finetune(study, tiny_config(), start=str(pretrained), output=tmp_path / "f", runtime=Runtime())
    table = tmp_path / "predictions.csv"

    predict(tmp_path / "f", study, output=table, runtime=Runtime())

    rows = read_csv(table)
    parts = [row["split"] for row in rows]
    assert len(rows) == 30
    assert {part: parts.count(part) for part in set(parts)} == {"train": 18, "val": 6, "test": 6}
    assert {row["modalities"] for row in rows} == {"slides+genes"}
    record = runs.read_run(tmp_path / "f")
    assert list(record.metrics["stages"]) == ["finetune"]
    assert list(runs.read_run(pretrained).metrics["stages"]) == ["genes", "pretrain"]
    assert record.trained_on == runs.read_run(pretrained).trained_on


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(study, pretrained, tmp_path):
    pretrain(study, tiny_config(), output=tmp_path / "again", runtime=Runtime())
    pretrain(study, tiny_config(), output=tmp_path / "other", runtime=Runtime(seed=1))

    assert results(tmp_path / "again") == results(pretrained)
    assert results(tmp_path / "other")[runs.MODEL] != results(pretrained)[runs.MODEL]


def test_loader_processes_change_no_byte(study, pretrained, tmp_path):
    pretrain(study, tiny_config(), output=tmp_path / "again", runtime=Runtime(num_workers=2))

    assert results(tmp_path / "again") == results(pretrained)


def test_the_same_command_again_has_nothing_to_do_and_changes_no_file(study, pretrained):
    before = everything(pretrained)

    result = pretrain(study, tiny_config(), output=pretrained, runtime=Runtime())

    assert result.outcome == "nothing to do"
    assert everything(pretrained) == before


def test_another_configuration_or_cohort_is_refused_with_the_difference(
    study, pretrained, tmp_path
):
    before = everything(pretrained)
    other = make_cohort(tmp_path / "other.h5ad", n_cases=30, n_genes=17, declared="log", seed=5)

    longer, source = tiny_config(pretrain__epochs=5), replace(study, adata=other)
    with pytest.raises(StaleOutputError, match=r"config\.pretrain\.epochs: 2 -> 5"):
        pretrain(study, longer, output=pretrained, runtime=Runtime())
    with pytest.raises(StaleOutputError, match=r"inputs\.expression"):
        pretrain(source, tiny_config(), output=pretrained, runtime=Runtime())

    assert everything(pretrained) == before


def test_gimp_pretraining_leaves_the_gene_encoder_bit_for_bit(study, pretrained, tmp_path):
    config = tiny_config(pretrain__patient_triplet_weight=0.0, pretrain__epochs=7)
    pretrain(study, config, output=tmp_path / "longer", runtime=Runtime())

    first, second = (load_file(path / runs.MODEL) for path in (pretrained, tmp_path / "longer"))
    genes = [name for name in first if name.startswith("gene_encoder.")]
    assert genes
    assert all(torch.equal(first[name], second[name]) for name in genes)
    assert not torch.equal(first["aggregator.cls_token"], second["aggregator.cls_token"])


def test_a_test_case_has_no_influence_on_the_model(study, pretrained, tmp_path):
    import anndata

    parts = runs.read_run(pretrained).parts
    changed = anndata.read_h5ad(study.adata)
    test = np.array([parts[case] == "test" for case in changed.obs_names])
    values = np.asarray(changed.X).copy()
    values[test] = values[test] / 2 + 1
    changed.X = values
    changed.write_h5ad(tmp_path / "changed.h5ad")

    source = replace(study, adata=tmp_path / "changed.h5ad")
    pretrain(source, tiny_config(), output=tmp_path / "again", runtime=Runtime())

    for name in (runs.MODEL, runs.GENES, runs.SPLITS):
        assert results(tmp_path / "again")[name] == results(pretrained)[name]


def test_genes_in_another_order_give_the_same_predictions(study, tmp_path):
    import anndata

    finetune(study, tiny_config(), start="genes", output=tmp_path / "f", runtime=Runtime())
    cohort = anndata.read_h5ad(study.adata)
    shuffled = cohort[:, np.random.default_rng(0).permutation(cohort.n_vars)].copy()
    shuffled.write_h5ad(tmp_path / "shuffled.h5ad")

    predict(tmp_path / "f", study, output=tmp_path / "a.csv", runtime=Runtime())
    source = replace(study, adata=tmp_path / "shuffled.h5ad")
    predict(tmp_path / "f", source, output=tmp_path / "b.csv", runtime=Runtime())

    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize("modalities", ["slides", "genes"])
def test_a_model_with_one_half_trains_and_predicts(study, tmp_path, modalities):
    config = tiny_config(model__modalities=modalities)

    pretrain(study, config, output=tmp_path / "p", runtime=Runtime())
    finetune(study, config, start=str(tmp_path / "p"), output=tmp_path / "f", runtime=Runtime())
    predict(tmp_path / "f", study, output=tmp_path / "t.csv", runtime=Runtime())

    rows = read_csv(tmp_path / "t.csv")
    assert {row["modalities"] for row in rows} == {modalities}
    assert len(rows) == 30


def test_the_paper_preset_trains_and_predicts(study, tmp_path):
    config = tiny_config("paper")

    pretrain(study, config, output=tmp_path / "p", runtime=Runtime())
    finetune(study, config, start=str(tmp_path / "p"), output=tmp_path / "f", runtime=Runtime())
    result = predict(tmp_path / "f", study, output=tmp_path / "t.csv", runtime=Runtime())

    assert result.n_cases == 30


def test_a_run_predicts_without_slides_or_genes_when_it_was_trained_to(study, tmp_path):
    import anndata

    finetune(study, tiny_config(), start="genes", output=tmp_path / "f", runtime=Runtime())
    (study.features / "P03.h5").unlink()
    cohort = anndata.read_h5ad(study.adata)
    cohort[cohort.obs_names != "P04"].copy().write_h5ad(tmp_path / "fewer.h5ad")
    (tmp_path / "slides.csv").write_text(
        "slide_id,case_id\n" + "".join(f"P{n:02d},P{n:02d}\n" for n in range(30))
    )
    source = replace(study, adata=tmp_path / "fewer.h5ad", slide_table=tmp_path / "slides.csv")

    predict(tmp_path / "f", source, output=tmp_path / "t.csv", runtime=Runtime())

    modalities = {row["case_id"]: row["modalities"] for row in read_csv(tmp_path / "t.csv")}
    assert len(modalities) == 30
    assert modalities["P03"] == "genes"
    assert modalities["P04"] == "slides"
    assert modalities["P05"] == "slides+genes"


def test_cases_without_a_half_are_left_out_by_a_run_that_needs_both(study, tmp_path):
    config = tiny_config("paper")
    finetune(study, config, start="none", output=tmp_path / "f", runtime=Runtime())
    (study.features / "P03.h5").unlink()

    result = predict(tmp_path / "f", study, output=tmp_path / "t.csv", runtime=Runtime())

    assert result.n_cases == 29
    assert [(one.case_id, one.step) for one in result.exclusions] == [("P03", "prediction")]


def test_new_cases_are_marked_new(study, tmp_path):
    finetune(study, tiny_config(), start="genes", output=tmp_path / "f", runtime=Runtime())
    import anndata

    cohort = anndata.read_h5ad(study.adata)
    cohort.obs_names = [name.replace("P", "Q") for name in cohort.obs_names]
    del cohort.obs["label"]
    cohort.write_h5ad(tmp_path / "new.h5ad")
    source = replace(study, adata=tmp_path / "new.h5ad", missing="keep")

    (tmp_path / "table.csv").write_text("slide_id,case_id\nP00,Q00\nP01,Q01\n")
    source = replace(source, slide_table=tmp_path / "table.csv")
    predict(tmp_path / "f", source, output=tmp_path / "t.csv", runtime=Runtime())

    rows = read_csv(tmp_path / "t.csv")
    assert {row["split"] for row in rows} == {"new"}
    assert {row["label"] for row in rows} == {""}


def test_genes_that_the_run_reads_and_the_cohort_lacks_are_told(tmp_path, caplog):
    study = make_study(tmp_path, n_genes=40)
    config = tiny_config(model__modalities="genes", genes__epochs=1, finetune__epochs=1)
    pretrain(study, config, output=tmp_path / "p", runtime=Runtime())
    cohort = anndata.read_h5ad(study.adata)
    lacking = list(cohort.var_names[:2])
    cohort[:, 2:].copy().write_h5ad(study.adata)
    start = str(tmp_path / "p")

    finetune(study, config, start=start, output=tmp_path / "f", runtime=Runtime())

    (message,) = (one for one in caplog.messages if "count as average" in one)
    assert f"2 of the run's 40 genes are not in {str(study.adata)!r}" in message
    assert message.endswith(f"{lacking[0]!r}, {lacking[1]!r}")


def test_splits_that_leak_from_the_run_are_refused_with_the_cases(study, pretrained, tmp_path):
    trained = runs.read_run(pretrained).trained_on["train"]
    parts = dict.fromkeys((f"P{n:02d}" for n in range(30)), "train")
    parts |= dict.fromkeys(trained[:6], "val") | dict.fromkeys(trained[6:10], "test")
    table = tmp_path / "splits.csv"
    table.write_text("case_id,split\n" + "".join(f"{c},{p}\n" for c, p in parts.items()))
    before = everything(tmp_path)

    with pytest.raises(SplitError, match=f"{trained[0]}.*{trained[5]}") as caught:
        finetune(
            replace(study, splits=str(table)),
            tiny_config(),
            start=str(pretrained),
            output=tmp_path / "f",
            runtime=Runtime(),
        )

    assert caught.value.exit_code == 3
    assert everything(tmp_path) == before


def test_a_run_with_other_classes_is_refused_with_both(study, pretrained, tmp_path):
    other = make_cohort(
        tmp_path / "other.h5ad", n_cases=30, n_genes=17, declared="log", classes=("KIRC", "KIRP")
    )

    with pytest.raises(CheckpointError, match=r"'LUAD', 'LUSC'.*'KIRC', 'KIRP'"):
        finetune(
            replace(study, adata=other),
            tiny_config(),
            start=str(pretrained),
            output=tmp_path / "f",
            runtime=Runtime(),
        )


def test_another_model_than_that_of_the_run_is_refused(study, pretrained, tmp_path):
    with pytest.raises(ConfigError, match="n_landmarks 5 -> 7"):
        finetune(
            study,
            tiny_config(model__n_landmarks=7),
            start=str(pretrained),
            output=tmp_path / "f",
            runtime=Runtime(),
        )


def test_bags_of_two_encoders_are_refused_before_training_with_both_named(study, tmp_path):
    rng = np.random.default_rng(0)
    make_bag(study.features / "P07.h5", 9, 0.5, rng=rng, encoder="resnet50")
    before = everything(tmp_path)

    with pytest.raises(
        BagError, match=r"11-d of 'untrained'.*P07\.h5.*11-d of 'resnet50'"
    ) as caught:
        pretrain(study, tiny_config(), output=tmp_path / "p", runtime=Runtime())

    assert caught.value.exit_code == 3
    assert everything(tmp_path) == before


def test_bags_of_another_encoder_than_the_runs_are_refused(study, tmp_path):
    finetune(study, tiny_config(), start="genes", output=tmp_path / "f", runtime=Runtime())
    rng = np.random.default_rng(0)
    for path in study.features.glob("*.h5"):
        make_bag(path, 9, 0.5, rng=rng, encoder="resnet50")

    with pytest.raises(CheckpointError, match=r"'untrained'.*'resnet50'"):
        predict(tmp_path / "f", study, output=tmp_path / "t.csv", runtime=Runtime())

    assert not (tmp_path / "t.csv").exists()


def test_predictions_of_another_run_are_not_replaced_unasked(study, tmp_path):
    for name, seed in (("a", 0), ("b", 1)):
        runtime = Runtime(seed=seed)
        splits = replace(study, splits=None)
        finetune(splits, tiny_config(), start="genes", output=tmp_path / name, runtime=runtime)
    table = tmp_path / "t.csv"
    predict(tmp_path / "a", study, output=table, runtime=Runtime())
    before = table.read_bytes()

    assert (
        predict(tmp_path / "a", study, output=table, runtime=Runtime()).outcome == "nothing to do"
    )
    with pytest.raises(StaleOutputError, match=r"t\.csv"):
        predict(tmp_path / "b", study, output=table, runtime=Runtime())
    assert table.read_bytes() == before

    predict(tmp_path / "b", study, output=table, runtime=Runtime(overwrite=True))
    assert table.read_bytes() != before


def test_a_pretraining_run_cannot_predict(study, pretrained, tmp_path):
    with pytest.raises(CheckpointError, match="no trained classifier"):
        predict(pretrained, study, output=tmp_path / "t.csv", runtime=Runtime())


def test_a_loss_that_stops_being_finite_names_the_cases_and_keeps_the_last_state(study, tmp_path):
    config = tiny_config(finetune__lr=1.0, finetune__clip_norm=0.0, finetune__epochs=40)
    output = tmp_path / "f"

    import gimp_plugin.training.finetuning as module

    forward, calls = module.FinetuneStage.forward, []

    def breaking(self, **inputs):
        calls.append(1)
        terms = forward(self, **inputs)
        return {"loss": terms["loss"] * float("nan")} if len(calls) == 6 else terms

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.FinetuneStage, "forward", breaking)
        with pytest.raises(ResourceError, match=r"finetune stopped.*epoch 2.*'P\d\d'") as caught:
            finetune(study, config, start="none", output=output, runtime=Runtime())

    assert caught.value.exit_code == 5
    assert (output / "resume").is_dir()
    assert not (output / runs.MODEL).exists()
    assert finetune(study, config, start="none", output=output, runtime=Runtime()).outcome == "done"


def test_the_run_loads_and_its_log_has_a_line_an_epoch(study, pretrained):
    record, model = load_run(pretrained)

    lines = [json.loads(line) for line in (pretrained / runs.LOG).read_text().splitlines()]
    assert [(line["stage"], line["epoch"]) for line in lines] == [
        *(("genes", epoch) for epoch in (1, 2, 3)),
        *(("pretrain", epoch) for epoch in (1, 2)),
    ]
    assert {"reconstruction", "active_patient", "active_image", "val_median"} <= set(lines[-1])
    assert not model.training
    assert record.scale == "log"


def test_a_device_that_is_not_there_is_refused_before_any_work(study, tmp_path):
    with pytest.raises(ResourceError, match="cuda:99"):
        pretrain(study, tiny_config(), output=tmp_path / "p", runtime=Runtime(device="cuda:99"))

    assert not (tmp_path / "p").exists()


def test_the_slide_table_of_a_run_is_not_applied_to_other_features(study, tmp_path):
    table = tmp_path / "slides.csv"
    table.write_text("slide_id,case_id\n" + "".join(f"P{n:02d},P{n:02d}\n" for n in range(30)))
    source = replace(study, slide_table=table)
    finetune(source, tiny_config(), start="genes", output=tmp_path / "f", runtime=Runtime())
    new = tmp_path / "new"
    new.mkdir()
    (study.features / "P03.h5").rename(new / "TCGA-05-4244-01Z-00-DX1.h5")
    make_cohort(
        tmp_path / "new.h5ad", n_cases=1, n_genes=17, declared="log", case_ids=["TCGA-05-4244"]
    )

    other = replace(study, adata=tmp_path / "new.h5ad", features=new, slide_table=None)
    predict(tmp_path / "f", other, output=tmp_path / "t.csv", runtime=Runtime())

    (row,) = read_csv(tmp_path / "t.csv")
    assert (row["case_id"], row["modalities"]) == ("TCGA-05-4244", "slides+genes")


def test_keeping_slides_of_unknown_cases_leaves_them_out_of_training(study, tmp_path):
    (study.features / "P03.h5").unlink()
    make_bag(study.features / "X99.h5", 9, 0.5, rng=np.random.default_rng(0), encoder="untrained")
    source = replace(study, missing="keep")

    finetune(source, tiny_config(), start="genes", output=tmp_path / "f", runtime=Runtime())

    rows = read_csv(tmp_path / "f" / "exclusions.csv")
    assert [(row["case_id"], row["step"]) for row in rows] == [("X99", "labels")]
    assert "P03" in runs.read_run(tmp_path / "f").parts


def test_cases_that_the_splits_do_not_name_are_listed(study, tmp_path):
    parts = ["train", "train", "val", "val", "test", "test"]
    rows = "".join(f"P{case:02d},{parts[case % 6]}\n" for case in range(29))
    (tmp_path / "splits.csv").write_text(f"case_id,split\n{rows}", encoding="utf-8")
    source = replace(study, splits=str(tmp_path / "splits.csv"))

    finetune(source, tiny_config(), start="genes", output=tmp_path / "f", runtime=Runtime())

    rows = read_csv(tmp_path / "f" / "exclusions.csv")
    assert [(row["case_id"], row["reason"]) for row in rows] == [
        ("P29", "in no part of the splits")
    ]
