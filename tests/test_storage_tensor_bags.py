"""Bags that are bare tensors: read like others, and never run."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from gimp_plugin.errors import BagError, MissingFileError, SafetyError
from gimp_plugin.storage.bags import read_coords, read_features, read_info, scan_bags


class Evil:
    """What `pickle.load` would run."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def saved(path: Path, content: object, **options: bool) -> Path:
    torch.save(content, path, **options)
    return path


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.randn(9, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.bfloat16])
def test_a_bare_tensor_is_a_bag(tmp_path: Path, rows: torch.Tensor, dtype: torch.dtype) -> None:
    info = read_info(saved(tmp_path / "TCGA-1.d4ff.pt", rows.to(dtype)))

    assert (info.slide_id, info.n_patches, info.dim) == ("TCGA-1.d4ff", 9, 5)
    assert np.array_equal(read_features(info), rows.to(dtype).float().numpy())
    assert np.array_equal(read_features(info, 3, 7), rows.to(dtype).float().numpy()[3:7])
    with pytest.raises(BagError, match="has no dataset 'coords'"):
        read_coords(info)


def test_a_tensor_that_asks_for_its_gradient_is_a_bag(tmp_path: Path, rows: torch.Tensor) -> None:
    info = read_info(saved(tmp_path / "a.pt", rows.clone().requires_grad_()))

    assert np.array_equal(read_features(info), rows.numpy())


@pytest.mark.parametrize("dtype", [torch.bool, torch.complex64])
def test_what_is_not_a_real_number_is_refused(
    tmp_path: Path, rows: torch.Tensor, dtype: torch.dtype
) -> None:
    with pytest.raises(BagError, match=rf"a\.pt' holds {dtype}, expected numbers"):
        read_info(saved(tmp_path / "a.pt", rows.to(dtype)))


def test_beside_an_h5_of_the_slide_it_is_not_read(tmp_path: Path, rows: torch.Tensor) -> None:
    saved(tmp_path / "a.pt", rows)
    saved(tmp_path / "b.pt", rows)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["features"] = rows[:4].numpy()
        file["coords"] = np.zeros((4, 2), int)

    bags, errors = scan_bags(tmp_path)

    assert [(bag.path.name, bag.n_patches) for bag in bags] == [("a.h5", 4), ("b.pt", 9)]
    assert not errors


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_code_is_refused_and_not_run(tmp_path: Path, options: dict[str, bool]) -> None:
    mark = tmp_path / "ran"
    path = saved(tmp_path / "evil.pt", Evil(mark), **options)

    with pytest.raises(SafetyError) as caught:
        read_info(path)

    assert f"{str(path)!r} is a pickle that names 'posix mkdir'; it was not run" in str(
        caught.value
    )
    assert not mark.exists()


def test_a_name_made_on_the_stack_is_refused(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil(mark), protocol=4))

    with pytest.raises(SafetyError, match=r"evil\.pt' is a pickle that names '\?'"):
        read_info(tmp_path / "evil.pt")
    assert not mark.exists()


def test_a_tensor_of_the_old_format_is_refused_as_such(tmp_path: Path, rows: torch.Tensor) -> None:
    path = saved(tmp_path / "old.pt", rows, _use_new_zipfile_serialization=False)

    with pytest.raises(BagError, match=r"old\.pt' is damaged, or is not a file with one tensor"):
        read_info(path)


def test_what_is_no_tensor_is_refused(tmp_path: Path, rows: torch.Tensor) -> None:
    with pytest.raises(MissingFileError, match="gone"):
        read_info(tmp_path / "gone.pt")
    with pytest.raises(BagError, match="holds dict, expected one tensor"):
        read_info(saved(tmp_path / "a.pt", {"features": rows}))
    with pytest.raises(BagError, match="holds OrderedDict"):
        read_info(saved(tmp_path / "b.pt", OrderedDict(features=rows)))
    with pytest.raises(BagError, match=r"has shape \(45,\)"):
        read_info(saved(tmp_path / "c.pt", rows.reshape(-1)))
    with pytest.raises(BagError, match="has no patches"):
        read_info(saved(tmp_path / "d.pt", rows[:0].clone()))
    (tmp_path / "e.pt").write_bytes(b"<html>404</html>")
    with pytest.raises(BagError, match=r"e\.pt' is damaged, or is not a file with one tensor"):
        read_info(tmp_path / "e.pt")


def test_a_tensor_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pt", torch.zeros(1, 1).expand(100_000, 1024))

    with pytest.raises(SafetyError, match=r"a\.pt' claims 409600000 bytes but holds"):
        read_info(path)


def test_a_tensor_cut_off_is_refused(tmp_path: Path, rows: torch.Tensor) -> None:
    path = saved(tmp_path / "a.pt", rows)
    path.write_bytes(path.read_bytes()[:-200])

    with pytest.raises(BagError, match=r"a\.pt' is damaged"):
        read_info(path)


def test_packed_values_are_refused(tmp_path: Path, rows: torch.Tensor) -> None:
    path = saved(tmp_path / "a.pt", rows)
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(tmp_path / "b.pt", "w") as packed:
        for entry in plain.infolist():
            packed.writestr(entry.filename, plain.read(entry), zipfile.ZIP_DEFLATED)

    with pytest.raises(BagError, match="not a file with one tensor"):
        read_info(tmp_path / "b.pt")


def test_a_value_that_is_not_finite_is_named(tmp_path: Path, rows: torch.Tensor) -> None:
    rows[7, 2] = torch.nan

    with pytest.raises(BagError, match="row 7 of 'features' is not finite"):
        read_features(read_info(saved(tmp_path / "a.pt", rows)))
