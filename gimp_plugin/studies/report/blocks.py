"""What a page is made of: plain values that the template turns to HTML and escapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from gimp_plugin.studies.report.charts import Chart

NARROW_PX = 400


class Name(str):
    """A name that somebody else chose, of a case, a gene, a class or a file."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Link:
    """A cell that leads to another place of the page."""

    text: str
    target: str


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph; each text is one, or an item of a list where `listed`."""

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
        How many columns, from the left, are text; the others are numbers and stand to the right.
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
    """A picture, as a data URI that we encoded ourselves; several narrow ones share a line."""

    kind: ClassVar[str] = "picture"
    uri: str
    width: int
    height: int
    alt: str
    caption: str

    @property
    def narrow(self) -> bool:
        """Whether three of them stand side by side on a printed page."""
        return self.width <= NARROW_PX


@dataclass(frozen=True, slots=True)
class Beside:
    """Blocks that stand side by side where there is room."""

    kind: ClassVar[str] = "beside"
    blocks: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Fold:
    """Blocks that are shown on request; `anchor` is where a `Link` leads to."""

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
        Its id in the page.
    title
        Its heading.
    blocks
        What it shows.
    """

    anchor: str
    title: str
    blocks: tuple[Any, ...]


def lacking(what: str, command: str) -> tuple[Text]:
    """Say in one line which command gives what a section would show."""
    return (Text((f"{what}: {command}",)),)


def said(*texts: str) -> Text:
    """Give paragraphs."""
    return Text(tuple(texts))
