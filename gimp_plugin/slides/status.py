"""`status.jsonl`: what each process did with each slide, and when, one line per event.

It is not a result, but a log for people and for the processes that share a folder: a slide that one
of them could not read is not tried by the others.
"""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gimp_plugin.storage.tables import Failure

STATUS = "status.jsonl"


class Status:
    """The log of a folder of bags.

    Parameters
    ----------
    folder
        The folder; it is created with the first line.
    since
        Size of the log when the work began; None for its current size.
    """

    def __init__(self, folder: Path, *, since: int | None = None) -> None:
        self._path = folder / STATUS
        self.since = self._size() if since is None else since
        self._read_to = self.since
        self._failures: dict[tuple[str, str], Failure] = {}

    def note(self, slide_id: str, state: str, **more: Any) -> None:
        """Add a line.

        Parameters
        ----------
        slide_id
            The slide.
        state
            `started`, `done` or `failed`.
        more
            Further values of the line.
        """
        told = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "slide_id": slide_id,
            "state": state,
        }
        line = json.dumps(told | more, ensure_ascii=False) + "\n"
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:  # one write per line, so that lines of processes do not mix
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def failed(self, slide_id: str, *, attempt: str) -> Failure | None:
        """Return the failure of a slide that any process has noted since the work began.

        Parameters
        ----------
        slide_id
            The slide.
        attempt
            Hash of the circumstances; a different attempt may succeed.

        Returns
        -------
        The failure, or None.
        """
        self._read_on()
        return self._failures.get((slide_id, attempt))

    def _read_on(self) -> None:
        """Read the lines added since the last call."""
        if self._size() <= self._read_to:
            return
        with self._path.open("rb") as file:
            file.seek(self._read_to)
            lines = file.read().split(b"\n")
        self._read_to += sum(len(line) + 1 for line in lines[:-1])
        for line in lines[:-1]:
            try:
                told = json.loads(line)
            except ValueError:  # a line truncated by a full disk or a kill
                continue
            if isinstance(told, dict) and told.get("state") == "failed":
                failure = Failure(*(str(told.get(key)) for key in _FAILURE))
                self._failures[failure.item, str(told.get("attempt"))] = failure

    def _size(self) -> int:
        """Size of the log in bytes."""
        return self._path.stat().st_size if self._path.exists() else 0


_FAILURE = ("slide_id", "stage", "error", "message")
