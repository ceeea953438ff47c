"""A command that a plugin adds to `gimp`: registered by name, imported when it is run."""

from __future__ import annotations

import dataclasses
import re

from gimp_plugin.plugins.components import Origin, check_target, texts_of

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command.

    Parameters
    ----------
    name
        What users type after `gimp`.
    target
        Import string of a `click.Command`, `"module:attribute"`.
    summary
        One line for `gimp --help`.
    origin
        Plugin that provides it.
    """

    name: str
    target: str
    summary: str
    origin: Origin

    @property
    def title(self) -> str:
        """Kind and name, as error messages give them."""
        return f"command {self.name!r}"


def parse_command(row: object, origin: Origin) -> Command:
    """Check one row of `gimp_commands`.

    Parameters
    ----------
    row
        Row from the plugin.
    origin
        The plugin.

    Returns
    -------
    The command that the row describes.

    Raises
    ------
    ValueError
        If the row is not three strings, has no import string, or its name is not a valid command.
    """
    expected = "a command is (name, 'module:attribute', summary)"
    name, target, summary = texts_of(row, expected, n_texts=3)
    command = Command(name=name, target=target, summary=summary, origin=origin)
    check_target(command.title, name, target)
    if not NAME.fullmatch(name):
        raise ValueError(f"{command.title}: expected small letters, digits and single hyphens")
    return command
