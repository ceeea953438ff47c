"""The example of `docs/how-to/choose-an-encoder.md` runs as it is printed."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.storage.bags import list_bags
from tests.slide_factory import make_slide
from tests.slide_readers import borrow

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "choose-an-encoder.md"


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    borrow(monkeypatch)
    yield
    sys.modules.pop("my_encoder", None)


def test_the_network_of_your_own_encodes_a_slide():
    text = PAGE.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (command,) = re.findall(r"^PYTHONPATH=\. gimp (.*)$", text, re.MULTILINE)
    Path("my_encoder.py").write_text(code)
    make_slide(Path("slides/a.svs"), (600, 600))
    with torch.random.fork_rng(devices=[]):
        network = torchvision.models.resnet18(weights=None)
    state = network.state_dict()
    torch.save({name: state[name] for name in state if not name.startswith("fc.")}, "tissue.pth")

    result = CliRunner().invoke(cli, shlex.split(command))

    (bag,) = list_bags(Path("features"))
    assert result.exit_code == 0
    assert bag.dim == 512
    assert bag.encoder.startswith("my_encoder:build@")
    assert "Normalize(mean=[0.7, 0.55, 0.7]" in bag.attributes["preprocessing"]
    assert bag.attributes["encoder_licence"] == "unknown (a file of the user)"
