"""The extraction's handle of one process that reads slides."""

from __future__ import annotations

import os
import socket

from gimp_plugin.errors import ResourceError


class Job:
    """One process that reads, and the connection to it.

    Parameters
    ----------
    connection
        Socket for its messages.
    status
        Descriptor for its exit status.
    """

    def __init__(self, connection: socket.socket, status: int) -> None:
        self.connection = connection
        self._status: int | None = status

    def exit_code(self) -> int | None:
        """Exit code of the process; None if even its supervisor is gone."""
        told = b"" if self._status is None else os.read(self._status, 16)
        return int(told) if told else None

    def close(self) -> None:
        """End the process, finished or not."""
        self.connection.close()
        if self._status is not None:
            os.close(self._status)
            self._status = None


def dead_readers() -> ResourceError:
    """Make the error for processes that no longer exist."""
    problem = "the process that reads slides has ended"
    hint = "out of memory? otherwise run python -m gimp_plugin.slides.worker to see why"
    return ResourceError(problem, hint=hint)
