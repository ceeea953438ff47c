"""How a command ends: one message on stderr and an exit code (docs/reference/cli.md)."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

import click

import gimp_plugin
from gimp_plugin.errors import (
    ConfigError,
    ElsewhereError,
    GimpError,
    exit_code_of,
    is_resource,
    is_too_long,
)

PARTLY_DONE = 4
INTERRUPTED = 130
TERMINATED = 143

INSIST_S = 0.2
"""Seconds after which an interruption that was swallowed is raised again."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, as a batch system sends it; what cleans up after Ctrl-C also handles this."""


def end_at_signals() -> None:
    """Turn SIGTERM and the first Ctrl-C into exceptions; the second Ctrl-C ends at once.

    Python drops an exception that a handler raises in a weak reference's callback or a finalizer,
    and some libraries catch too much: the exception is raised again until it is being handled.
    """
    owner = os.getpid()
    meant: list[type[KeyboardInterrupt]] = []

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        insist_on(KeyboardInterrupt)

    def terminate(_number: int, _frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a forked worker inherits this handler and reports nothing
            os._exit(TERMINATED)
        insist_on(Terminated)

    def insist_on(kind: type[KeyboardInterrupt]) -> None:
        meant.append(kind)
        signal.setitimer(signal.ITIMER_REAL, INSIST_S, INSIST_S)
        raise kind

    def insist(_number: int, _frame: FrameType | None) -> None:
        if meant and not _is_ending(sys.exception()):
            raise meant[-1]

    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, terminate)
    signal.signal(signal.SIGALRM, insist)


def _is_ending(error: BaseException | None) -> bool:
    """Return whether an interruption is being handled, so that cleanup is left alone."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def report(error: BaseException, *, tracebacks: bool) -> int:
    """Report on stderr how a command ended.

    Parameters
    ----------
    error
        What ended it.
    tracebacks
        Also print the traceback.

    Returns
    -------
    The exit code.
    """
    if isinstance(error, BrokenPipeError):  # as in `gimp evaluate | head`
        silence_stdout()
        return 0
    if isinstance(error, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, 0)
        word = "terminated" if isinstance(error, Terminated) else "interrupted"
        if not is_helper():
            text = f"{word.capitalize()}; the same command continues where it stopped."
            click.echo(text, err=True)
        return TERMINATED if isinstance(error, Terminated) else INTERRUPTED
    if tracebacks:
        click.echo("".join(traceback.format_exception(error)), err=True)
    if isinstance(error, ElsewhereError) or (isinstance(error, ConfigError) and is_helper()):
        return exit_code_of(error)
    problem, hint = explain(error)
    click.echo(f"Error: {problem}", err=True)
    for note in getattr(error, "__notes__", ()):
        click.echo(f"  {note}", err=True)
    if hint:
        click.echo(f"Hint: {hint}", err=True)
    return exit_code_of(error)


def is_helper() -> bool:
    """Return whether a launcher started this process and another one prints for all."""
    return "LOCAL_RANK" in os.environ and os.environ.get("RANK", "0") != "0"


def explain(error: BaseException) -> tuple[str, str | None]:
    """Return the problem and the hint of an error."""
    if isinstance(error, GimpError):
        return error.problem, error.hint
    if isinstance(error, OSError) and is_too_long(error):
        where = "a path" if error.filename is None else repr(str(error.filename))
        return f"{where}: {error.strerror}", "give a shorter path"
    if is_resource(error):
        kind = "out of memory" if isinstance(error, MemoryError) else type(error).__name__
        hint = "free some of it, or process less at a time; the same command then continues"
        return f"{kind}: {_one_line(error)}".rstrip(": "), hint
    hint = (
        f"this is a bug in gimp-plugin {gimp_plugin.__version__}: please report it, with the "
        "command and what it prints with -vv"
    )
    return f"unexpected {type(error).__name__}: {_one_line(error)} ({_place(error)})", hint


def silence_stdout() -> None:
    """Redirect stdout to nothing, so that the interpreter's last flush does not fail."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, sys.stdout.fileno())
    finally:
        os.close(nothing)


def _one_line(error: BaseException) -> str:
    """Return the message of an error without line breaks."""
    return " ".join(str(error).split())


def _place(error: BaseException) -> str:
    """Return file and line of the innermost frame in this package."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = Path(gimp_plugin.__file__).parent
    for frame in reversed(frames):
        path = Path(frame.filename)
        if path.is_relative_to(ours):
            return f"{path.relative_to(ours.parent)}, line {frame.lineno}"
    return "outside of the package"
