"""The true kind of each patch, if known: `--truth`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import BagError, MissingFileError, SafetyError
from gimp_plugin.storage.bags import BagInfo

SUFFIXES = (".npy", ".truth.npy")
GLASS, OTHER, WANTED = 0, 1, 2


def truth_path(folder: Path, slide_id: str) -> Path | None:
    """File of a slide; None if there is none."""
    paths = (folder / f"{slide_id}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def check_truth(folder: Path, bags: list[BagInfo]) -> None:
    """Refuse a folder without a file for any of the slides.

    Parameters
    ----------
    folder
        Folder of `.npy` files.
    bags
        The slides.

    Raises
    ------
    MissingFileError
        If there is no such folder, or it has no file for any slide.
    """
    if not folder.is_dir():
        raise MissingFileError(f"no folder {str(folder)!r}", hint="check --truth")
    if bags and not any(truth_path(folder, bag.slide_id) for bag in bags):
        problem = f"{str(folder)!r} has no truth for any of {len(bags)} slides"
        raise MissingFileError(problem, hint=f"expected for instance '{bags[0].slide_id}.npy'")


def read_truth(
    folder: Path, bag: BagInfo, corners: NDArray[np.int32] | None, *, side: int
) -> NDArray[np.float64]:
    """Read the true kind of the patches of a slide.

    Parameters
    ----------
    folder
        Folder of `<slide_id>.npy`: one value per patch, 1 for the wanted kind and 0 for others; or
        a grid that covers the slide evenly, 0 for glass, 1 for others and 2 for the wanted kind.
    bag
        The slide.
    corners, side
        Corners and side of its patches, for a grid; the cell under the middle of a patch counts.

    Returns
    -------
    1 or 0 for each patch; NaN if unknown.

    Raises
    ------
    BagError
        If the file does not fit the bag.
    SafetyError
        If the file is a pickle.
    """
    path = truth_path(folder, bag.slide_id)
    if path is None:
        return np.full(bag.n_patches, np.nan)
    try:
        values = np.load(path, allow_pickle=False)
    except ValueError as error:
        if "pickle" in str(error).lower():
            raise SafetyError(f"{str(path)!r} is a pickle; it was not read") from error
        raise BagError(f"{str(path)!r} is not an .npy file: {error}") from error
    except (OSError, EOFError) as error:
        raise BagError(f"{str(path)!r} cannot be read: {error}") from error
    if values.dtype.kind not in "biuf":
        raise BagError(f"{str(path)!r} holds {values.dtype}, expected numbers")
    if values.shape == (bag.n_patches,):
        return _checked(path, values.astype(np.float64), (0, 1))
    if values.ndim != 2 or corners is None or bag.slide_size is None:
        problem = f"{str(path)!r} has shape {values.shape}, expected ({bag.n_patches},)"
        hint = "a grid needs a bag with the size of its slide and the positions of its patches"
        raise BagError(problem, hint=hint)
    return _of_grid(_checked(path, values.astype(np.float64), (GLASS, OTHER, WANTED)), bag,
                    corners, side=side)  # fmt: skip


def _checked(
    path: Path, values: NDArray[np.float64], known: tuple[int, ...]
) -> NDArray[np.float64]:
    """Refuse values that have no meaning."""
    strange = values[~np.isin(values, known) & np.isfinite(values)]
    if strange.size:
        raise BagError(f"{str(path)!r} holds {strange[0]:g}, expected one of {known}")
    return values


def _of_grid(
    grid: NDArray[np.float64], bag: BagInfo, corners: NDArray[np.int32], *, side: int
) -> NDArray[np.float64]:
    """Value of a grid under the middle of each patch."""
    width, height = bag.slide_size or (1, 1)
    share = (corners + side / 2) / (width, height)
    column, row = np.clip(share * grid.shape[::-1], 0, np.array(grid.shape[::-1]) - 1).astype(int).T
    values = grid[row, column]
    return np.where(values == GLASS, np.nan, (values == WANTED).astype(np.float64))
