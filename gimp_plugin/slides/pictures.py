"""Decode pictures without tiles as a whole: PNG, JPEG, and TIFF in strips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import SlideError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PICTURE_PIXELS = 400_000_000
"""Takes 2.8 GB while decoded, less than a reader may use."""

STRIP_ROWS = 512

MODES = {"L", "LA", "P", "PA", "RGB", "RGBA"}
"""Pillow's modes that are 8-bit RGB, or have a unique conversion to it."""


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Decode a picture; refuse a truncated one instead of filling it up with grey.

    Parameters
    ----------
    path
        PNG, JPEG or TIFF.

    Returns
    -------
    RGB, shape (height, width, 3); transparent areas are white.

    Raises
    ------
    SlideError
        If its header states too many pixels, or pixels that cannot be RGB.
    """
    import PIL.Image

    limit, PIL.Image.MAX_IMAGE_PIXELS = PIL.Image.MAX_IMAGE_PIXELS, None  # our own limit is below
    try:
        with PIL.Image.open(path) as picture:
            width, height = picture.size
            if width * height > MAX_PICTURE_PIXELS:
                problem = f"{str(path)!r} has too many pixels ({width} x {height}) for a picture"
                raise SlideError(f"{problem} without tiles", hint="convert it to a pyramidal TIFF")
            if picture.mode not in MODES:
                problem = f"{str(path)!r} has pixels of kind {picture.mode}, expected 8-bit RGB"
                raise SlideError(problem, hint="convert it")
            return _as_rgb(picture)
    finally:
        PIL.Image.MAX_IMAGE_PIXELS = limit


def _as_rgb(picture: Image) -> NDArray[np.uint8]:
    """Convert a picture to RGB strip by strip, since as a whole it would be in memory thrice."""
    transparent = picture.mode in {"LA", "PA", "RGBA"} or "transparency" in picture.info
    width, height = picture.size
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, STRIP_ROWS):
        strip = picture.crop((0, top, width, min(height, top + STRIP_ROWS)))
        part = np.asarray(strip.convert("RGBA" if transparent else "RGB"))
        pixels[top : top + STRIP_ROWS] = over_white(part) if transparent else part
    return pixels


def over_white(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blend pixels with a white background.

    Parameters
    ----------
    pixels
        RGB and opacity, shape (height, width, 4).

    Returns
    -------
    RGB, shape (height, width, 3).
    """
    import cv2  # copies the colours ten times faster than slicing

    alpha = pixels[..., 3]
    if alpha.min() == 255:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB), np.uint8)
    opacity = alpha[..., None].astype(np.uint16)
    blended = (pixels[..., :3] * opacity + 255 * (255 - opacity) + 127) // 255
    return blended.astype(np.uint8)


def cut(
    pixels: NDArray[np.uint8], corner: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Cut out part of a picture; beyond its edges it is white.

    Parameters
    ----------
    pixels
        Shape (height, width, 3).
    corner
        Top-left (x, y).
    size
        Width and height.

    Returns
    -------
    Shape (height, width, 3).
    """
    (x, y), (width, height) = corner, size
    part = pixels[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)]
    if part.shape[:2] == (height, width):
        return part
    whole = np.full((height, width, 3), 255, np.uint8)
    top, left = max(0, -y), max(0, -x)
    whole[top : top + part.shape[0], left : left + part.shape[1]] = part
    return whole
