"""`--config FILE.toml` and `gimp config`: what a file may say, and who wins."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from gimp_plugin.cli.commands import load
from gimp_plugin.cli.main import cli
from gimp_plugin.cli.settings import as_typed, by_name
from gimp_plugin.config import PRESETS, GimpConfig, load_preset
from gimp_plugin.errors import ConfigError


class Called:
    """Stands for `training.pretrain` and `training.finetune`; remembers what it was given."""

    def __call__(self, source, config, *, output, runtime, start=None):
        self.source, self.config, self.output, self.runtime = source, config, output, runtime
        self.start, self.path, self.outcome = start, output, "done"
        return self


@pytest.fixture
def called(monkeypatch):
    call = Called()
    monkeypatch.setattr("gimp_plugin.training.pretrain", call)
    monkeypatch.setattr("gimp_plugin.training.finetune", call)
    return call


@pytest.fixture
def gimp(monkeypatch, tmp_path):
    """Run a command in an empty folder where settings.toml has the given text."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, settings=None):
        if settings is not None:
            Path("settings.toml").write_text(settings, encoding="utf-8")
            arguments = (*arguments, "--config", "settings.toml")
        return CliRunner().invoke(cli, arguments)

    return run


def test_the_command_line_wins_over_the_file_and_the_file_over_the_preset(gimp, called):
    settings = """
        [options]
        adata = "a.h5ad"
        seed = 3
        [model]
        dim = 64
        [pretrain]
        epochs = 7
        margin = 0.25
    """

    result = gimp("pretrain", "--epochs", "2", "--seed", "5", settings=settings)

    assert (result.exit_code, result.stdout) == (0, "runs/pretrain: done\n")
    assert called.source.adata == Path("a.h5ad")
    assert (called.config.pretrain.epochs, called.runtime.seed) == (2, 5)
    assert (called.config.pretrain.margin, called.config.model.dim) == (0.25, 64)
    assert called.config.finetune == load_preset().finetune


def test_options_of_one_command_win_over_those_of_all(gimp, called):
    settings = """
        [options]
        adata = "a.h5ad"
        device = "cpu"
        precision = "fp32"
        [options.pretrain]
        precision = "bf16"
        overwrite = true
        output = "elsewhere"
        [options.predict]
        min-gene-coverage = 0.5
    """

    assert gimp("pretrain", settings=settings).exit_code == 0

    assert (called.runtime.device, called.runtime.precision) == ("cpu", "bf16")
    assert called.runtime.overwrite
    assert called.output == Path("elsewhere")


def test_options_that_the_command_lacks_wait_for_another(gimp, called):
    settings = '[options]\nadata = "a.h5ad"\nfrom = "none"\nhead = "mlp"'

    assert gimp("pretrain", settings=settings).exit_code == 0
    assert called.config.model.head == "linear"
    assert gimp("finetune", settings=settings).exit_code == 0
    assert (called.start, called.config.model.head) == ("none", "mlp")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("[model]\ndimm = 64", "[model] 'dimm', did you mean 'dim'?"),
        ("[modle]\ndim = 64", "unknown table [modle], did you mean 'model'?"),
        ("[pretrain]\nlr = -1", "lr = -1.0 is out of range"),
        ("[pretrain]\nmask_ratio = 1.5", "mask_ratio = 1.5 is out of range"),
        ("[pretrain]\nepochs = 0", "epochs = 0 is out of range"),
        ("[pretrain]\nepochs = 'ten'", "epochs = 'ten' has the wrong type"),
        ("[pretrain]\n_target_ = 'os.system'", "'_target_'"),
        ("[options]\nadatta = 'a'", "[options] unknown option 'adatta', did you mean 'adata'?"),
        ("[options]\nseed = 'x'", "[options] seed = 'x' is not valid: 'x' is not a valid integer"),
        ("[options]\nseed = true", "seed = True is not valid, expected a value"),
        ("[options]\nseed = [1]", "seed = [1] is not valid, expected a value"),
        ("[options]\noverwrite = 'yes'", "overwrite = 'yes' is not valid, expected true or false"),
        ("[options]\nadata = 2020-01-01", "expected a value"),
        ("[options]\noutput = 'x'", "[options] 'output' cannot be the same for every command"),
        ("[options.finetune]\nepochs = 1.5", "[options.finetune] epochs = 1.5 is not valid"),
        ("[options.finetune]\nmissing = 'kep'", "Did you mean 'keep'?"),
        (
            "[options.finetun]\nlr = 1",
            "[options.finetun] is not a command, did you mean 'finetune'?",
        ),
        ("options = 3", "options is 3, expected a table"),
        ("model = 3", "[model] is 3, expected a table"),
        ("[model", "is not valid TOML"),
    ],
)
def test_what_is_wrong_in_a_file_is_2_and_named(gimp, called, settings, problem):
    result = gimp("pretrain", "--adata", "a.h5ad", settings=settings)

    assert result.exit_code == 2
    assert "settings.toml" in result.stderr
    assert problem in result.stderr
    assert not hasattr(called, "config")


def test_a_file_that_is_no_text_is_refused(gimp, tmp_path):
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")

    result = gimp("pretrain", "--config", "x.toml")

    assert result.exit_code == 2
    assert "'x.toml' is not valid TOML" in result.stderr


def test_a_file_that_is_missing_is_refused(gimp):
    assert gimp("pretrain", "--config", "missing.toml").exit_code == 2


@pytest.mark.parametrize("preset", PRESETS)
def test_a_printed_preset_comes_back_as_it_was(gimp, preset):
    printed = gimp("config", "--preset", preset).stdout

    assert GimpConfig.from_dict(tomllib.loads(printed)) == load_preset(preset)
    assert gimp("config", settings=printed).stdout == printed


def test_the_examples_in_a_printed_file_are_valid(gimp, called):
    printed = gimp("config").stdout
    table_at = printed.index("# [options]")
    examples = "\n".join(
        line.removeprefix("#").strip()
        for line in printed[table_at:].splitlines()
        if line[:1] == "#"
    )

    assert gimp("finetune", "--from", "none", settings=examples).exit_code == 0
    assert called.source.adata == Path("genes.h5ad")


@pytest.mark.parametrize(("value", "typed"), [("2", ["2"]), (2, ["2"]), (["a", "b"], ["a", "b"])])
def test_one_value_does_for_an_option_that_may_be_repeated(value, typed):
    assert as_typed("", "fold", value, by_name(load("benchmark"))) == typed


def test_a_truth_value_does_not():
    with pytest.raises(ConfigError, match="fold = True is not valid, expected a list"):
        as_typed("", "fold", True, by_name(load("benchmark")))
