"""CLAM's segmentation, with its published parameters.

Lu et al., Data-efficient and weakly supervised computational pathology on whole-slide images, 2021:
saturated pixels are tissue; small pieces are left out and small holes filled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.config.tissue import ClamSettings
from gimp_plugin.slides.sources import Source
from gimp_plugin.slides.tissue.mask import Contour, NoTissueError, TissueMask, find_contours
from gimp_plugin.slides.tissue.overview import whole_level

LEVEL_DOWNSAMPLE = 64.0
"""The coarsest level up to this downsampling factor is segmented, without resampling."""

MAX_LEVEL_PIXELS = 100_000_000
"""CLAM gives up on a larger level; here it is reduced to the downsampling factor above."""

STRIP_PIXELS = 32_000_000
"""Large enough to read most levels at once, as in CLAM."""

REFERENCE_PX = 512
"""Side in level-0 pixels of the square that is the unit of areas."""

DEFAULT = ClamSettings()


def parameters(settings: ClamSettings) -> dict[str, Any]:
    """Return the parameters that determine the masks.

    Parameters
    ----------
    settings
        CLAM's parameters.

    Returns
    -------
    Plain values.
    """
    fixed = {"mask_level_downsample": LEVEL_DOWNSAMPLE, "mask_ref_patch_size": REFERENCE_PX}
    return fixed | {f"mask_{name}": value for name, value in settings.to_dict().items()}


def segment(source: Source, *, mpp: float, settings: ClamSettings = DEFAULT) -> TissueMask:
    """Find the tissue of a slide by CLAM's rules.

    Parameters
    ----------
    source
        The open slide.
    mpp
        Microns per pixel of its level 0, for the record only: CLAM's rules are in pixels.
    settings
        CLAM's parameters.

    Returns
    -------
    The mask with its contours.

    Raises
    ------
    NoTissueError
        If every piece of tissue is too small.
    """
    scales = source.info.downsamples
    fine = [level for level, scale in enumerate(scales) if scale <= LEVEL_DOWNSAMPLE]
    level = max(fine, key=lambda level: scales[level], default=0)
    n_pixels = source.info.width * source.info.height / scales[level] ** 2
    factor = LEVEL_DOWNSAMPLE / scales[level] if n_pixels > MAX_LEVEL_PIXELS else 1.0
    saturation = whole_level(
        source, level=level, factor=factor, pick=saturation_of, strip_pixels=STRIP_PIXELS
    )
    height, width = saturation.shape
    downsample = scales[level] * factor
    unit = int(REFERENCE_PX**2 / downsample**2)
    binary, threshold = saturated(saturation, settings)
    found = find_contours(binary)
    contours = filter_contours(found, unit=unit, settings=settings)
    if found and not contours:
        largest = max(_area(contour) for contour in found) * (downsample / REFERENCE_PX) ** 2
        problem = (
            f"no tissue found: the largest piece has {largest:.3g} squares of "
            f"{REFERENCE_PX} pixels, CLAM's a_t requires more than {settings.a_t:g}"
        )
        raise NoTissueError(problem, hint="is the slide small? try --tissue clam:a_t=1,a_h=1")
    return TissueMask(
        fill(contours, height=height, width=width),
        (width / source.info.width, height / source.info.height),
        {"threshold": threshold, "mpp": mpp * downsample},
        contours,
    )


def saturation_of(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Compute the saturation of RGB pixels, as in OpenCV.

    Parameters
    ----------
    picture
        Shape (height, width, 3).

    Returns
    -------
    Shape (height, width), 0 to 255.
    """
    import cv2

    return np.ascontiguousarray(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[:, :, 1])


def saturated(
    saturation: NDArray[np.uint8], settings: ClamSettings = DEFAULT
) -> tuple[NDArray[np.uint8], float]:
    """Find the saturated pixels, after smoothing, and close narrow gaps.

    Parameters
    ----------
    saturation
        Shape (height, width).
    settings
        CLAM's parameters.

    Returns
    -------
    255 for these pixels, else 0, shape (height, width); and the threshold of saturation.
    """
    import cv2

    smooth = cv2.medianBlur(saturation, settings.mthresh)
    how = cv2.THRESH_BINARY + (cv2.THRESH_OTSU if settings.use_otsu else 0)
    threshold, binary = cv2.threshold(smooth, settings.sthresh, 255, how)
    if settings.close:
        kernel = np.ones((settings.close, settings.close), np.uint8)
        binary = cv2.morphologyEx(binary, cv2.MORPH_CLOSE, kernel)
    return np.asarray(binary, np.uint8), float(threshold)


def filter_contours(
    contours: tuple[Contour, ...], *, unit: int, settings: ClamSettings = DEFAULT
) -> tuple[Contour, ...]:
    """Leave out small pieces of tissue, and fill small holes.

    Parameters
    ----------
    contours
        Pieces of tissue.
    unit
        Area of the reference square, in pixels of the mask.
    settings
        CLAM's parameters.

    Returns
    -------
    Pieces with an area, without holes, above `a_t` squares, each with at most `max_n_holes` holes
    larger than `a_h` squares.
    """
    import cv2

    kept = []
    for contour in contours:
        if _area(contour) > settings.a_t * unit:
            largest = sorted(contour.holes, key=cv2.contourArea, reverse=True)[
                : settings.max_n_holes
            ]
            holes = tuple(hole for hole in largest if cv2.contourArea(hole) > settings.a_h * unit)
            kept.append(Contour(contour.outer, holes))
    return tuple(kept)


def _area(contour: Contour) -> float:
    """Area of a piece without its holes."""
    import cv2

    holes = sum(cv2.contourArea(hole) for hole in contour.holes)
    return float(cv2.contourArea(contour.outer)) - holes


def fill(contours: tuple[Contour, ...], *, height: int, width: int) -> NDArray[np.bool_]:
    """Draw pieces of tissue as a mask.

    Parameters
    ----------
    contours
        The pieces.
    height, width
        Size of the mask.

    Returns
    -------
    True on tissue, including the outlines of pieces and holes.
    """
    import cv2

    mask = np.zeros((height, width), bool)
    for contour in contours:
        x, y, box_width, box_height = cv2.boundingRect(contour.outer)
        piece = np.zeros((box_height, box_width), np.uint8)  # pieces may lie in holes of others
        cv2.drawContours(piece, [contour.outer], -1, 1, cv2.FILLED, offset=(-x, -y))
        for hole in contour.holes:
            cv2.drawContours(piece, [hole], -1, 0, cv2.FILLED, offset=(-x, -y))
            cv2.drawContours(piece, [hole], -1, 1, 1, offset=(-x, -y))
        mask[y : y + box_height, x : x + box_width] |= piece.astype(bool)
    return mask
