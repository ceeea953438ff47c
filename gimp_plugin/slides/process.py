"""One process that reads slides, as the extraction sees it."""

from __future__ import annotations

import os
import socket

from gimp_plugin.errors import ResourceError


class Job:
    """One process that reads, and the way to it.

    Parameters
    ----------
    connection
        Where its messages come from.
    status
        Where its end is told.
    """

    def __init__(self, connection: socket.socket, status: int) -> None:
        self.connection = connection
        self._status: int | None = status

    def exit_code(self) -> int | None:
        """How the process ended; None when even its supervisor is gone."""
        told = b"" if self._status is None else os.read(self._status, 16)
        return int(told) if told else None

    def close(self) -> None:
        """End the process, finished or not."""
        self.connection.close()
        if self._status is not None:
            os.close(self._status)
            self._status = None


def dead_readers() -> ResourceError:
    """Error for processes that are not there any more."""
    problem = "the process that reads slides has ended"
    hint = "out of memory? else see: python -m gimp_plugin.slides.worker"
    return ResourceError(problem, hint=hint)
