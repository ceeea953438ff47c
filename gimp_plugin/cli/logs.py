"""Logging to stderr: our messages and other libraries' warnings, never results."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import click

VERBOSITY = "gimp_plugin.verbosity"
OURS = "gimp_plugin"
EVALUATION = "gimp_plugin.evaluation"
WARNINGS = "py.warnings"
CHATTY = ("gimp_plugin.slides", "gimp_plugin.training", "gimp_plugin.prediction")
LEVELS = {  # of our loggers and of all others, by verbosity
    -2: (logging.ERROR, logging.ERROR),
    -1: (logging.WARNING, logging.WARNING),
    0: (logging.INFO, logging.WARNING),
    1: (logging.DEBUG, logging.INFO),
}


class Handler(logging.Handler):
    """Write to the current stderr, above any progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; ignore a closed stderr."""
        text = self.format(record)
        bars = getattr(sys.modules.get("tqdm"), "tqdm", None)
        with suppress(OSError, ValueError):
            if bars is not None and sys.stderr is not None:
                bars.write(text, file=sys.stderr)
            else:
                click.echo(text, err=True)


class Formatter(logging.Formatter):
    """Format INFO messages as bare text, and others with their level in front."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        text = super().format(record)
        return text if record.levelno == logging.INFO else f"{record.levelname.title()}: {text}"


@contextmanager
def attached(verbosity: int = 0) -> Iterator[None]:
    """Log to stderr while a command runs, then restore the levels and handlers.

    TIAToolbox takes over a root logger that has no handler, and sends every library's INFO lines to
    stdout. So our handler is added before TIAToolbox is imported.

    Parameters
    ----------
    verbosity
        As in `set_verbosity`.

    Yields
    ------
    None.
    """
    root, ours, warned = (logging.getLogger(name) for name in (None, OURS, WARNINGS))
    before = [(logger, logger.level) for logger in (root, ours, warned)]
    handler = Handler()
    handler.setFormatter(Formatter())
    root.addHandler(handler)
    logging.captureWarnings(capture=True)
    set_verbosity(verbosity)
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        root.removeHandler(handler)
        for logger, level in before:
            logger.setLevel(level)


def set_verbosity(verbosity: int) -> None:
    """Set which messages are shown.

    Parameters
    ----------
    verbosity
        0 shows our progress and all warnings; each -v shows more, each -q less. Python warnings,
        mostly by libraries about each other, are shown from 1.
    """
    ours, others = LEVELS[min(max(verbosity, -2), 1)]
    logging.getLogger(OURS).setLevel(ours)
    logging.getLogger().setLevel(others)
    logging.getLogger(WARNINGS).setLevel(logging.WARNING if verbosity > 0 else logging.CRITICAL)


class Once(logging.Filter):
    """Let each warning through once; a study processes the same cases many times."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to show a record."""
        text = record.getMessage()
        new = record.levelno != logging.WARNING or text not in self.said
        self.said.add(text)
        return new


@contextmanager
def quieter() -> Iterator[None]:
    """Hide the lines per slide and epoch, and show no warning twice.

    With -v everything is shown.

    Yields
    ------
    None.
    """
    if click.get_current_context().meta.get(VERBOSITY, 0) > 0:
        yield
        return
    loggers = [logging.getLogger(name) for name in CHATTY]
    before = [logger.level for logger in loggers]
    handlers = [one for one in logging.getLogger().handlers if isinstance(one, Handler)]
    once = Once()
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    for handler in handlers:
        handler.addFilter(once)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(once)
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def said_by_page(*, as_json: bool) -> Iterator[None]:
    """Hide the log's warnings of an evaluation if a terminal shows its page, which has them.

    Parameters
    ----------
    as_json
        Whether JSON is printed instead: it has the warnings too, but is not for people to read.

    Yields
    ------
    None.
    """
    logger = logging.getLogger(EVALUATION)
    before = logger.level
    if is_terminal() and not as_json:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def is_terminal() -> bool:
    """Return whether results go to a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def verbosity_options() -> list[click.Option]:
    """Make -v and -q; both may be repeated, before or after the command."""

    def count(sign: int) -> click.Option:
        name, text = (
            ("verbose", "Show more; twice for tracebacks.") if sign > 0 else ("quiet", "Show less.")
        )

        def add(ctx: click.Context, _param: click.Parameter, times: int) -> None:
            ctx.meta[VERBOSITY] = ctx.meta.get(VERBOSITY, 0) + sign * times
            if times and any(isinstance(one, Handler) for one in logging.getLogger().handlers):
                set_verbosity(ctx.meta[VERBOSITY])

        return click.Option(
            [f"-{name[0]}", f"--{name}"], count=True, expose_value=False, callback=add, help=text
        )

    return [count(1), count(-1)]
