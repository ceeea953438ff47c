"""Messages between the extraction and its readers: JSON and arrays, no pickle."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIZES = struct.Struct("<IQ")
_ARRAY = "array"

Allocate = Callable[[tuple[int, ...], np.dtype[Any]], NDArray[Any]]
"""Allocates memory for a received array: `numpy.empty`, or memory that a device reads from."""


class Patience:
    """Budget of seconds for waiting, in total.

    Parameters
    ----------
    seconds
        The budget; only waiting counts, not the time between two waits.
    """

    def __init__(self, seconds: float) -> None:
        self.left = seconds

    def receive_into(self, connection: socket.socket, view: memoryview) -> int:
        """Receive some bytes, or raise TimeoutError when the budget is used up.

        Parameters
        ----------
        connection
            Socket to receive from.
        view
            Memory to receive into.

        Returns
        -------
        Number of bytes received; 0 if the other side is gone.
        """
        if self.left <= 0:
            raise TimeoutError
        connection.settimeout(self.left)
        start = time.monotonic()
        try:
            return connection.recv_into(view)
        except ConnectionResetError:
            return 0
        finally:
            self.left -= time.monotonic() - start


def send(
    connection: socket.socket, message: Mapping[str, Any], array: NDArray[Any] | None = None
) -> None:
    """Send a message, optionally with an array.

    Parameters
    ----------
    connection
        A stream.
    message
        Plain values.
    array
        Array of numbers.
    """
    content = dict(message)
    payload = memoryview(b"")
    if array is not None:
        content[_ARRAY] = [array.dtype.str, list(array.shape)]
        payload = _bytes_of(np.ascontiguousarray(array))
    head = json.dumps(content).encode()
    connection.sendall(_SIZES.pack(len(head), len(payload)) + head)
    connection.sendall(payload)


def receive(
    connection: socket.socket, patience: Patience, *, allocate: Allocate = np.empty
) -> tuple[dict[str, Any], NDArray[Any] | None]:
    """Receive a message and its array.

    Parameters
    ----------
    connection
        A stream.
    patience
        Budget for waiting.
    allocate
        Allocates memory for the array.

    Returns
    -------
    The message, and its array or None.

    Raises
    ------
    TimeoutError
        If it does not arrive in time.
    EOFError
        If the other side is gone.
    """
    n_head, n_payload = _SIZES.unpack(_exactly(connection, _SIZES.size, patience))
    message: dict[str, Any] = json.loads(_exactly(connection, n_head, patience))
    layout = message.pop(_ARRAY, None)
    if layout is None:
        return message, None
    array = allocate(tuple(layout[1]), np.dtype(layout[0]))
    view = _bytes_of(array)
    if len(view) != n_payload:
        raise EOFError
    _fill(connection, view, patience)
    return message, array


def _bytes_of(array: NDArray[Any]) -> memoryview:
    """Memory of a contiguous array, as bytes."""
    return memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]  # is a buffer


def _exactly(connection: socket.socket, size: int, patience: Patience) -> bytearray:
    """Receive exactly `size` bytes."""
    data = bytearray(size)
    _fill(connection, memoryview(data), patience)
    return data


def _fill(connection: socket.socket, view: memoryview, patience: Patience) -> None:
    """Receive until a buffer is full."""
    done = 0
    while done < len(view):
        count = patience.receive_into(connection, view[done:])
        if count == 0:
            raise EOFError
        done += count
