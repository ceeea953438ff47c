"""CLAM's bare tensors: features without coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from gimp_plugin.errors import BagError
from gimp_plugin.storage.bags.info import BagInfo, check_shapes
from gimp_plugin.storage.bags.layout import Layout
from gimp_plugin.storage.tensor_bags import SUFFIX, read_tensor, rows_of

NAME = "clam-pt"


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Yield the path itself, because a tensor is mapped anew each time.

    Yields
    ------
    The path.
    """
    yield path


def claims(_path: Path) -> bool:
    """Whether it is of this layout: always, as no other has its suffix."""
    return True


def look(path: Path, _file: Path) -> BagInfo:
    """Read the shape of the tensor."""
    shape = tuple(read_tensor(path).shape)
    check_shapes(path, shape, None)
    return BagInfo(
        path=path,
        slide_id=path.name.removesuffix(SUFFIX),
        n_patches=shape[0],
        dim=shape[1],
        layout=NAME,
        has_coords=False,
    )


def rows(_info: BagInfo, file: Path, start: int, stop: int | None) -> NDArray[Any]:
    """Read rows of the tensor."""
    return rows_of(file, start, stop)


def corners(info: BagInfo, _file: Path) -> NDArray[Any]:
    """Refuse: a bare tensor has no coordinates."""
    raise BagError(f"{str(info.path)!r} has no coordinates")


LAYOUT = Layout(
    name=NAME,
    suffix=SUFFIX,
    opened=opened,
    claims=claims,
    look=look,
    rows=rows,
    corners=corners,
)
