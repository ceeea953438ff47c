"""Small comparisons on the command line, and their results."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from gimp_plugin.cli.main import cli
from gimp_plugin.config import CohortSource
from gimp_plugin.storage.runs import LOG
from gimp_plugin.storage.tables import read_csv

SETTINGS = """\
[model]
dim = 16
n_heads = 2
n_landmarks = 5
convolution_taps = 3
[genes]
epochs = 2
lr = 3e-3
[pretrain]
epochs = 1
lr = 2e-3
subsequence_length = 13
[finetune]
epochs = 2
lr = 3e-3
patience = 0
"""


def benchmark(source: CohortSource, output: Path, *words: object, splits: str = "obs:fold"):
    """Run `gimp benchmark` on a study with tiny settings; return click's result."""
    settings = output.parent / "settings.toml"
    if not settings.exists():
        settings.write_text(SETTINGS)
    inputs: tuple[object, ...] = ("--adata", source.adata, "--features", source.features)
    inputs += ("--splits", splits) if splits else ()
    arguments = ("benchmark", *inputs, "--config", settings, "-o", output, *words)
    result: Result = CliRunner().invoke(cli, [str(one) for one in arguments])
    return result


MEASURED = ("seconds", "predict_seconds_a_slide", "peak_memory_mib", "peak_gpu_memory_mib")


def tables(output: Path) -> dict[str, object]:
    """Read the tables that must not depend on interruptions of the comparison."""
    names = ("table.md", "table.csv", "table.json", "table.tex")
    cells = [
        {name: cell for name, cell in row.items() if name not in MEASURED}
        for row in read_csv(output / "cells.csv")
    ]
    return {"cells": cells, **{name: (output / name).read_bytes() for name in names}}


def evaluations(output: Path) -> dict[str, dict]:
    """Read the results of each method from `table.json`."""
    return json.loads((output / "table.json").read_text())["methods"]


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and modification time of every file."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def epochs(output: Path) -> list[str]:
    """All epochs ever trained, sorted."""
    return sorted(
        f"{log.parent.relative_to(output)} {one['stage']} {one['epoch']}"
        for log in output.glob(f"cells/*/*/*/{LOG}")
        for one in map(json.loads, log.read_text().splitlines())
    )


def cell(output: Path, method: str, fold: object = 0, seed: int = 0) -> Path:
    """Folder of a cell."""
    return output / "cells" / method / f"fold-{fold}-seed-{seed}"


def probabilities(cell: Path, name: str = "LUSC") -> dict[str, float]:
    """Probability of a class by case."""
    return {
        row["case_id"]: float(row[f"prob_{name}"]) for row in read_csv(cell / "predictions.csv")
    }
