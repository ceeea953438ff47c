"""The examples run from beginning to end."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.study_factory import make_study

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture
def example(monkeypatch):
    """Import an example by name and call its main with arguments."""

    def call(name, *arguments):
        spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        module.main()

    return call


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_cross_validation_prints_a_row_an_arm_and_does_nothing_twice(example, tmp_path, capsys):
    source = make_study(tmp_path, n_cases=40, obs={"fold": [case // 2 % 2 for case in range(40)]})
    arguments = (source.adata, source.features, tmp_path / "study", "--dim", 16)
    arguments = (*arguments, "--epochs", 2, "--pretrain-epochs", 1)

    example("cross_validate", *arguments)
    first = capsys.readouterr().out
    example("cross_validate", *arguments)
    second = capsys.readouterr().out

    rows = [line for line in first.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 9
    assert all("| 40 |" in row for row in rows[1:])
    assert [line for line in second.splitlines() if line.startswith("| ")] == rows
    assert second.count("nothing to do") >= 2 * 9
