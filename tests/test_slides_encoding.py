"""Encoding batch after batch, on the CPU and, where there is one, on a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gimp_plugin.config import Runtime
from gimp_plugin.slides import encoders
from gimp_plugin.slides.encoders import Encoder
from gimp_plugin.slides.encoding import Encoding

CPU, CUDA = Runtime(device="cpu"), Runtime(device="cuda", precision="fp32")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")


def batches(*sizes):
    """Coordinates and pixels of batches of these sizes."""
    rng = np.random.default_rng(0)
    for number, size in enumerate(sizes):
        coords = np.stack([np.full(size, number), np.arange(size)], axis=1).astype(np.int32)
        yield coords, rng.integers(0, 256, (size, 24, 24, 3), np.uint8)


def test_a_stream_gives_what_batch_by_batch_gives_in_the_same_order():
    encoding = Encoding(encoders.untrained(), CPU)

    found = list(encoding.stream(batches(5, 3, 1)))

    assert len(found) == 3
    for (coords, features), (corners, patches) in zip(found, batches(5, 3, 1), strict=True):
        np.testing.assert_array_equal(coords, corners)
        np.testing.assert_array_equal(features, encoding(patches))


def test_batches_without_a_patch_are_passed_over():
    encoding = Encoding(encoders.untrained(), CPU)

    found = list(encoding.stream(batches(0, 4, 0, 0, 2, 0)))

    assert [len(features) for _, features in found] == [4, 2]
    assert [int(coords[0, 0]) for coords, _ in found] == [1, 4]


def test_a_stream_of_nothing_gives_nothing():
    assert list(Encoding(encoders.untrained(), CPU).stream([])) == []


class Small(torch.nn.Module):
    """Mean pixel; refuses more than two patches as a full device would, and counts what it saw."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, patches):
        self.sizes.append(len(patches))
        if len(patches) > 2:
            raise torch.OutOfMemoryError("full")
        return patches.float().mean(dim=(1, 2, 3))[:, None].expand(-1, 5)


def test_a_device_that_was_full_once_is_not_filled_again():
    small = Small()
    encoder = Encoder(
        name="small", dim=5, input_size=24, weights_sha256="x", licence="MIT",
        preprocessing="none", build=lambda: small,
    )  # fmt: skip

    found = list(Encoding(encoder, CPU).stream(batches(9, 9)))

    assert small.sizes == [9, 4, 2, 2, 2, 2, 1, 2, 2, 2, 2, 1]
    for (_, features), (_, patches) in zip(found, batches(9, 9), strict=True):
        expected = np.repeat(patches.reshape(9, -1).mean(axis=1)[:, None], 5, axis=1)
        np.testing.assert_allclose(features, expected, rtol=1e-5)


def test_room_for_pixels_is_plain_memory_on_the_cpu():
    room = Encoding(encoders.untrained(), CPU).allocate((2, 3), np.dtype(np.uint8))

    assert (room.shape, room.dtype) == ((2, 3), np.uint8)


@pytest.mark.gpu
@needs_cuda
def test_a_gpu_gives_what_the_cpu_gives():
    """Float32 on both; a GPU's sums are in another order."""
    here, there = Encoding(encoders.untrained(), CPU), Encoding(encoders.untrained(), CUDA)

    found = list(there.stream(batches(37, 5, 64)))

    for (_, features), (_, patches) in zip(found, batches(37, 5, 64), strict=True):
        np.testing.assert_allclose(features, here(patches), atol=1e-4)


@pytest.mark.gpu
@needs_cuda
def test_pixels_for_a_gpu_lie_in_memory_that_it_can_fetch_and_may_be_given_back_at_once():
    encoding = Encoding(encoders.untrained(), CUDA)
    found, expected = [], []

    def pinned():
        for coords, patches in batches(*[33] * 20):
            room = encoding.allocate(patches.shape, patches.dtype)
            room[:] = patches
            expected.append(patches)
            assert torch.from_numpy(room).is_pinned()
            yield coords, room

    found = [features for _, features in encoding.stream(pinned())]

    here = Encoding(encoders.untrained(), CPU)
    for features, patches in zip(found, expected, strict=True):
        np.testing.assert_allclose(features, here(patches), atol=1e-4)
