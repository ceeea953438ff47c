"""Pictures of demonstration slides: mosaics of fields of one real H&E picture.

The picture ships with TIAToolbox, where it is the target of stain normalisation. Its left two
thirds are nests of carcinoma, and its right margin is stroma with lymphocytes. It does not state
its resolution; here a pixel counts as 0.5 microns.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import ResourceError

Pixels = NDArray[np.uint8]
Corners = tuple[tuple[int, int], tuple[int, int]]

PICTURE = ("data", "target_image.png")
PICTURE_SHAPE = (1000, 1000, 3)
FIELD = 256
"""Side of a field in pixels, equal to that of a patch, so that a patch shows one field."""
GRID = 6
"""Number of fields along the side of a slide."""
NESTS: Corners = ((0, 744), (0, 384))
STROMA: Corners = ((250, 744), (715, 744))
"""Where the top-left corner of a field may lie: rows, columns."""
GLASS = (240, 246)
STAIN_SPREAD = 0.05


def h_and_e_picture() -> Pixels:
    """Read the picture that ships with TIAToolbox, without importing TIAToolbox.

    Returns
    -------
    RGB, 1000 x 1000.

    Raises
    ------
    ResourceError
        If TIAToolbox is not installed, or ships another picture.
    """
    from PIL import Image

    spec = importlib.util.find_spec("tiatoolbox")
    if spec is None or not spec.submodule_search_locations:
        raise ResourceError("tiatoolbox is not installed", hint="pip install tiatoolbox")
    path = Path(spec.submodule_search_locations[0]).joinpath(*PICTURE)
    if not path.is_file():
        hint = "the demonstration was made for TIAToolbox 2.1"
        raise ResourceError(f"TIAToolbox no longer ships the picture {path.name!r}", hint=hint)
    with Image.open(path) as image:
        picture = np.asarray(image.convert("RGB"))
    if picture.shape != PICTURE_SHAPE:
        raise ResourceError(f"{path.name!r} is {picture.shape}, expected {PICTURE_SHAPE}")
    return picture


def draw_slide(picture: Pixels, *, stroma_share: float, rng: np.random.Generator) -> Pixels:
    """Compose a slide: an island of tissue on glass, some of its fields stroma.

    Parameters
    ----------
    picture
        Real H&E picture that the fields are cut from.
    stroma_share
        Share of the tissue fields that are stroma, 0 to 1; the others are nests of carcinoma.
    rng
        Random generator for the places and content of fields, and the strength of the stain.

    Returns
    -------
    RGB, `GRID` x `GRID` fields.
    """
    tissue = _island(rng)
    stroma = _connected_share(tissue, stroma_share, rng)
    side = GRID * FIELD
    slide = rng.integers(*GLASS, (side, side, 3), np.uint8, endpoint=True)
    for row, column in zip(*np.nonzero(tissue), strict=True):
        field = _field(picture, STROMA if stroma[row, column] else NESTS, rng)
        top, left = row * FIELD, column * FIELD
        slide[top : top + FIELD, left : left + FIELD] = field
    return _stained(slide, strength=rng.normal(1.0, STAIN_SPREAD, 3))


def _island(rng: np.random.Generator) -> NDArray[np.bool_]:
    """Fields that hold tissue: about half of the grid, in one piece."""
    middle = (GRID - 1) / 2
    rows, columns = np.indices((GRID, GRID))
    height, width = rng.uniform(1.9, 2.8, 2)
    return ((rows - middle) / height) ** 2 + ((columns - middle) / width) ** 2 <= 1.0


def _connected_share(
    tissue: NDArray[np.bool_], share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Share of the tissue on one side of a slanted, rough line."""
    rows, columns = np.indices(tissue.shape)
    angle = rng.uniform(0, 2 * np.pi)
    height = np.cos(angle) * rows + np.sin(angle) * columns + rng.normal(0, 0.7, tissue.shape)
    height[~tissue] = np.inf
    n_chosen = round(share * int(tissue.sum()))
    chosen = np.zeros(tissue.size, bool)
    chosen[np.argsort(height, axis=None)[:n_chosen]] = True
    return chosen.reshape(tissue.shape)


def _field(picture: Pixels, corners: Corners, rng: np.random.Generator) -> Pixels:
    """Cut a field, randomly rotated and mirrored."""
    top, left = (int(rng.integers(low, high, endpoint=True)) for low, high in corners)
    field = np.rot90(picture[top : top + FIELD, left : left + FIELD], int(rng.integers(4)))
    return field[:, ::-1] if rng.integers(2) else field


def _stained(slide: Pixels, *, strength: NDArray[np.float64]) -> Pixels:
    """Change the optical density of each channel by a factor."""
    levels = np.arange(256)[:, None] / 255
    table = np.rint(255 * levels**strength).astype(np.uint8)
    return np.stack([table[slide[..., channel], channel] for channel in range(3)], axis=-1)
