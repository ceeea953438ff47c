"""Exceptions that users can act on, each with its exit code, and helpers for their messages."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

RESOURCE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOMEM, errno.EMFILE}
RESOURCE_WORDS = ("No space left on device", "not enough memory", "can't allocate memory")


class GimpError(Exception):
    """A problem that the user can act on.

    Parameters
    ----------
    problem
        What is wrong, with the value and its place, and what was expected.
    hint
        What to do about it.
    """

    exit_code = 3

    def __init__(self, problem: str, *, hint: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.hint = hint

    def __str__(self) -> str:
        """Give the problem, and the hint in parentheses."""
        return self.problem if self.hint is None else f"{self.problem} ({self.hint})"


class ConfigError(GimpError, ValueError):
    """A wrong usage or configuration: an unknown key, name or value."""

    exit_code = 2


class PluginError(GimpError, RuntimeError):
    """A requested component comes from a plugin that fails."""

    exit_code = 2


class CohortError(GimpError, ValueError):
    """An expression cohort that cannot be trusted."""


class PairingError(GimpError, ValueError):
    """Slides and cases that cannot be matched."""


class SplitError(GimpError, ValueError):
    """Splits that overlap, leak or lack a part."""


class BagError(GimpError, ValueError):
    """A feature file that is damaged, or is not a feature file."""


class SlideError(GimpError, ValueError):
    """A slide that cannot be read or has no content to read."""


class CheckpointError(GimpError, ValueError):
    """A run folder that is damaged, or does not fit the data at hand."""


class EvaluationError(GimpError, ValueError):
    """Predictions that cannot be evaluated."""


class StaleOutputError(GimpError, ValueError):
    """An output that was made from other inputs or another configuration."""


class MaskError(GimpError, ValueError):
    """A mask of patches that hides nothing, or everything."""


class MissingFileError(GimpError, FileNotFoundError):
    """A file that should be there and is not."""


class ResourceError(GimpError, OSError):
    """Out of disk, memory, device or network, or the loss stopped being finite."""

    exit_code = 5


class NotFiniteError(ResourceError):
    """A model's values stopped being finite."""


class LockedError(GimpError, OSError):
    """Another process holds the output."""

    exit_code = 6


class SafetyError(GimpError, ValueError):
    """An input that could run code or expose another file's bytes."""

    exit_code = 7


class ElsewhereError(GimpError, RuntimeError):
    """An error in another process of the same training; only that process reports it.

    Parameters
    ----------
    code
        Exit code of the other process.
    """

    def __init__(self, code: int) -> None:
        super().__init__("another process of this training stopped")
        self.exit_code = code


def exit_code_of(error: BaseException) -> int:
    """Exit code of a command that ends with an error; 1 is a bug."""
    if isinstance(error, GimpError):
        return error.exit_code
    if is_too_long(error):
        return GimpError.exit_code
    return ResourceError.exit_code if is_resource(error) else 1


def is_too_long(error: BaseException) -> bool:
    """Whether a path was given that no file system can have."""
    return isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG


def is_resource(error: BaseException) -> bool:
    """Whether disk, memory or device ran out."""
    # torch's error is recognised by its name, since this module does not import torch, and h5py's
    # by its message, since it sets no errno.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno in RESOURCE_ERRNOS:
        return True
    return isinstance(error, (OSError, RuntimeError)) and any(
        words in str(error) for words in RESOURCE_WORDS
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Nearest of the known names, as the end of an error message.

    Returns
    -------
    The ending; empty when no name is near.

    Examples
    --------
    >>> did_you_mean("nystrm", ["nystrom", "abmil"])
    ", did you mean 'nystrom'?"
    >>> did_you_mean("x", ["nystrom"])
    ''
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {near[0]!r}?" if near else ""


def listed(names: Iterable[object], *, limit: int = 5) -> str:
    """First few names and how many more there are.

    Returns
    -------
    One line.

    Examples
    --------
    >>> listed(["a", "b", "c"], limit=2)
    "'a', 'b' and 1 more"
    """
    every = [repr(name) for name in names]
    shown = ", ".join(every[:limit])
    return shown if len(every) <= limit else f"{shown} and {len(every) - limit} more"


def counted(number: int, noun: str, plural: str = "") -> str:
    """Number and its noun, in the singular or plural.

    Returns
    -------
    One line.

    Examples
    --------
    >>> counted(1, "gene"), counted(2, "class", "classes")
    ('1 gene', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
