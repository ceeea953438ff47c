"""Write docs/reference/cli.md from the commands; a test compares it with what they say now."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import click

from gimp_plugin.cli.commands import every
from gimp_plugin.cli.main import cli

EVERYWHERE = {"--config", "--verbose", "--quiet"}
PAGE = Path(__file__).parent / "reference" / "cli.md"

INTRODUCTION = """\
<!-- Written by docs/generate_cli.py (make docs): change the commands, not this page. -->

# Command line

`gimp COMMAND [OPTIONS]`; the same as `gimp-plugin` and `python -m gimp_plugin`. Results go to
stdout, everything else to stderr. When run again, an unfinished command continues where it stopped.

Every command also takes `--config FILE.toml` (below), `-v, --verbose` (twice for tracebacks),
`-q, --quiet` and `-h, --help`.

## Settings files

`--config FILE.toml` gives values to the model and to any command's options. The command line
overrides the file, and the file the preset. `gimp config` prints a whole file to start from;
keep the lines that you change.

```toml
[options]                  # options of every command that has them, by their long names
adata = "genes.h5ad"
device = "cpu"

[options.finetune]         # options of one command
from = "runs/pretrain"

[model]                    # changes to the preset: [model], [genes], [pretrain], [finetune]
dim = 128
```

## Exit codes

| code | meaning |
| --- | --- |
| 0 | done |
| 1 | a bug of ours: please report it |
| 2 | wrong usage or configuration; the nearest valid name is offered |
| 3 | bad input: nothing was produced |
| 4 | partly done, what failed is reported; or a check found something ([details](exit-codes.md)) |
| 5 | out of a resource: disk, memory, device, weights, a place to write, or a finite loss |
| 6 | another process holds the output |
| 7 | refused for safety |
| 130, 143 | interrupted, terminated; the same command continues later |
"""


def page() -> str:
    """The whole page."""
    sections = [INTRODUCTION]
    with cli.make_context("gimp", [], resilient_parsing=True) as parent:
        sections += [section(name, command, parent) for name, command in every()]
    return "\n".join(sections)


def section(name: str, command: click.Command, parent: click.Context) -> str:
    """What one command does, and its options."""
    own = [param for param in command.params if not EVERYWHERE & set(param.opts)]
    with click.Context(command, info_name=name, parent=parent) as ctx:
        usage = " ".join(["gimp", name, *command.collect_usage_pieces(ctx)])
        records = [param.get_help_record(ctx) for param in own]
    lines = [f"## gimp {name}", "", "```text", usage, "```", "", *paragraphs(command), ""]
    if not any(records):
        return "\n".join(lines)
    lines += ["| option | meaning |", "| --- | --- |"]
    lines += [f"| `{cell(names)}` | {cell(text)} |" for names, text in filter(None, records)]
    return "\n".join(lines) + "\n"


def paragraphs(command: click.Command) -> Iterator[str]:
    """Help text; what click is told not to wrap stays as it is."""
    for number, block in enumerate(inspect.cleandoc(command.help or "").split("\n\n")):
        yield from [""] if number else []
        kept = block.startswith("\b")
        yield from ["```text", block.removeprefix("\b\n"), "```"] if kept else [block]


def cell(text: str) -> str:
    """Text of a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
