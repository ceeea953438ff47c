"""A system through the commands: trained, resumed, predicted with, exported, refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional

from gimp_plugin import GimpModel
from gimp_plugin.assembly.build import build_model
from gimp_plugin.cli.main import cli
from gimp_plugin.config import Runtime
from gimp_plugin.data.cases import Case
from gimp_plugin.errors import CheckpointError, PluginError, ResourceError
from gimp_plugin.models.system import SystemModel, loss_of
from gimp_plugin.prediction import embed
from gimp_plugin.storage import runs
from gimp_plugin.storage.tables import read_csv
from gimp_plugin.training import finetune
from gimp_plugin.training.material import Material
from gimp_plugin.training.systems import SystemStage
from tests.model_factory import draw
from tests.plugin_factory import installing
from tests.study_factory import FEATURE_DIM, make_study, settings, tiny_config

INPUTS = ("--adata", "genes.h5ad", "--config", "settings.toml", "--device", "cpu")
TRAIN = ("finetune", *INPUTS, "--from", "none", "--system")
SIZES, LABELS = (7, 1, 4), (0, 2, 0)


def gimp(*arguments):
    return CliRunner().invoke(cli, arguments)


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a study and a run of MCAT by the command line."""
    folder = tmp_path_factory.mktemp("study")
    make_study(folder, n_genes=31)
    (folder / "settings.toml").write_text(settings(n_groups=3))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = gimp(*TRAIN, "mcat", "-o", "run")
    assert result.exit_code == 0, result.stderr
    return folder


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    """A copy of it, as the working folder."""
    shutil.copytree(trained, tmp_path / "study")
    monkeypatch.chdir(tmp_path / "study")
    return tmp_path / "study"


def test_a_run_of_a_system_predicts_every_case_and_says_what_it_is(folder):
    result = gimp("predict", "--adata", "genes.h5ad", "--model", "run", "-o", "p.csv")

    assert result.exit_code == 0, result.stderr
    rows = read_csv(folder / "p.csv")
    assert len(rows) == 30
    assert {row["modalities"] for row in rows} == {"slides+genes"}
    assert len({row["prob_LUSC"] for row in rows}) == 30
    noted = json.loads((folder / "run" / runs.PROVENANCE).read_text())["components"]
    assert set(noted) == {"system", "trainer", "gene-grouping"}
    assert noted["system"]["name"] == "mcat"
    card = (folder / "run" / runs.CARD).read_text()
    assert "by the system `mcat`" in card
    assert "groupmsa" not in card


def test_a_finished_run_that_lost_a_file_is_made_again_and_its_log_begins_anew(folder):
    run = folder / "run"
    before = {name: (run / name).read_bytes() for name in runs.RESULTS}
    epochs = [json.loads(line)["epoch"] for line in (run / runs.LOG).read_text().splitlines()]
    (run / runs.METRICS).unlink()

    result = gimp(*TRAIN, "mcat", "-o", "run")

    assert result.exit_code == 0, result.stderr
    assert "Warning: run 'run' lacks 'metrics.json': making it again" in result.stderr
    assert {name: (run / name).read_bytes() for name in runs.RESULTS} == before
    log = [json.loads(line)["epoch"] for line in (run / runs.LOG).read_text().splitlines()]
    assert log == epochs == [1, 2, 3]


def test_the_groups_that_it_reads_stand_beside_its_genes(folder):
    groups = [int(row["group"]) for row in read_csv(folder / "run" / runs.GENES)]

    assert groups == [gene // 11 for gene in range(31)]


def test_a_bundle_of_it_predicts_the_same(folder):
    gimp("predict", "--adata", "genes.h5ad", "--model", "run", "-o", "p.csv")

    exported = gimp("export", "run", "-o", "bundle")
    model = GimpModel.from_pretrained("bundle")
    model.predict(output="q.csv", adata="genes.h5ad", features="features")

    assert exported.exit_code == 0, exported.stderr
    assert "by\nthe system `mcat`" in Path("bundle/README.md").read_text()
    by_case = (
        {row["case_id"]: row["prob_LUSC"] for row in read_csv(Path(f"{n}.csv"))} for n in "pq"
    )
    assert next(by_case) == next(by_case)


def test_a_training_that_stops_goes_on_to_the_same_bytes(folder, tmp_path):
    source = make_study(tmp_path, n_cases=20)
    config = tiny_config(model__system="dsmil", model__modalities="slides")
    forward, calls = SystemStage.forward, []

    def breaking(self, **inputs):
        calls.append(1)
        terms = forward(self, **inputs)
        return {"loss": terms["loss"] * float("nan")} if len(calls) == 5 else terms

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SystemStage, "forward", breaking)
        with pytest.raises(ResourceError, match="finetune stopped being finite"):
            finetune(source, config, start="none", output=tmp_path / "a", runtime=Runtime())
    for name in "ab":
        finetune(source, config, start="none", output=tmp_path / name, runtime=Runtime())

    assert (tmp_path / "a" / runs.LOG).read_text().count("\n") == 3
    for name in runs.RESULTS:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_the_loss_of_a_batch_is_the_weighted_mean_of_cases_alone(class_weights):
    config = tiny_config(model__system="porpoise", finetune__class_weights=class_weights)
    model = build_model(
        config.model, n_genes=13, feature_dim=FEATURE_DIM, n_classes=3, seed=0, decoder=False
    )
    cases = tuple(Case(case_id=str(n), label=label) for n, label in enumerate((0, 0, 0, 1, 2)))
    genes = draw(3, 13, dtype=torch.float32)
    material = Material(train=cases, val=(), genes=genes, classes=("A", "B", "C"), feature_dim=11)
    stage = SystemStage(model, config, material=material, seed=0, device=torch.device("cpu")).eval()
    bags = [draw(size, FEATURE_DIM, seed=size).half() for size in SIZES]
    padded = torch.full((3, 7, FEATURE_DIM), float("nan"), dtype=torch.float16)
    for row, bag in enumerate(bags):
        padded[row, : len(bag)] = bag

    loss = stage(
        features=padded,
        sizes=SIZES,
        genes=genes,
        labels=torch.tensor(LABELS),
        has_slides=torch.ones(3, dtype=torch.bool),
    )["loss"]

    alone = []
    for bag, own, label in zip(bags, genes, LABELS, strict=True):
        seen = functional.layer_norm(bag.float(), (FEATURE_DIM,))
        alone.append(loss_of(model.system, seen, own, torch.tensor(label)).item())
    weights = {"none": (1, 1, 1), "balanced": (5 / 9, 5 / 3, 5 / 9)}[class_weights]
    assert loss.item() == pytest.approx(np.average(alone, weights=weights), abs=1e-6)


def test_attention_is_the_systems_own_where_it_has_one():
    config = tiny_config(model__modalities="slides", model__system="dsmil").model
    sizes = {"n_genes": 0, "feature_dim": FEATURE_DIM, "n_classes": 2, "seed": 0, "decoder": False}
    model = build_model(config, **sizes).eval()
    features = draw(9, FEATURE_DIM, dtype=torch.float32)

    patches, attention = model.attend_slides(iter(features.split(4)), (3, 6))

    expected = functional.layer_norm(features, (FEATURE_DIM,))
    torch.testing.assert_close(patches[0], expected)
    torch.testing.assert_close(attention, model.system.attend(expected))
    config = tiny_config(model__modalities="slides", model__system="transmil").model
    with pytest.raises(PluginError, match="the system TransMIL gives no attention"):
        build_model(config, **sizes).attend_slides(iter([features]), (9,))


def test_a_case_that_lacks_a_half_is_left_out_of_the_predictions(folder):
    (folder / "features" / "P03.h5").unlink()

    result = gimp("predict", "--adata", "genes.h5ad", "--model", "run", "-o", "p.csv")

    assert result.exit_code == 0, result.stderr
    assert "P03" in result.stderr
    assert len(read_csv(folder / "p.csv")) == 29


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("finetune", *INPUTS, "--system", "mcat"), 2, "and --from runs/pretrain asks for one"),
        ((*TRAIN, "mcat", "--from", "genes"), 2, "and --from genes asks for one"),
        ((*TRAIN, "snn"), 2, "the system 'snn' reads genes, not slides+genes"),
        ((*TRAIN, "dsmill"), 2, "did you mean 'dsmil'?"),
        ((*TRAIN, "mcat", "--missing", "keep"), 3, "1 of 30 cases lack slides or genes, and the"),
        (
            ("predict", "--adata", "genes.h5ad", "--model", "run", "--modalities", "slides"),
            3,
            "the system 'mcat' of run 'run' cannot do without genes",
        ),
        (("pretrain", "--adata", "genes.h5ad", "--config", "mcat.toml"), 2, "has no pre-training"),
    ],
)
def test_what_a_system_cannot_do_is_refused_and_nothing_changes(folder, arguments, code, message):
    (folder / "features" / "P03.h5").unlink()
    (folder / "mcat.toml").write_text(settings(system="mcat"))
    before = contents(folder)

    refused = gimp(*arguments)

    assert refused.exit_code == code, refused.stderr
    assert message in refused.stderr
    assert contents(folder) == before


def test_it_has_no_embedding(folder):
    adata = anndata.read_h5ad("genes.h5ad")

    with pytest.raises(CheckpointError, match="is of the system 'mcat': it has no embedding"):
        embed(adata, "run", features="features")

    assert not adata.obsm


MUTE = """
    import torch
    from torch import nn
    from gimp_plugin.plugins import hookimpl

    class Mute(nn.Module):
        def __init__(self, n_genes, n_classes):
            super().__init__()
            self.head = nn.Linear(n_genes, n_classes)

        def forward(self, features, genes):
            logits = self.head(genes)
            return logits if self.training else logits * float("nan")

    def mute(config, *, feature_dim, n_genes, n_classes):
        return Mute(n_genes, n_classes)

    @hookimpl
    def gimp_components():
        return [("system", "mute", "mute_systems:mute", "silent when it counts")]
"""


def test_validation_of_a_plugins_system_that_is_not_finite_is_code_5_and_names_it(folder, tmp_path):
    (folder / "mute.toml").write_text(settings(modalities="genes"))
    own = ("--config", "mute.toml", "-o", "mute")

    with installing(tmp_path / "site") as plugin:
        plugin("mute-systems", MUTE)
        result = gimp(*TRAIN, "mute", *own)

    assert result.exit_code == 5, result.stderr
    assert "val_loss of finetune is not finite (nan) in epoch 1" in result.stderr
    assert "its system comes from a plugin: mute of mute-systems 2.1" in result.stderr
    assert not (folder / "mute" / runs.METRICS).exists()
    assert "NaN" not in (folder / "mute" / runs.PROVENANCE).read_text()
    assert not (folder / "mute" / runs.LOG).exists()


def test_probabilities_that_are_not_finite_are_code_5_with_the_case(folder, monkeypatch):
    monkeypatch.setattr(SystemModel, "classify", lambda *_: torch.full((1, 2), float("nan")))
    before = contents(folder)

    result = gimp("predict", "--adata", "genes.h5ad", "--model", "run", "-o", "p.csv")

    assert result.exit_code == 5, result.stderr
    assert "run 'run': the probabilities of case 'P00' are not finite" in result.stderr
    assert {path for path in contents(folder) if path not in before} <= {folder / ".p.csv.lock"}
    assert not (folder / "p.csv").exists()
