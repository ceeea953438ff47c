"""Components as a plugin registers them: kind, name, and where to import them from."""

from __future__ import annotations

import dataclasses

from gimp_plugin.errors import did_you_mean

KINDS = (
    "patch-encoder",
    "gene-encoder",
    "aggregator",
    "fusion",
    "head",
    "system",
    "trainer",
    "gene-grouping",
    "feature-reader",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Entry point of a plugin, and the distribution that declares it."""

    entry_point: str
    distribution: str
    version: str

    def __str__(self) -> str:
        """Entry point and distribution, as in error messages."""
        return f"{self.entry_point!r} of {self.distribution} {self.version}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One replaceable part, registered by kind and name, not imported yet.

    Parameters
    ----------
    kind
        One of `KINDS`.
    name
        Name that users type.
    target
        Import string, `"module:attribute"`; the attribute may be dotted.
    summary
        One line for `gimp plugins`.
    origin
        Plugin that provides it.
    """

    kind: str
    name: str
    target: str
    summary: str
    origin: Origin

    @property
    def title(self) -> str:
        """Kind and name, as error messages give them."""
        return f"{self.kind} {self.name!r}"

    @property
    def distribution(self) -> str:
        """Distribution that the component comes from."""
        return self.origin.distribution

    @property
    def version(self) -> str:
        """Version of that distribution."""
        return self.origin.version


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PluginFailure:
    """Why a plugin, or one of its components, is not available."""

    origin: Origin
    reason: str

    @property
    def entry_point(self) -> str:
        """Name of the plugin's entry point."""
        return self.origin.entry_point

    @property
    def distribution(self) -> str:
        """Distribution that declares it."""
        return self.origin.distribution

    def __str__(self) -> str:
        """Plugin, distribution and reason in one line."""
        return f"plugin {self.origin}: {self.reason}"


def split_name(text: str) -> tuple[str, str]:
    """Split a name that a user typed at its first colon.

    Parameters
    ----------
    text
        `NAME` or `NAME:ARGUMENT`.

    Returns
    -------
    Name of the registered component, and its argument, empty if there is none.

    Examples
    --------
    >>> split_name("gmt:sets.gmt"), split_name("random")
    (('gmt', 'sets.gmt'), ('random', ''))
    """
    name, _, argument = text.partition(":")
    return name, argument


def parse_row(row: object, origin: Origin) -> Component:
    """Check one row of `gimp_components`.

    Parameters
    ----------
    row
        Row from the plugin.
    origin
        The plugin.

    Returns
    -------
    The component that the row describes.

    Raises
    ------
    ValueError
        If the row is not four strings, names an unknown kind or has no import string.
    """
    kind, name, target, summary = texts_of(
        row, "a component is (kind, name, 'module:attribute', summary)", n_texts=4
    )
    if kind not in KINDS:
        raise ValueError(
            f"component {name!r} is of the unknown kind {kind!r}{did_you_mean(kind, KINDS)}"
        )
    component = Component(kind=kind, name=name, target=target, summary=summary, origin=origin)
    check_target(component.title, name, target)
    return component


def texts_of(row: object, expected: str, *, n_texts: int) -> tuple[str, ...]:
    """Check that a row consists of a number of strings.

    Parameters
    ----------
    row
        Row from the plugin.
    expected
        Description of a correct row, for the message.
    n_texts
        Number of strings in a correct row.

    Returns
    -------
    The strings.

    Raises
    ------
    ValueError
        If the row is anything else.
    """
    if (
        not isinstance(row, (tuple, list))
        or len(row) != n_texts
        or not all(isinstance(text, str) for text in row)
    ):
        raise ValueError(f"{expected}, not {row!r}")
    return tuple(row)


def check_target(title: str, name: str, target: str) -> None:
    """Refuse a row without a name or an import string.

    Parameters
    ----------
    title
        Description of the row, for the message.
    name, target
        Name and import string of the row.

    Raises
    ------
    ValueError
        If the name is empty or the import string is not `module:attribute`.
    """
    module, colon, attribute = target.partition(":")
    if not (name and module and colon and attribute):
        raise ValueError(f"{title} needs a name and 'module:attribute', not {target!r}")
