"""The example distribution, installed into a new environment and used by name."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from gimp_plugin import keys
from gimp_plugin.cli.main import cli
from gimp_plugin.storage import runs
from gimp_plugin.storage.bags import list_bags
from gimp_plugin.storage.tables import read_csv
from tests.plugin_factory import called, install_project
from tests.slide_factory import make_slide
from tests.study_factory import make_study, settings

ROOT = Path(__file__).parents[1]
PROJECT = ROOT / "examples" / "gimp-plugin-example"
WHERE = "import sysconfig; print(sysconfig.get_path('purelib'))"
DEVICE = ("--device", "cpu")
INPUTS = ("--adata", "genes.h5ad", *DEVICE)
THEIRS = ("--gene-encoder", "example-linear", "--aggregator", "example-mean")
COMMANDS = {
    "plugins": ("plugins", "--json"),
    "help": ("--help",),
    "bags": ("example-bags", "features"),
    "pretrain": ("pretrain", *INPUTS, "--config", "settings.toml", *THEIRS),
    "finetune": ("finetune", *INPUTS, "--config", "settings.toml", *THEIRS),
    "predict": ("predict", *INPUTS),
    "extract": (
        *("extract-features", "slides", "--patch-encoder", "example-colour", *DEVICE),
        *("--patch-size", "96", "-o", "colours"),
    ),
}
DRIVER = f"""
import json, sys
import pytest
from click.testing import CliRunner
from gimp_plugin import keys
from gimp_plugin.cli.main import cli

if __name__ == "__main__":
    code = pytest.main([sys.argv[1], "-q", "-p", "no:cacheprovider"])
    told = {{"tests": [int(code), "", ""]}}
    for name, arguments in {COMMANDS!r}.items():
        result = CliRunner().invoke(cli, arguments)
        told[name] = [result.exit_code, result.stdout, result.stderr]
    open("told.json", "w").write(json.dumps(told))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """New environment with the example in it, and its source; packages of this one are shared."""
    folder = tmp_path_factory.mktemp("environment")
    called(sys.executable, "-m", "venv", "--without-pip", folder / "env")
    python = folder / "env" / "bin" / "python"
    site = Path(called(python, "-c", WHERE).strip())
    shared = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
    (site / "shared.pth").write_text("\n".join([str(ROOT), *shared]))
    project = shutil.copytree(PROJECT, folder / "project")
    install_project(project, site, python=python)
    return python, project


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_example_is_installed_used_by_name_and_missed_by_name(
    environment, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    make_study(tmp_path)
    make_slide(tmp_path / "slides" / "a.svs")
    Path("settings.toml").write_text(settings())
    Path("driver.py").write_text(DRIVER)

    python, project = environment
    called(python, "driver.py", project / "tests", cwd=tmp_path)
    told = json.loads(Path("told.json").read_text())
    missed = CliRunner().invoke(cli, [*COMMANDS["predict"], "-o", "again.csv"])

    assert {name: code for name, (code, _, _) in told.items() if code} == {}, told
    rows = json.loads(told["plugins"][1])["components"]
    theirs = {row["name"] for row in rows if row["distribution"] == "gimp-plugin-example"}
    assert theirs == {"example-linear", "example-mean", "example-colour"}
    assert "Count the patches of each slide. [gimp-plugin-example]" in told["help"][1]
    counted = dict(line.split("\t") for line in told["bags"][1].splitlines())
    assert counted == {bag.slide_id: str(bag.n_patches) for bag in list_bags(Path("features"))}
    noted = json.loads(Path("runs/pretrain", runs.PROVENANCE).read_text())["components"]
    origin = {"distribution": "gimp-plugin-example", "version": "1.0"}
    codes = [noted[kind].pop("code") for kind in ("gene-encoder", "aggregator")]
    assert len({*codes}) == 2
    assert noted["gene-encoder"] == {"name": "example-linear", **origin}
    assert noted["aggregator"] == {"name": "example-mean", **origin}
    assert len(read_csv(Path("predictions.csv"))) == 30
    (bag,) = list_bags(Path("colours"))
    assert (bag.dim, bag.encoder) == (6, "example-colour@no weights, ")
    assert json.loads(bag.attributes[keys.ENCODER_PLUGIN]) == {"name": "example-colour", **origin}
    assert missed.exit_code == 2
    assert "gene encoder 'example-linear' of gimp-plugin-example 1.0, which is" in missed.stderr
    assert "install gimp-plugin-example" in missed.stderr
    assert not Path("again.csv").exists()
