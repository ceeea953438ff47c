"""Choose the reader of a file: the first layout with its suffix that claims it."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from gimp_plugin.errors import BagError
from gimp_plugin.storage.bags import (
    clam_h5,
    clam_pt,
    gimp_h5,
    stamp_h5,
    tiatoolbox_zarr,
    trident_h5,
    wsidata_zarr,
)
from gimp_plugin.storage.bags.foreign import foreign_layouts
from gimp_plugin.storage.bags.info import BagInfo
from gimp_plugin.storage.bags.layout import Layout

LAYOUTS: tuple[Layout, ...] = (
    gimp_h5.LAYOUT,
    stamp_h5.LAYOUT,
    trident_h5.LAYOUT,
    clam_h5.LAYOUT,
    tiatoolbox_zarr.LAYOUT,
    wsidata_zarr.LAYOUT,
    clam_pt.LAYOUT,
)

UNMARKED = (clam_h5.LAYOUT, clam_pt.LAYOUT)
"""Layouts without a distinctive mark: they claim what no other layout does."""


def suffixes() -> tuple[str, ...]:
    """Return the suffixes of bags; if a slide has two files, the earlier suffix is read.

    Returns
    -------
    Ours, then those of plugins.
    """
    return tuple(dict.fromkeys(layout.suffix for layout in (*LAYOUTS, *foreign_layouts())))


def layout_of(info: BagInfo) -> Layout:
    """Return the layout of a bag that has been described."""
    return next(one for one in (*LAYOUTS, *foreign_layouts()) if one.name == info.layout)


def look(path: Path) -> BagInfo:
    """Describe a bag with the reader that claims it; an unknown suffix is tried as HDF5.

    Returns
    -------
    Description of the bag.

    Raises
    ------
    BagError
        If no reader claims it.
    """
    suffix = path.suffix if path.suffix in suffixes() else LAYOUTS[0].suffix
    marked = (layout for layout in LAYOUTS if layout not in UNMARKED)
    layouts = (*marked, *foreign_layouts(), *UNMARKED)
    readers = [layout for layout in layouts if layout.suffix == suffix]
    for opened, alike in groupby(readers, key=lambda layout: layout.opened):
        with opened(path) as file:
            for layout in alike:
                if layout.claims(file):
                    return layout.look(path, file)
    names = ", ".join(layout.name for layout in readers)
    raise BagError(
        f"{str(path)!r} is in none of the known layouts: {names}", hint="give a feature file"
    )
