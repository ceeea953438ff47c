"""Blocks of a page: plain values that the template escapes and turns into HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from gimp_plugin.studies.report.charts import Chart

NARROW_PX = 400


class Name(str):
    """A name from outside, of a case, a gene, a class or a file."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A cell that leads to another place of the page."""

    text: str
    target: str


@dataclass(frozen=True, slots=True)
class Text:
    """Paragraphs, one per text; or a list with one item per text if `listed`."""

    kind: ClassVar[str] = "text"
    texts: tuple[str, ...]
    listed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table.

    Parameters
    ----------
    caption
        What it shows.
    header
        Names of the columns; the first column holds the names of the rows.
    rows
        Cells: text, `Name`, or `Link`.
    n_texts
        Number of text columns, from the left; the others are numbers, aligned to the right.
    """

    kind: ClassVar[str] = "table"
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | Link]]
    n_texts: int = 1


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawn chart."""

    kind: ClassVar[str] = "plot"
    chart: Chart


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture, as a data URI that we encoded ourselves; narrow ones share a line."""

    kind: ClassVar[str] = "picture"
    uri: str
    width: int
    height: int
    alt: str
    caption: str

    @property
    def narrow(self) -> bool:
        """Whether three such pictures fit side by side on a printed page."""
        return self.width <= NARROW_PX


@dataclass(frozen=True, slots=True)
class Beside:
    """Blocks that are shown side by side if there is room."""

    kind: ClassVar[str] = "beside"
    blocks: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks that are shown on request; `anchor` is the target of a `Link`."""

    kind: ClassVar[str] = "fold"
    summary: str
    blocks: tuple[Any, ...]
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A section.

    Parameters
    ----------
    anchor
        Id of the section in the page.
    title
        Heading.
    blocks
        Content.
    """

    anchor: str
    title: str
    blocks: tuple[Any, ...]


def lacking(what: str, command: str) -> tuple[Text]:
    """Say in one line which command makes the missing content of a section."""
    return (Text((f"{what}: {command}",)),)


def said(*texts: str) -> Text:
    """Make paragraphs."""
    return Text(tuple(texts))
