"""`gimp evaluate`: measure how good predictions are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gimp_plugin.cli import logs, options

if TYPE_CHECKING:
    from gimp_plugin.evaluation import Evaluation

DEFAULT = Path("predictions.csv")
HEADING, KEY = r"[^\n]+\n\n\| metric ", "by_class"
"""How every evaluation begins as Markdown, and a key that it has as JSON."""
PATTERN_CHARACTERS = frozenset("*?[")


@click.command("evaluate", short_help="Compare predictions with the labels; prints tables.")
@click.argument("predictions", nargs=-1, type=options.FILE)
@click.option(
    "--part",
    type=options.Choice(["test", "new", "train", "val"]),
    show_default="test, or new if there is no test",
    help="Part to evaluate; train and val only show how well the model fits.",
)
@click.option(
    "--model",
    "run",
    metavar="RUN",
    type=options.FILE,
    help="Run that made the predictions; tables of another run, and cases that it was trained on, "
    "are refused.",
)
@click.option(
    "--compare",
    "others",
    metavar="[NAME=]FILE|PATTERN",
    multiple=True,
    help="Another system's predictions of the same patients, to compare with and test against, and "
    "an optional name; a quoted pattern covers its folds or seeds. May be repeated.",
)
@options.seed
@options.as_json
@click.option(
    "-o",
    "--output",
    type=options.FILE,
    callback=lambda _ctx, _param, path: path and options.check_output(path, folder=False),
    help="File to write the result to as well: JSON if its name ends in .json, else Markdown.",
)
@options.overwrite
def command(
    *,
    predictions: tuple[Path, ...],
    part: str | None,
    run: Path | None,
    others: tuple[str, ...],
    seed: int,
    as_json: bool,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Compare predictions with the labels, per patient and with intervals.

    PREDICTIONS are the tables of one system, or quoted patterns that match them, by default
    predictions.csv. Tables of the same patients are taken as seeds, and their probabilities are
    averaged; tables of different patients are taken as folds. Folds of repeated partitions share
    patients; they are compared with the corrected resampled t-test.
    """
    from gimp_plugin.evaluation import evaluate

    with logs.said_by_page(as_json=as_json):
        found = evaluate(
            [path for given in predictions for path in tables_of(str(given))] or (DEFAULT,),
            part=part,
            model=run,
            others=systems_of(others),
            seed=seed,
        )
    if output is not None:
        text = as_text(found, as_json=output.suffix == ".json")
        write(output, text, heading=HEADING, key=KEY, overwrite=overwrite)
    click.echo(as_text(found, as_json=as_json), nl=False)


def as_text(found: Evaluation, *, as_json: bool) -> str:
    """Format an evaluation as JSON or Markdown."""
    import json

    if as_json:
        return json.dumps(found.to_dict(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return found.to_markdown()


def systems_of(given: Sequence[str], *, folders: bool = True) -> dict[str, list[Path]]:
    """Find the tables of other systems, by name.

    Parameters
    ----------
    given
        Values of `--compare`.
    folders
        Name a system without a name after its folder and file, else after its file alone.

    Returns
    -------
    The tables of each system; repeated names are numbered.

    Raises
    ------
    MissingFileError
        If no file matches a pattern.
    """
    from gimp_plugin.evaluation.text import name_of, numbered

    names, tables = [], []
    for each in given:
        name, path = _named(each)
        tables.append(tables_of(path))
        names.append(name or name_of(tables[-1], folders=folders))
    return dict(zip(numbered(names), tables, strict=True))


def _named(given: str) -> tuple[str, str]:
    """Split a value of `--compare` into a name, which may be empty, and a file or pattern."""
    name, sign, path = given.partition("=")
    if not sign or Path(given).exists() or not name.strip() or "/" in name or not path:
        return "", given
    return name.strip(), path


def tables_of(given: str) -> list[Path]:
    """Find the tables that a file name or a pattern stands for.

    Parameters
    ----------
    given
        File or pattern.

    Returns
    -------
    The file, or those that match the pattern, sorted.

    Raises
    ------
    MissingFileError
        If no file matches the pattern.
    """
    import glob

    from gimp_plugin.errors import MissingFileError

    if Path(given).exists() or not PATTERN_CHARACTERS & set(given):
        return [Path(given)]
    found = sorted(glob.glob(given))  # noqa: PTH207  # a pattern may also be absolute
    if not found:
        raise MissingFileError(f"no file matches {given!r}")
    return [Path(name) for name in found]


def write(path: Path, text: str, *, heading: str, key: str, overwrite: bool) -> None:
    """Write a result, unless a file with other content exists.

    Parameters
    ----------
    path
        File to write.
    text
        Its content.
    heading
        Pattern that every such result begins with, as Markdown.
    key
        Key that every such result has, as JSON.
    overwrite
        Replace a result with other content.

    Raises
    ------
    StaleOutputError
        If a file exists that is no such result, or has other content and is not to be replaced.
    """
    from gimp_plugin.errors import StaleOutputError
    from gimp_plugin.storage.atomic import write_text

    found = path.read_bytes().decode("utf-8", "replace") if path.exists() else None
    if found == text:
        return
    if found is not None and not (re.match(heading, found) or _has_key(found, key)):
        problem = f"{str(path)!r} already exists and is not a result of this command"
        raise StaleOutputError(problem, hint="choose another --output")
    if found is not None and not overwrite:
        problem = f"{str(path)!r} already exists with different content"
        raise StaleOutputError(problem, hint="choose another --output, or use --overwrite")
    write_text(path, text)


def _has_key(text: str, key: str) -> bool:
    """Whether a text is a JSON object with this key."""
    import json

    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and key in found
