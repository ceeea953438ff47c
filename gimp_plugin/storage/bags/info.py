"""Description of a bag of any layout, and the check of its shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from gimp_plugin import keys
from gimp_plugin.errors import BagError
from gimp_plugin.storage.atomic import sha256_file

MAX_PATCHES = 2_000_000
MAX_DIM = 65_536

LEVEL0 = "level-0 pixels"
MICRONS = "micrometres"
READ = "pixels at the resolution of reading"


@dataclass(frozen=True, kw_only=True)
class BagInfo:
    """Description of a bag, without its features.

    Parameters
    ----------
    path
        The file, or the folder of a zarr.
    slide_id
        File name without its suffix.
    n_patches, dim
        Shape of the features.
    layout
        Name of the layout, from `layouts.LAYOUTS` or a plugin.
    encoder
        For our files, `name@` and the first 12 digits of its weights' hash; for others, what the
        file states, or None.
    has_coords
        Whether the file has coordinates of its patches.
    coords_unit
        Unit of the coordinates.
    attributes
        All attributes of the file, as Python values.
    caution
        What a user of these features should know, or empty.
    parts
        Files and folders that make up the bag, if it is not all of `path`.
    """

    path: Path
    slide_id: str
    n_patches: int
    dim: int
    layout: str = ""
    encoder: str | None = None
    has_coords: bool = True
    coords_unit: str = LEVEL0
    attributes: dict[str, Any] = field(default_factory=dict)
    caution: str = ""
    parts: tuple[Path, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the features: for our files the one stored when writing, else of the file."""
        stored = self.attributes.get(keys.FEATURES_SHA256)
        ours = self.attributes.get(keys.FORMAT) == keys.BAG_FORMAT
        if ours and stored:
            return str(stored)
        return _sha256_folder(self.path, self.parts) if self.path.is_dir() else self.file_sha256

    @cached_property
    def file_sha256(self) -> str:
        """Hash of all bytes of the bag, including coordinates and attributes."""
        if self.path.is_dir():
            return _sha256_folder(self.path, self.parts)
        return sha256_file(self.path)

    @property
    def needs_mpp(self) -> bool:
        """Whether level-0 pixels are known only with the slide's microns per pixel."""
        return self.coords_unit in {MICRONS, READ}

    @property
    def slide_size(self) -> tuple[int, int] | None:
        """Width and height of the slide at level 0, if the file states them."""
        for names in (("slide_width", "slide_height"), ("level0_width", "level0_height")):
            sides = [self.attributes.get(name) for name in names]
            if all(isinstance(side, int | float) and side > 0 for side in sides):
                return int(sides[0] or 0), int(sides[1] or 0)
        return None

    @property
    def patch_size_level0(self) -> int | None:
        """Side of a patch at level 0, if the file states it."""
        value = self.attributes.get("patch_size_level0")
        return int(value) if isinstance(value, int | float) and value > 0 else None


def check_shapes(
    path: Path,
    shape: tuple[int, ...],
    coords_shape: tuple[int, ...] | None,
    *,
    names: tuple[str, str] = (keys.FEATURES, keys.COORDS),
    n_coords: int = 2,
) -> None:
    """Refuse shapes that cannot be a bag.

    Parameters
    ----------
    path
        The file.
    shape, coords_shape
        Shapes of the features and of their coordinates; None without coordinates.
    names
        Names of both in the file.
    n_coords
        Number of columns of the coordinates.

    Raises
    ------
    BagError
        If there are no patches, far too many, or not as many coordinates as patches.
    """
    features, coords = names
    if len(shape) != 2 or shape[1] < 1:
        raise BagError(
            f"{str(path)!r}: {features!r} has shape {shape}, expected (patches, dim)",
            hint="give patch features",
        )
    if shape[0] == 0:
        raise BagError(f"{str(path)!r} has no patches", hint="leave this slide out")
    if shape[0] > MAX_PATCHES or shape[1] > MAX_DIM:
        problem = (
            f"{str(path)!r}: {features!r} has shape {shape}, "
            f"expected at most ({MAX_PATCHES}, {MAX_DIM})"
        )
        raise BagError(problem, hint="is it a feature file?")
    if coords_shape is not None and coords_shape != (shape[0], n_coords):
        problem = (
            f"{str(path)!r}: {coords!r} has shape {coords_shape}, "
            f"expected ({shape[0]}, {n_coords}) as {features!r} has {shape[0]} rows"
        )
        raise BagError(problem, hint="extract this slide again, with --overwrite")


def said(attributes: Mapping[str, Any], name: str) -> str | None:
    """Return the text of an attribute; None if it is missing, empty or the text 'None'."""
    value = attributes.get(name)
    return str(value) if value not in (None, "", "None") else None  # lists, too


def _sha256_folder(folder: Path, parts: tuple[Path, ...]) -> str:
    """Hash the names and bytes of all files of a folder, or of parts of it."""
    files = sorted(
        file
        for part in parts or (folder,)
        for file in ([part] if part.is_file() else part.rglob("*"))
        if file.is_file()
    )
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(folder).as_posix()}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()
