"""One set of reader processes for all tests of a session: their imports take seconds."""

from __future__ import annotations

import atexit
import functools
from types import TracebackType

from gimp_plugin.slides.reading import SlideReaders


@functools.cache
def shared_readers() -> SlideReaders:
    """Start the readers, once a process, and end them with it."""
    readers = SlideReaders()
    readers.wait_until_ready()
    atexit.register(readers.close)
    return readers


class BorrowedReaders:
    """Stands in for `SlideReaders`: gives the shared ones and leaves them running."""

    def __enter__(self) -> SlideReaders:
        return shared_readers()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave them running."""


def borrow(monkeypatch) -> None:
    """Let extractions in this process use the shared readers."""
    for module in ("extraction", "forecast", "gallery"):
        monkeypatch.setattr(f"gimp_plugin.slides.{module}.SlideReaders", BorrowedReaders)
