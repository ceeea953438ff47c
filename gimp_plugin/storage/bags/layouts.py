"""Who reads which file: of the layouts of a suffix, the first that claims it."""

from __future__ import annotations

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

BY_NAME = {layout.name: layout for layout in LAYOUTS}
SUFFIXES = tuple(dict.fromkeys(layout.suffix for layout in LAYOUTS))
"""Of two files of one slide, that with the earlier suffix is read."""


def look(path: Path) -> BagInfo:
    """Look at a bag with the reader that takes it; a suffix of nobody's is tried as HDF5.

    Returns
    -------
    What it is.

    Raises
    ------
    BagError
        If no reader takes it.
    """
    suffix = path.suffix if path.suffix in SUFFIXES else SUFFIXES[0]
    readers = [layout for layout in LAYOUTS if layout.suffix == suffix]
    with readers[0].opened(path) as file:
        for layout in readers:
            if layout.claims(file):
                return layout.look(path, file)
    names = ", ".join(layout.name for layout in readers)
    raise BagError(f"{str(path)!r} is none of {names}", hint="give a feature file")
