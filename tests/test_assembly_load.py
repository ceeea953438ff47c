"""A run that a plugin had a part in: what it notes, and what it says without that plugin."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest
import torch
from click.testing import CliRunner

from gimp_plugin import keys
from gimp_plugin.assembly.build import build_model
from gimp_plugin.cli.main import cli
from gimp_plugin.errors import PluginError
from gimp_plugin.storage import runs
from tests.plugin_factory import installing
from tests.study_factory import make_study, settings, tiny_config

PLUGIN = """
    from gimp_plugin.plugins import hookimpl

    @hookimpl
    def gimp_components():
        return [("head", "theirs", "gimp_plugin.models.heads:linear", "ours under another name"),
                ("aggregator", "theirs", "gimp_plugin.models.abmil:GatedAttention.from_config", "")]
"""
INPUTS = ("--adata", "genes.h5ad", "--device", "cpu")
PREDICT = ("predict", *INPUTS, "--model", "run", "-o", "predictions.csv", "--overwrite")


def gimp(*arguments):
    return CliRunner().invoke(cli, arguments)


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Folder with a study and settings; plugins are installed elsewhere."""
    folder = tmp_path / "study"
    folder.mkdir()
    monkeypatch.chdir(folder)
    make_study(folder)
    Path("settings.toml").write_text(settings(head="theirs", aggregator="theirs"))
    return folder


@pytest.fixture
def run(folder, tmp_path):
    """A run whose head and aggregator came from a plugin that is not installed any more."""
    train = ("finetune", *INPUTS, "--config", "settings.toml", "--from", "none", "-o", "run")
    with installing(tmp_path) as install:
        install("their-plugin", PLUGIN, entry="theirs")
        trained = gimp(*train)
        predicted = gimp(*PREDICT)
    assert (trained.exit_code, predicted.exit_code) == (0, 0), trained.stderr + predicted.stderr
    return folder / "run"


def test_the_run_notes_where_each_component_came_from(run):
    noted = json.loads((run / runs.PROVENANCE).read_text())["components"]
    decides = json.loads((run / runs.CONFIG).read_text())["plugins"]

    theirs = {"name": "theirs", "distribution": "their-plugin", "version": "2.1"}
    assert (noted["head"], noted["aggregator"]) == (theirs, theirs)
    assert noted["gene-encoder"]["distribution"] == "gimp-plugin"
    text = "theirs of their-plugin 2.1"
    assert decides == {"aggregator": text, "head": text}


def test_without_the_plugin_it_is_refused_by_name_and_nothing_changes(run, folder):
    before = contents(folder)

    refused = gimp(*PREDICT)

    assert refused.exit_code == 2
    assert (
        "run 'run' needs the head 'theirs' of their-plugin 2.1, which is not there"
        in refused.stderr
    )
    assert "Hint: install their-plugin" in refused.stderr
    assert contents(folder) == before


def test_a_blocked_or_broken_plugin_is_named_as_the_reason(run, tmp_path, monkeypatch):
    with installing(tmp_path / "again") as install:
        install("their-plugin", "import no_such_module", entry="theirs")
        broken = gimp(*PREDICT)
        monkeypatch.setenv("GIMP_DISABLE_PLUGINS", "theirs")
        install("good-plugin", PLUGIN, entry="good")
        other = gimp(*PREDICT)

    assert (broken.exit_code, other.exit_code) == (2, 2)
    assert "of their-plugin 2.1: ModuleNotFoundError" in broken.stderr
    assert "the one that is installed is of good-plugin 2.1" in other.stderr


def test_another_version_of_the_plugin_predicts_with_a_warning_and_is_another_run(run, tmp_path):
    table = Path("predictions.csv").read_bytes()
    with installing(tmp_path / "again") as install:
        install("their-plugin", PLUGIN, entry="theirs", version="3.0")
        predicted = gimp(*PREDICT)
        train = ("finetune", *INPUTS, "--config", "settings.toml", "--from", "none", "-o", "run")
        trained = gimp(*train)

    assert predicted.exit_code == 0
    assert "made with head 'theirs' of their-plugin 2.1, version 3.0 is" in predicted.stderr
    assert Path("predictions.csv").read_bytes() == table
    assert trained.exit_code == 3
    assert "plugins.head" in trained.stderr


def test_a_run_of_ours_names_no_plugin_in_its_configuration(folder):
    Path("settings.toml").write_text(settings(modalities="genes"))

    trained = gimp("pretrain", *INPUTS, "--config", "settings.toml", "-o", "ours")

    assert trained.exit_code == 0
    assert "plugins" not in json.loads(Path("ours", runs.CONFIG).read_text())


def test_bags_of_a_plugins_encoder_name_it_in_the_run_and_new_slides_are_refused_without(folder):
    theirs = {"name": "colour", "distribution": "their-plugin", "version": "2.1"}
    for path in Path("features").iterdir():
        with h5py.File(path, "r+") as file:
            file.attrs[keys.ENCODER_PLUGIN] = json.dumps(theirs)
    Path("settings.toml").write_text(settings())
    train = ("finetune", *INPUTS, "--config", "settings.toml", "--from", "none", "-o", "run")

    trained = gimp(*train)
    refused = gimp(*PREDICT, "--slides", "slides")

    assert trained.exit_code == 0
    noted = json.loads(Path("run", runs.PROVENANCE).read_text())
    assert noted["components"]["patch-encoder"] == theirs
    assert [one["name"] for one in noted["feature_readers"]] == ["gimp"]
    assert refused.exit_code == 2
    assert "needs the patch encoder 'colour' of their-plugin 2.1, which is not" in refused.stderr


SHAPES = """
    from torch import nn
    from gimp_plugin.plugins import hookimpl

    class More(nn.Linear):
        def __init__(self, config, *, in_dim, n_classes):
            super().__init__(in_dim, n_classes + 1)

    class Wide(nn.Linear):
        def __init__(self, config, *, n_genes):
            super().__init__(n_genes, 2 * config.dim)
            self.dim = config.dim

    @hookimpl
    def gimp_components():
        return [("head", "more", "their_plugin:More", "one class too many"),
                ("gene-encoder", "wide", "their_plugin:Wide", "too wide")]
"""


def test_a_plugins_module_that_gives_another_shape_is_told_with_its_name(tmp_path):
    config = tiny_config(model__head="more", model__gene_encoder="wide").model
    with installing(tmp_path) as install:
        install("their-plugin", SHAPES, entry="theirs")
        model = build_model(config, n_genes=7, feature_dim=5, n_classes=3, seed=0, decoder=False)

    with pytest.raises(PluginError, match=r"head 'more' of plugin 'theirs' .*\(2, 4\).*\(2, 3\)"):
        model.head(torch.zeros(2, model.fusion.out_dim))
    with pytest.raises(PluginError, match=r"gene-encoder 'wide' .*\(2, 32\).*\(2, 16\)"):
        model.encode_genes(torch.zeros(2, 7))
