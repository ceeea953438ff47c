"""Write a report of runs as one page of HTML."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import gimp_plugin
from gimp_plugin.errors import StaleOutputError
from gimp_plugin.storage.atomic import write_text
from gimp_plugin.studies.report import explained, performance, provenance
from gimp_plugin.studies.report.blocks import Name, Section
from gimp_plugin.studies.report.cautions import warnings_of
from gimp_plugin.studies.report.confusion import confusion_of
from gimp_plugin.studies.report.embedding import embedding_of
from gimp_plugin.studies.report.gathering import Asked, Reported, reported
from gimp_plugin.studies.report.maps import slides_of
from gimp_plugin.studies.report.names import as_name, as_text, short, without_folders
from gimp_plugin.studies.report.together import side_by_side

logger = logging.getLogger(__name__)

GENERATOR = '<meta name="generator" content="gimp-plugin report">'
"""Tag that identifies our own pages."""
HEAD_BYTES = 1000
MAX_WARNING = 300


@dataclass(frozen=True, slots=True)
class Report:
    """Result of writing a report.

    Parameters
    ----------
    path
        The page.
    outcome
        `done`, or `nothing to do`.
    warnings
        Warnings at the top of the page.
    """

    path: Path
    outcome: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """The content of the page.

    Parameters
    ----------
    title
        Title of the page.
    warnings
        Warnings at the top of the page.
    compared
        Sections on all runs together; empty for one run.
    runs
        Label and sections of each run.
    """

    title: str
    warnings: tuple[str, ...]
    compared: tuple[Section, ...]
    runs: tuple[tuple[str, tuple[Section, ...]], ...]


def report(asked: Asked, *, output: Path, overwrite: bool) -> Report:
    """Write a report of runs.

    Parameters
    ----------
    asked
        Inputs of the report.
    output
        The page.
    overwrite
        Replace a page that was made from other inputs.

    Returns
    -------
    The result.

    Raises
    ------
    GimpError
        If an input cannot be used.
    StaleOutputError
        If `output` is another file, or a page with different content.
    """
    _check_ours(output)
    page = _page(asked)
    text = rendered(page, asked)
    if output.exists() and output.read_bytes() == text.encode():
        return Report(output, "nothing to do", page.warnings)
    if output.exists() and not overwrite:
        problem = f"{str(output)!r} was made from other inputs"
        raise StaleOutputError(problem, hint="choose another --output, or use --overwrite")
    write_text(output, text)
    return Report(output, "done", page.warnings)


def rendered(page: Page, asked: Asked) -> str:
    """Give the page as HTML.

    Parameters
    ----------
    page
        Content of the page.
    asked
        Inputs of the report; only the last part of their paths appears in the page.

    Returns
    -------
    The HTML; always the same for the same content.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("gimp_plugin.studies.report"),
        autoescape=True,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )

    def told(text: str) -> str:
        return (
            as_name(text) if isinstance(text, Name) else as_text(without_folders(text, asked.paths))
        )

    pages.filters |= {"told": told, "short": short}
    version = gimp_plugin.__version__
    return pages.get_template("report.html").render(page=page, version=version)


def _check_ours(path: Path) -> None:
    """Refuse to overwrite a file that is not one of our pages."""
    if not path.exists():
        return
    with path.open("rb") as file:
        if GENERATOR.encode() not in file.read(HEAD_BYTES):
            problem = f"{str(path)!r} already exists and is not a gimp report"
            raise StaleOutputError(problem, hint="choose another --output")


def _page(asked: Asked) -> Page:
    """Collect the content of the page."""
    found = reported(asked)
    compared: tuple[Section, ...] = ()
    warnings: list[str] = []
    title = f"Report of {len(found)} runs"
    if len(found) == 1:
        title = f"Report of {short(found[0].label)}"
    else:
        compared, warnings = side_by_side(found, asked)
    for one in found:
        prefix = f"{one.label}: " if len(found) > 1 else ""
        warnings += [f"{prefix}{text}" for text in warnings_of(one, compared=bool(asked.others))]
    runs = tuple(
        (one.label, tuple(_sections(one, asked, f"r{place}-" if len(found) > 1 else "")))
        for place, one in enumerate(found, start=1)
    )
    return Page(
        title=title,
        warnings=tuple(_told(text, asked) for text in dict.fromkeys(warnings)),
        compared=compared,
        runs=runs,
    )


def _told(warning: str, asked: Asked) -> str:
    """Shorten a warning and remove folders; the section has the full text."""
    words = map(short, without_folders(warning, asked.paths).split())
    return shorten(" ".join(words), MAX_WARNING, placeholder=" ...")


def _sections(one: Reported, asked: Asked, prefix: str) -> Iterator[Section]:
    """Sections of one run, the most requested first."""
    parts: dict[str, tuple[str, tuple[Any, ...]]] = {
        "metrics": ("Headline metrics", performance.metrics_of(one)),
        "cohort": ("Cohort and exclusions", provenance.cohort_of(one)),
        "audit": ("Audit of the cohort", provenance.audit_of(one)),
        "splits": ("Splits", provenance.splits_of(one)),
        "curves": ("ROC and precision-recall", performance.curves_of(one, seed=asked.seed)),
        "calibration": ("Calibration", performance.calibration_of(one)),
        "confusion": ("Confusion", confusion_of(one, prefix=prefix)),
        "training": ("Training curves", provenance.training_of(one)),
        "embedding": ("Embedding", embedding_of(one)),
        "genes": ("Genes and groups", explained.genes_of(one)),
        "halves": ("Which half decided", explained.halves_of(one)),
        "slides": ("Slides", slides_of(one, n_pictures=asked.n_pictures)),
        "card": ("Model card", provenance.card_of(one)),
        "provenance": ("Provenance and versions", provenance.provenance_of(one)),
    }
    for name, (title, blocks) in parts.items():
        yield Section(f"{prefix}{name}", title, blocks)
