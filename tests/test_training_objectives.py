"""Pre-training by other papers' objectives: pairs are learned, labels are not, and it resumes."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import anndata
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from torch import nn

from gimp_plugin.assembly.build import build_model
from gimp_plugin.assembly.device import accelerator_of
from gimp_plugin.cli.main import cli
from gimp_plugin.config import Runtime
from gimp_plugin.data.cases import Case
from gimp_plugin.storage import runs
from gimp_plugin.storage.bags import read_info
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.training import finetune, loop, pretrain
from gimp_plugin.training.material import Material
from gimp_plugin.training.objectives.biovil import BioViLStage, BioViLTrainer
from gimp_plugin.training.objectives.mgca import MGCAStage, MGCATrainer
from gimp_plugin.training.objectives.refers import RefersStage, RefersTrainer
from gimp_plugin.training.stage import LOSS
from gimp_plugin.training.tools import Tools
from tests.study_factory import FEATURE_DIM, make_bag, make_study, settings, tiny_config

NAMES = ("biovil", "mgca", "refers")
STAGES = {"biovil": BioViLStage, "mgca": MGCAStage, "refers": RefersStage}
TRAINERS = {"biovil": BioViLTrainer, "mgca": MGCATrainer, "refers": RefersTrainer}
N_TRAIN, N_VAL, N_GENES, N_PATCHES = 48, 24, 600, 61
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def paired(tmp_path_factory):
    """Cases whose slides and genes tell of one hidden number, and whose labels tell nothing."""
    folder, rng = tmp_path_factory.mktemp("paired"), np.random.default_rng(0)
    hidden = rng.uniform(size=N_TRAIN + N_VAL)
    directions = rng.normal(size=N_GENES)
    genes = np.outer(2 * hidden - 1, directions) + 0.5 * rng.normal(size=(len(hidden), N_GENES))
    cases = []
    for row, share in enumerate(hidden):
        path = folder / f"P{row}.h5"
        make_bag(path, N_PATCHES, float(share), rng=rng)
        cases.append(Case(case_id=f"P{row}", label=row % 2, bags=(read_info(path),), gene_row=row))
    return Material(
        train=tuple(cases[:N_TRAIN]),
        val=tuple(cases[N_TRAIN:]),
        genes=torch.from_numpy(genes.astype(np.float32)),
        classes=("a", "b"),
        feature_dim=FEATURE_DIM,
    )


def config_of(name, **changes):
    return tiny_config(model__trainer=name, model__n_layers=1, **changes)


def model_of(config):
    given = {"n_genes": N_GENES, "feature_dim": FEATURE_DIM, "n_classes": 2}
    return build_model(config.model, **given, seed=0, decoder=True)


def shuffled(material):
    """The same halves in other pairs."""
    order = np.random.default_rng(1).permutation(len(material.genes))
    return replace(material, genes=material.genes[order])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_halves_of_unseen_cases_find_each_other_and_not_where_pairs_were_shuffled(
    paired, name, tmp_path
):
    quick = {"pretrain__epochs": 6, "pretrain__lr": 0.01, "pretrain__batch_size": 12}
    config = config_of(name, **quick, pretrain__subsequence_length=N_PATCHES)
    found = {}
    for kind, material in (("true", paired), ("shuffled", shuffled(paired))):
        (tmp_path / kind).mkdir()
        accelerator = accelerator_of(Runtime(device="cpu"))
        tools = Tools(accelerator=accelerator, folder=tmp_path / kind, seed=0)
        result = TRAINERS[name](config, tools).pretrain(model_of(config), material)
        found[kind] = result["pretrain"]["epochs"][-1]["val_retrieval"]

    assert found["true"] > 0.68
    assert found["shuffled"] < 0.62  # two standard deviations of 24 cases by chance


def stage_of(name, material, model=None):
    config = config_of(name, pretrain__batch_size=4)
    model = model_of(config) if model is None else model
    return STAGES[name](model, config, material=material, seed=0, device=CPU)


@pytest.mark.parametrize("name", NAMES)
def test_each_term_has_a_gradient_in_the_encoders_that_it_reads(paired, name):
    reads = {"masked_genes": {"gene_encoder"}, "expression": {"patches", "aggregator"}}
    stage = stage_of(name, paired)
    step = next(stage.batches(0))

    losses = stage.objective(step.inputs).losses

    assert (
        set(losses)
        == {
            "biovil": {"contrast", "masked_genes"},
            "mgca": {"instances", "tokens", "prototypes"},
            "refers": {"expression", "consistency"},
        }[name]
    )
    for term, (weight, value) in losses.items():
        stage.zero_grad()
        value.backward(retain_graph=True)
        reached = {
            part
            for part in ("patches", "aggregator", "gene_encoder", "decoder", "head")
            for one in getattr(stage.model, part).parameters()
            if one.grad is not None and one.grad.abs().max() > 0
        }
        assert weight > 0
        assert reached == reads.get(term, {"patches", "aggregator", "gene_encoder"})


def test_a_gene_encoder_without_tokens_leaves_their_alignment_out_and_says_so(paired, caplog):
    class Plain(nn.Linear):
        dim = 16

    model = model_of(config_of("mgca"))
    model.gene_encoder = Plain(N_GENES, 16)

    stage = stage_of("mgca", paired, model)
    terms = stage(**next(stage.batches(0)).inputs)

    assert "Plain gives fewer than two gene tokens" in caplog.text
    assert set(terms) == {LOSS, "instances", "prototypes"}


def test_what_is_drawn_depends_on_the_epoch_and_the_case_alone(paired):
    few = replace(paired, train=paired.train[:5])
    for name, drawn in (("biovil", "hidden"), ("mgca", "places")):
        one, other = stage_of(name, paired), stage_of(name, few)
        first, again = next(one.batches(0)), next(one.batches(0))
        later = next(one.batches(1))
        by_case = {}
        for stage in (one, other):
            for step in stage.batches(0):
                value = step.inputs[drawn]
                rows = value if name == "biovil" else value.rows
                for case_id, row in zip(step.case_ids, rows, strict=True):
                    by_case.setdefault(case_id, []).append(row.nonzero().flatten().tolist())
        seen = [value for value in by_case.values() if len(value) == 2]

        assert first.case_ids == again.case_ids != later.case_ids
        assert len(seen) == len(few.train)
        assert all(mine == theirs for mine, theirs in seen)


def test_a_share_of_the_genes_is_hidden_and_so_many_patches_are_compared(paired, monkeypatch):
    step, stage = next(stage_of("biovil", paired).batches(0)), stage_of("mgca", paired)
    monkeypatch.setattr("gimp_plugin.training.objectives.mgca.N_PATCHES", 9)

    rows = next(stage.batches(0)).inputs["places"].rows

    assert step.inputs["hidden"].sum(dim=1).tolist() == [90] * 4  # 15 % of 600
    assert rows.sum(dim=1).tolist() == [9] * 4


def study_with_parts(folder, **changes):
    """A study whose parts a table names, so that labels cannot decide them."""
    source = make_study(folder, n_cases=24, n_patches=(3, 9), n_genes=600, **changes)
    parts = ("train", "train", "train", "val", "test", "train")
    rows = [f"P{case:02d},{parts[case // 2 % 6]}\n" for case in range(24)]
    (folder / "splits.csv").write_text("case_id,split\n" + "".join(rows))
    return replace(source, splits=str(folder / "splits.csv"))


def weights(run):
    return (run / runs.MODEL).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_labels_have_no_say_and_cases_without_one_take_part(name, tmp_path):
    source, config = study_with_parts(tmp_path), config_of(name)
    pretrain(source, config, output=tmp_path / "plain", runtime=Runtime())
    adata = anndata.read_h5ad(source.adata)
    labels = adata.obs["label"].astype(object)
    labels.iloc[[0, 1, 2]] = labels.iloc[[1, 0, 3]].to_numpy()
    labels.iloc[4] = None
    adata.obs["label"] = labels
    adata.write_h5ad(source.adata)

    other = replace(source, unlabelled="use")
    pretrain(other, config, output=tmp_path / "other", runtime=Runtime())

    assert weights(tmp_path / "other") == weights(tmp_path / "plain")
    rng = np.random.default_rng(3)
    make_bag(source.features / "P04.h5", 5, 0.9, rng=rng, encoder="untrained")
    pretrain(other, config, output=tmp_path / "bag", runtime=Runtime())
    assert weights(tmp_path / "bag") != weights(tmp_path / "plain")


@pytest.mark.parametrize(("name", "interrupted_at"), [("biovil", 3), ("mgca", 2), ("refers", 5)])
def test_a_pre_training_that_stopped_ends_with_the_same_bytes(
    tmp_path, monkeypatch, name, interrupted_at
):
    study, config = study_with_parts(tmp_path), config_of(name, pretrain__batch_size=5)
    pretrain(study, config, output=tmp_path / "whole", runtime=Runtime())
    monkeypatch.setattr(loop, "CHECKPOINT_S", 0.0)  # a checkpoint after every step
    steps, step = itertools.count(1), loop._Fit._step

    def interrupted(self, *arguments):
        if next(steps) == interrupted_at:
            raise KeyboardInterrupt
        return step(self, *arguments)

    monkeypatch.setattr(loop._Fit, "_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pretrain(study, config, output=tmp_path / "cut", runtime=Runtime())
    monkeypatch.setattr(loop._Fit, "_step", step)
    pretrain(study, config, output=tmp_path / "cut", runtime=Runtime())

    for result in runs.RESULTS:
        assert (tmp_path / "cut" / result).read_bytes() == (
            tmp_path / "whole" / result
        ).read_bytes()


def gimp(*arguments):
    return CliRunner().invoke(cli, [str(one) for one in arguments])


def inputs(source):
    return "--adata", source.adata, "--features", source.features, "--splits", source.splits


@pytest.mark.parametrize("name", NAMES)
def test_from_the_command_line_to_predictions(name, tmp_path):
    source = study_with_parts(tmp_path)
    (tmp_path / "s.toml").write_text(settings(trainer=name))
    run, tuned, table = tmp_path / "p", tmp_path / "f", tmp_path / "t.csv"

    first = gimp("pretrain", *inputs(source), "--config", tmp_path / "s.toml", "-o", run)
    second = gimp("finetune", "--adata", source.adata, "--from", run, "--epochs", 2, "-o", tuned)
    third = gimp("predict", "--adata", source.adata, "--model", tuned, "-o", table)

    assert [one.exit_code for one in (first, second, third)] == [0, 0, 0], second.stderr
    assert set(runs.read_run(run).metrics["stages"]) == {"pretrain"}  # no gene stage by labels
    for folder in (run, tuned):
        parts = json.loads((folder / runs.PROVENANCE).read_text())["components"]
        assert parts["trainer"]["name"] == name
    before, after = load_file(run / runs.MODEL), load_file(tuned / runs.MODEL)
    genes = [key for key in after if key.startswith("gene_encoder.")]
    assert genes
    assert not any(torch.equal(before[key], after[key]) for key in genes)  # not frozen
    assert len(read_csv(table)) == 24


def test_after_gene_pre_training_by_labels_the_gene_encoder_is_frozen_as_ever(tmp_path):
    source, config = study_with_parts(tmp_path), config_of("biovil")
    plain = config_of("gimp")

    for name, one in (("biovil", config), ("gimp", plain)):
        finetune(source, one, start="genes", output=tmp_path / name, runtime=Runtime())

    assert weights(tmp_path / "biovil") == weights(tmp_path / "gimp")


@pytest.mark.parametrize(
    ("arguments", "changes", "code", "message"),
    [
        (("--modalities", "slides"), {}, 2, "trainer 'mgca' pairs slides with genes"),
        (
            ("--batch-size", "1"),
            {},
            2,
            "compares the cases of a batch, and batch_size of [pretrain]",
        ),
        (("--missing", "keep"), {"bags": 1}, 3, "1 training cases have slides and genes"),
    ],
)
def test_what_has_no_pairs_is_refused_before_anything_is_written(
    tmp_path, arguments, changes, code, message
):
    source = study_with_parts(tmp_path)
    for bag in sorted(source.features.glob("*.h5"))[1:] if changes else []:
        if bag.stem not in {"P06", "P07"}:
            bag.unlink()
    (tmp_path / "s.toml").write_text(settings(trainer="mgca"))
    words = ("pretrain", *inputs(source), "--config", tmp_path / "s.toml")
    before = sorted(path.name for path in tmp_path.iterdir())

    result = gimp(*words, *arguments, "-o", tmp_path / "run")

    assert result.exit_code == code
    assert message in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before
