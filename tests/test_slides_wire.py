"""Messages between processes: what is sent arrives, or it is said why not."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest

from gimp_plugin.slides import wire


@pytest.fixture
def ends():
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_messages_and_arrays_arrive(ends):
    one, other = ends
    pixels = np.random.default_rng(0).integers(0, 256, (3, 65, 67, 3), np.uint8)
    sender = threading.Thread(target=wire.send, args=(one, {"a": [1, "ü"]}, pixels))
    sender.start()

    message, array = wire.receive(other, wire.Patience(10))
    sender.join()

    assert message == {"a": [1, "ü"]}
    np.testing.assert_array_equal(array, pixels)


def test_a_message_may_come_alone(ends):
    one, other = ends
    wire.send(one, {"kind": "x"})

    assert wire.receive(other, wire.Patience(10)) == ({"kind": "x"}, None)


def test_empty_arrays_keep_their_shape(ends):
    one, other = ends
    wire.send(one, {}, np.zeros((0, 2), np.int32))

    _, array = wire.receive(other, wire.Patience(10))

    assert (array.shape, array.dtype) == ((0, 2), np.int32)


def test_patience_ends(ends):
    _, other = ends

    with pytest.raises(TimeoutError):
        wire.receive(other, wire.Patience(0.01))
    with pytest.raises(TimeoutError):
        wire.receive(other, wire.Patience(0))


def test_patience_is_used_up_by_waiting_in_total(ends):
    one, other = ends
    patience = wire.Patience(0.3)
    for _ in range(2):
        timer = threading.Timer(0.1, wire.send, (one, {}))
        timer.start()
        wire.receive(other, patience)
        timer.join()

    assert 0 < patience.left < 0.15


def test_a_side_that_is_gone_is_noticed(ends):
    one, other = ends
    one.sendall(b"123")
    one.close()

    with pytest.raises(EOFError):
        wire.receive(other, wire.Patience(10))


def test_an_array_of_another_size_than_announced_is_refused(ends):
    one, other = ends
    head = b'{"array": ["|u1", [3]]}'
    one.sendall(wire._SIZES.pack(len(head), 5) + head + bytes(5))

    with pytest.raises(EOFError):
        wire.receive(other, wire.Patience(10))
