"""What a plugin registers: a name, what kind of part it is, and where to import it from."""

from __future__ import annotations

import dataclasses

from gimp_plugin.errors import did_you_mean

KINDS = (
    "patch-encoder",
    "gene-encoder",
    "aggregator",
    "fusion",
    "head",
    "trainer",
    "gene-grouping",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Entry point that something came from, and the distribution that declares it."""

    entry_point: str
    distribution: str
    version: str

    def __str__(self) -> str:
        """Name both, as error messages do."""
        return f"{self.entry_point!r} of {self.distribution} {self.version}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One exchangeable part, known by kind and name and not imported yet.

    Parameters
    ----------
    kind
        One of `KINDS`.
    name
        What users type.
    target
        Import string, `"module:attribute"`; the attribute may be dotted.
    summary
        One line for `gimp plugins`.
    origin
        Plugin that brought it.
    """

    kind: str
    name: str
    target: str
    summary: str
    origin: Origin

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
    """Part what a user typed at its first colon.

    Parameters
    ----------
    text
        `NAME` or `NAME:ARGUMENT`.

    Returns
    -------
    Name of the registered component, and its argument, empty where there is none.

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
        What the plugin yielded.
    origin
        Plugin that yielded it.

    Returns
    -------
    The component that the row describes.

    Raises
    ------
    ValueError
        If the row is not four strings, names an unknown kind or holds no import string.
    """
    if (
        not isinstance(row, (tuple, list))
        or len(row) != 4
        or not all(isinstance(x, str) for x in row)
    ):
        raise ValueError(f"a component is (kind, name, 'module:attribute', summary), not {row!r}")
    kind, name, target, summary = row
    if kind not in KINDS:
        raise ValueError(
            f"component {name!r} is of the unknown kind {kind!r}{did_you_mean(kind, KINDS)}"
        )
    module, colon, attribute = target.partition(":")
    if not (name and module and colon and attribute):
        raise ValueError(f"{kind} {name!r} needs a name and 'module:attribute', not {target!r}")
    return Component(kind=kind, name=name, target=target, summary=summary, origin=origin)
