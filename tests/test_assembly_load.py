"""A run that a plugin had a part in: what it notes, and what it says without that plugin."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import h5py
import pytest
import torch
from click.testing import CliRunner

from gimp_plugin import keys
from gimp_plugin.assembly.build import build_model, code_of
from gimp_plugin.assembly.load import check_component
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
        "run 'run' needs the head 'theirs' of their-plugin 2.1, which is not available"
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
    assert "but the installed one is of good-plugin 2.1" in other.stderr


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


def test_changed_code_of_the_same_version_is_told(tmp_path, caplog):
    noted = {"name": "theirs", "distribution": "their-plugin", "version": "2.1", "code": "0"}
    record = SimpleNamespace(path=Path("run"), components={"head": noted})
    plugin = PLUGIN.replace("gimp_plugin.models.heads:linear", "their_plugin:none")

    with installing(tmp_path) as install:
        install("their-plugin", plugin, entry="theirs")
        check_component(record, "head", "theirs")
        noted["code"] = code_of("their_plugin:none")
        check_component(record, "head", "theirs")

    (message,) = caplog.messages
    assert "head 'theirs' of their-plugin 2.1, whose code has been changed since" in message


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


FAULTS = """
    import torch
    from torch import nn
    from gimp_plugin.plugins import hookimpl

    class Mean(nn.Module):
        def __init__(self, config):
            super().__init__()
            self.dim = config.dim
            self.linear = nn.Linear(config.dim, config.dim)

        def forward(self, tokens, valid, *, slide=None, rows=None):
            return self.linear(tokens.mean(1)), tokens[torch.zeros_like(valid)]

    class Alone(Mean):
        def forward(self, tokens, valid, **masks):
            return super().forward(tokens, valid)[0]

    class Every(Mean):
        def forward(self, tokens, valid, **masks):
            return super().forward(tokens, valid)[0], tokens

    class One(Mean):
        def forward(self, tokens, valid, **masks):
            return super().forward(tokens, valid)[0], tokens[:1, 0]

    class Double(Mean):
        def forward(self, tokens, valid, **masks):
            return super().forward(tokens, valid)[0].double(), tokens[:0, 0]

    class Listed(Mean):
        def __init__(self, config):
            super().__init__(config)
            self.layers = [nn.Linear(3, 3)]
            self.twice = [self.linear]  # registered, too

    class Drawn(Mean):
        def __init__(self, config):
            super().__init__(config)
            self.inner = nn.Identity()
            self.inner.projection = torch.randn(3)
            self.scale = torch.tensor(2.0)

    class More(Mean):
        def __init__(self, config, n_queries):
            super().__init__(config)

    class Tied(Mean):
        def __init__(self, config):
            super().__init__(config)
            self.other = nn.Linear(config.dim, config.dim)
            self.other.weight = self.linear.weight

    class Short(Mean):
        def forward(self, tokens, valid):
            return super().forward(tokens, valid)

    class Function:
        def __init__(self, config):
            self.dim = config.dim

    @hookimpl
    def gimp_components():
        kinds = (Mean, Alone, Every, One, Double, Listed, Drawn, More, Tied, Short, Function)
        names = [kind.__name__ for kind in kinds]
        return [("aggregator", name.lower(), f"their_plugin:{name}", "") for name in names]
"""


@pytest.fixture
def aggregating(tmp_path):
    """Make a model with one of the aggregators of FAULTS."""

    def build(name):
        config = tiny_config(model__aggregator=name, model__modalities="slides").model
        return build_model(config, n_genes=0, feature_dim=5, n_classes=3, seed=0, decoder=True)

    with installing(tmp_path) as install:
        install("their-plugin", FAULTS, entry="theirs")
        yield build


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("alone", r"'alone' of plugin 'theirs' .* gave torch.float32 .*\(2, 16\), expected a pair"),
        ("every", r"'every' .* gave .*\(2, 7, 16\) as the wanted patches.*\(rows, 16\)"),
        ("one", "aggregator One gave 1 patch besides CLS_img, 3 were wanted"),
        ("double", r"'double' .* gave torch.float64 of shape \(2, 16\)"),
    ],
)
def test_an_aggregator_that_would_be_trained_on_something_else_is_refused(
    aggregating, name, message
):
    valid = torch.ones(2, 7, dtype=torch.bool)
    masked = torch.arange(14).view(2, 7) % 5 == 1

    with pytest.raises(PluginError, match=message):
        aggregating(name).encode_slides(torch.randn(2, 7, 5), valid, masked=masked)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("listed", "'listed' of plugin 'theirs' .* neither trains nor stores: 'layers'"),
        ("drawn", r"'drawn' .* neither trains nor stores: 'inner.projection'"),
        ("more", r"'more' .* cannot be made: TypeError.*n_queries.*called with \(config\)"),
        ("tied", "'tied' .* under several names.* 'linear.weight', 'other.weight'"),
        ("short", r"forward of aggregator 'short' .* with \(tokens, valid, slide=, rows=\): got"),
        ("function", "'function' .* is of type Function, expected a torch.nn.Module"),
    ],
)
def test_a_part_that_cannot_be_trained_and_stored_whole_is_refused(aggregating, name, message):
    with pytest.raises(PluginError, match=message):
        aggregating(name)
