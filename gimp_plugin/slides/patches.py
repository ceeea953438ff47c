"""Read the pixels of planned patches."""

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
    """The batches of a slide for one of its readers: every `n_readers`-th, starting at `first`."""

    first: int = 0
    n_readers: int = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """Some patches of a slide.

    Parameters
    ----------
    pixels
        RGB of the readable patches, shape (patch, height, width, 3).
    bad
        Places in the batch of the unreadable patches.
    reason
        What is wrong with the first unreadable one.
    """

    pixels: NDArray[np.uint8]
    bad: tuple[int, ...] = ()
    reason: str = ""


def batch_starts(n_patches: int, *, batch_size: int, share: Share) -> range:
    """Return the first patch of each batch that one reader reads.

    Parameters
    ----------
    n_patches
        Patches of the slide.
    batch_size
        Patches per batch.
    share
        The reader's share.

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
    """Make the error for a slide with more unreadable patches than allowed.

    Parameters
    ----------
    reason
        What is wrong with the first of them, with its place.
    n_bad
        Number of unreadable patches so far.
    n_patches
        Patches of the slide.

    Returns
    -------
    The error.
    """
    problem = f"{reason} ({n_bad} of {n_patches} patches so far)" if n_bad > 1 else reason
    hint = "copy the damaged slide again, or tolerate some bad patches with --max-bad-patches"
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
    """Read the pixels of the planned patches, in order.

    Parameters
    ----------
    source
        The open slide.
    plan
        Its patches.
    batch_size
        Patches per batch; the last batch may be smaller.
    share
        Batches to read; by default all.
    max_bad
        Number of patches that may be unreadable; they are left out.
    reopen
        Opens the slide again, since a reader is unusable after an error; needed if `max_bad` is
        not 0.

    Yields
    ------
    As many batches as planned; some may have no readable patch.

    Raises
    ------
    SlideError
        If more than `max_bad` patches cannot be decoded; the message names the place of the first.
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
    """Read one patch at the target resolution.

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
    """Make pixels beyond the right and lower edge white, because readers fill them differently."""
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
