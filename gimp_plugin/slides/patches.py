"""The pixels of planned patches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import SlideError
from gimp_plugin.slides.geometry import Geometry
from gimp_plugin.slides.plan import SlidePlan
from gimp_plugin.slides.sources import Source


def read_batches(
    source: Source, plan: SlidePlan, *, batch_size: int
) -> Iterator[NDArray[np.uint8]]:
    """Pixels of the planned patches, in order.

    Parameters
    ----------
    source
        The open slide.
    plan
        Its patches.
    batch_size
        Patches a batch; the last batch may be smaller.

    Yields
    ------
    RGB, shape (patch, height, width, 3).

    Raises
    ------
    SlideError
        If a patch cannot be decoded; its place is named.
    """
    size = plan.geometry.patch_size
    for start in range(0, len(plan.coords), batch_size):
        corners = plan.coords[start : start + batch_size].tolist()
        patches = np.empty((len(corners), size, size, 3), np.uint8)
        for patch, (x, y) in zip(patches, corners, strict=True):
            try:
                patch[:] = read_patch(source, (x, y), geometry=plan.geometry)
            except SlideError:
                raise
            except Exception as error:  # a decoder may raise anything on bad bytes
                problem = f"the patch at ({x}, {y}) cannot be read: {error}"
                raise SlideError(problem, hint="damaged: copy the slide again") from error
        yield patches


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
    if read == geometry.patch_size:
        return pixels
    import cv2

    method = getattr(cv2, geometry.interpolation.removeprefix("cv2."))
    size = (geometry.patch_size, geometry.patch_size)
    resized = cv2.resize(np.ascontiguousarray(pixels), size, interpolation=method)
    return np.asarray(resized, np.uint8)
