"""The pixels of planned patches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import SlideError
from gimp_plugin.slides.geometry import Geometry
from gimp_plugin.slides.plan import SlidePlan
from gimp_plugin.slides.sources import SlideInfo, Source


@dataclass(frozen=True, slots=True)
class Share:
    """Which batches of a slide one of its readers reads: each `n_readers`-th, from `first` on."""

    first: int = 0
    n_readers: int = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """Some patches of a slide.

    Parameters
    ----------
    pixels
        RGB of those that could be read, shape (patch, height, width, 3).
    bad
        Places in the batch of those that could not.
    reason
        What is wrong with the first of these.
    """

    pixels: NDArray[np.uint8]
    bad: tuple[int, ...] = ()
    reason: str = ""


def batch_starts(n_patches: int, *, batch_size: int, share: Share) -> range:
    """First patches of the batches that one reader reads.

    Parameters
    ----------
    n_patches
        Of the slide.
    batch_size
        Patches a batch.
    share
        Which of them.

    Returns
    -------
    Indices of patches.

    Examples
    --------
    >>> list(batch_starts(9, batch_size=2, share=Share(first=1, n_readers=2)))
    [2, 6]
    """
    return range(share.first * batch_size, n_patches, share.n_readers * batch_size)


def bad_patch_error(reason: str, *, n_bad: int, n_patches: int) -> SlideError:
    """Error for a slide with more unreadable patches than are allowed.

    Parameters
    ----------
    reason
        What is wrong with the first of them, with its place.
    n_bad
        How many have been met.
    n_patches
        Patches of the slide.

    Returns
    -------
    The error.
    """
    problem = f"{reason} ({n_bad} of {n_patches} patches so far)" if n_bad > 1 else reason
    hint = "damaged: copy the slide again, or let a share pass with --max-bad-patches"
    return SlideError(problem, hint=hint)


def read_batches(
    source: Source,
    plan: SlidePlan,
    *,
    batch_size: int,
    share: Share | None = None,
    max_bad: int = 0,
    reopen: Callable[[], Source] | None = None,
) -> Iterator[Batch]:
    """Pixels of the planned patches, in order.

    Parameters
    ----------
    source
        The open slide.
    plan
        Its patches.
    batch_size
        Patches a batch; the last batch may be smaller.
    share
        Which batches; by default all.
    max_bad
        How many patches may be unreadable; they are left out.
    reopen
        Opens the slide anew, since a reader is of no use after an error; needed where `max_bad` is
        not 0.

    Yields
    ------
    Batches, as many as planned, some of them perhaps without a readable patch.

    Raises
    ------
    SlideError
        If more patches than that cannot be decoded; the first one's place is named.
    """
    size, n_bad = plan.geometry.side, 0
    for start in batch_starts(len(plan.coords), batch_size=batch_size, share=share or Share()):
        corners = plan.coords[start : start + batch_size].tolist()
        patches = np.empty((len(corners), size, size, 3), np.uint8)
        bad: list[int] = []
        reason = ""
        for place, (x, y) in enumerate(corners):
            try:
                patches[place] = read_patch(source, (x, y), geometry=plan.geometry)
            except (SlideError, MemoryError):
                raise
            except Exception as error:  # a decoder may raise anything on bad bytes
                n_bad += 1
                reason = reason or f"the patch at ({x}, {y}) cannot be read: {error}"
                if n_bad > max_bad or reopen is None:
                    error_ = bad_patch_error(reason, n_bad=n_bad, n_patches=len(plan.coords))
                    raise error_ from error
                bad.append(place)
                source = reopen()
        yield Batch(np.delete(patches, bad, axis=0) if bad else patches, tuple(bad), reason)


def read_patch(source: Source, corner: tuple[int, int], *, geometry: Geometry) -> NDArray[np.uint8]:
    """One patch at the target resolution.

    Parameters
    ----------
    source
        The open slide.
    corner
        Top-left (x, y) in level-0 pixels.
    geometry
        How patches are read.

    Returns
    -------
    RGB, shape (height, width, 3).
    """
    read = geometry.patch_size_read
    pixels = source.read(corner, (read, read), level=geometry.level)
    pixels = _white_outside(pixels, source.info, corner, level=geometry.level)
    if read != geometry.patch_size:
        import cv2

        method = getattr(cv2, geometry.interpolation.removeprefix("cv2."))
        size = (geometry.patch_size, geometry.patch_size)
        resized = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=method)
        pixels = np.asarray(resized, np.uint8)
    if geometry.side != geometry.patch_size:
        from PIL import Image

        size = (geometry.side, geometry.side)
        pixels = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    return pixels


def _white_outside(
    pixels: NDArray[np.uint8], info: SlideInfo, corner: tuple[int, int], *, level: int
) -> NDArray[np.uint8]:
    """Make white what lies beyond the right and lower edge, where each reader has its own way."""
    downsample = info.downsamples[level]
    width, height = (
        math.ceil((side - start) / downsample)
        for side, start in zip((info.width, info.height), corner, strict=True)
    )
    if width >= pixels.shape[1] and height >= pixels.shape[0]:
        return pixels
    painted = pixels.copy()
    painted[height:], painted[:, width:] = 255, 255
    return painted
