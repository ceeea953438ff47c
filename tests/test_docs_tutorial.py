"""The tutorial of plugins, done as it says."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.plugins import registry
from gimp_plugin.storage import runs
from gimp_plugin.storage.atomic import sha256_file
from gimp_plugin.testing import check_aggregator
from tests.plugin_factory import install_project
from tests.study_factory import make_study, settings

PAGE = Path(__file__).parents[1] / "docs" / "tutorials" / "replace-the-aggregator.md"
TEXT = PAGE.read_text(encoding="utf-8")
FILES = dict(re.findall(r"`([\w/]+\.\w+)`:\n\n```\w+\n(.*?)```", TEXT, flags=re.DOTALL))
MODEL = "mean_aggregator/model.py"


@pytest.fixture
def project(tmp_path):
    """The folder that the tutorial builds."""
    for name, content in FILES.items():
        path = tmp_path / "mean-aggregator" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "mean-aggregator"


@pytest.fixture
def installed(project, tmp_path, monkeypatch):
    """The project, installed on this interpreter's path for a while."""
    site = tmp_path / "site"
    install_project(project, site)
    monkeypatch.syspath_prepend(site)
    registry.cache_clear()
    yield project
    registry.cache_clear()
    for name in ("mean_aggregator", "mean_aggregator.model"):
        sys.modules.pop(name, None)


def gimp(*arguments):
    return CliRunner().invoke(cli, arguments)


def test_the_aggregator_has_20_lines():
    lines = [line for line in FILES[MODEL].splitlines() if line.strip()]

    assert set(FILES) == {
        *(MODEL, "mean_aggregator/__init__.py", "pyproject.toml", "tests/test_model.py")
    }
    assert len(lines) <= 20


def test_it_is_installed_passes_the_kit_trains_and_is_missed(installed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_study(tmp_path)
    Path("settings.toml").write_text(settings())

    runpy.run_path(str(installed / "tests" / "test_model.py"))[
        "test_the_aggregator_keeps_the_contract"
    ]()
    listed = gimp("plugins")
    inputs = ("--adata", "genes.h5ad", "--device", "cpu", "--config", "settings.toml")
    trained = gimp("pretrain", *inputs, "--aggregator", "mean")
    tuned = gimp("finetune", *inputs, "--aggregator", "mean")
    monkeypatch.setenv("GIMP_DISABLE_PLUGINS", "mean-aggregator")
    registry.cache_clear()
    missed = gimp("predict", *inputs[:4])

    assert "mean of a bag" in listed.stdout
    assert (trained.exit_code, tuned.exit_code) == (0, 0), trained.stderr + tuned.stderr
    noted = json.loads(Path("runs/finetune", runs.PROVENANCE).read_text())["components"]
    assert noted["aggregator"] == {
        "name": "mean", "distribution": "mean-aggregator", "version": "1.0",
        "code": sha256_file(installed / MODEL)[:8],
    }  # fmt: skip
    assert missed.exit_code == 2
    error, hint = re.search(r"```text\n(Error: .*)\n(Hint: .*)\n```", TEXT).groups()
    assert error in missed.stderr
    assert hint in missed.stderr
    assert "'mean-aggregator' of mean-aggregator 1.0 is disabled" in missed.stderr


def test_the_mistake_that_it_warns_of_is_found(project, monkeypatch):
    content = FILES[MODEL]
    line = next(line for line in content.splitlines() if line.strip().startswith("mean ="))
    (project / MODEL).write_text(content.replace(line, "        mean = tokens.mean(dim=1)"))
    monkeypatch.syspath_prepend(project)
    model = importlib.import_module("mean_aggregator.model")
    for name in ("mean_aggregator", "mean_aggregator.model"):
        sys.modules.pop(name)

    with pytest.raises(AssertionError, match="it reads the padding: values differ by"):
        check_aggregator(model.MeanAggregator)
