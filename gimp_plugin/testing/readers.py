"""Check of a feature reader."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gimp_plugin.errors import GimpError
from gimp_plugin.plugins.protocols import FeatureReader
from gimp_plugin.storage.bags.info import BagInfo
from gimp_plugin.testing.claims import require

NOISE = (b"", b"\x00" * 512, b"neither this nor that\n" * 40)


def check_feature_reader(
    reader: FeatureReader,
    example: Path,
    *,
    features: ArrayLike,
    coords: ArrayLike | None = None,
) -> None:
    """Check a reader of bags on a file with known content.

    Parameters
    ----------
    reader
        The registered component.
    example
        A file or folder of its layout.
    features
        The features in it, shape (patch, dim), at least 3 patches.
    coords
        Corners of the patches in the unit of the file; None if it has none.
    """
    expected = np.asarray(features)
    before = _bytes(example)
    require(example.name.endswith(reader.suffix), f"{example.name!r} lacks {reader.suffix!r}")
    with reader.opened(example) as file:
        require(reader.claims(file), f"it does not claim {example.name!r}")
        info = reader.look(example, file)
        _check_info(reader, info, example, expected.shape)
        for start, stop in ((0, None), (1, 3), (len(expected) - 1, None)):
            rows = np.asarray(reader.rows(info, file, start, stop))
            same = np.array_equal(rows, expected[start:stop])
            require(same, f"rows {start} to {stop} are not the features that the file holds")
        has_coords = f"has_coords is {info.has_coords}"
        require(info.has_coords == (coords is not None), f"{has_coords}, the file says otherwise")
        if coords is not None:
            corners = np.asarray(reader.corners(info, file))
            same = np.allclose(corners, np.asarray(coords))
            require(same, "the corners are not the coordinates that the file holds")
    require(_bytes(example) == before, f"reading changed {example.name!r}")
    _check_noise(reader)


def _check_info(
    reader: FeatureReader, info: BagInfo, example: Path, shape: tuple[int, ...]
) -> None:
    """Check what it says about the file."""
    slide_id = example.name.removesuffix(reader.suffix)
    wanted: dict[str, Any] = {"path": example, "slide_id": slide_id}
    wanted |= {"n_patches": shape[0], "dim": shape[1]}
    for name, value in wanted.items():
        found = getattr(info, name)
        require(found == value, f"{name} is {found!r}, expected {value!r}")


def _check_noise(reader: FeatureReader) -> None:
    """Check that a file of another layout is not claimed, or refused with an error of ours."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"noise{reader.suffix}"
        for noise in NOISE:
            path.write_bytes(noise)
            try:
                taken = _takes(reader, path)
            except GimpError:
                continue
            except Exception as error:
                problem = f"a file of noise raises {type(error).__name__}, expected a BagError"
                raise AssertionError(problem) from error
            require(not taken, f"it accepts {len(noise)} bytes of noise as a bag")


def _takes(reader: FeatureReader, path: Path) -> bool:
    """Whether a reader accepts a file as a bag."""
    with reader.opened(path) as file:
        return reader.claims(file) and bool(reader.look(path, file))


def _bytes(path: Path) -> dict[str, bytes]:
    """Content of a file, or of all files of a folder."""
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    return {str(one): one.read_bytes() for one in files}
