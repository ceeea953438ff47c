"""What goes to stderr: our lines and other libraries' warnings, never results."""

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
LEVELS = {  # of ours and of other libraries, by verbosity
    -2: (logging.ERROR, logging.ERROR),
    -1: (logging.WARNING, logging.WARNING),
    0: (logging.INFO, logging.WARNING),
    1: (logging.DEBUG, logging.INFO),
}


class Handler(logging.Handler):
    """Write to whatever stderr is now, above progress bars where there are some."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a stderr that is closed is nobody's error."""
        text = self.format(record)
        bars = getattr(sys.modules.get("tqdm"), "tqdm", None)
        with suppress(OSError, ValueError):
            if bars is not None and sys.stderr is not None:
                bars.write(text, file=sys.stderr)
            else:
                click.echo(text, err=True)


class Formatter(logging.Formatter):
    """Bare text for what is normal, the level in front of what is not."""

    def format(self, record: logging.LogRecord) -> str:
        """Give the line."""
        text = super().format(record)
        return text if record.levelno == logging.INFO else f"{record.levelname.title()}: {text}"


@contextmanager
def attached(verbosity: int = 0) -> Iterator[None]:
    """Log to stderr while a command runs, and leave logging as it was.

    TIAToolbox takes the root logger over when it has no handler, and sends every library's INFO
    lines to stdout; so ours stands there before it is imported.

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
    """Choose what is shown.

    Parameters
    ----------
    verbosity
        0 shows our progress and everybody's warnings; each -v more, each -q less. Python warnings,
        mostly of libraries about each other, are shown from 1.
    """
    ours, others = LEVELS[min(max(verbosity, -2), 1)]
    logging.getLogger(OURS).setLevel(ours)
    logging.getLogger().setLevel(others)
    logging.getLogger(WARNINGS).setLevel(logging.WARNING if verbosity > 0 else logging.CRITICAL)


class Once(logging.Filter):
    """Let each warning through once; a study comes by the same cases many times."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is to be shown."""
        text = record.getMessage()
        new = record.levelno != logging.WARNING or text not in self.said
        self.said.add(text)
        return new


@contextmanager
def quieter() -> Iterator[None]:
    """Leave out the lines of each slide and epoch, and say no warning twice.

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
    """Leave the warnings of an evaluation to its page, where that is printed on a terminal.

    Parameters
    ----------
    as_json
        Whether JSON is printed instead: it has them too, and is no reading for people.

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
    """Whether results go to a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def verbosity_options() -> list[click.Option]:
    """Make -v and -q, which count, before the command or after it."""

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
