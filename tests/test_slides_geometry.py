"""Which level is read, and where patches lie."""

from __future__ import annotations

import numpy as np
import pytest

from gimp_plugin.errors import SlideError
from gimp_plugin.slides.geometry import choose_geometry, patch_grid, scan_order


def geometry(mpp, downsamples, target=0.5, size=256, stride=256):
    return choose_geometry(
        mpp=mpp, downsamples=downsamples, target_mpp=target, patch_size=size, stride=stride
    )


@pytest.mark.parametrize("mpp", [0.5, 0.499, 0.4901, 0.5099])
def test_a_level_within_two_percent_is_read_as_it_is(mpp):
    chosen = geometry(mpp, [1, 4])

    assert (chosen.level, chosen.patch_size_read, chosen.patch_size_level0) == (0, 256, 256)
    assert chosen.interpolation == "none"
    assert chosen.mpp == mpp


def test_a_native_level_below_the_top_is_found():
    chosen = geometry(0.25, [1, 2.0005, 8])

    assert (chosen.level, chosen.patch_size_read, chosen.patch_size_level0) == (1, 256, 512)
    assert chosen.interpolation == "none"


def test_without_a_native_level_the_coarsest_finer_one_is_reduced():
    chosen = geometry(0.1, [1, 2, 4, 16])

    assert (chosen.level, chosen.patch_size_read, chosen.patch_size_level0) == (2, 320, 1280)
    assert chosen.interpolation == "cv2.INTER_AREA"
    assert chosen.mpp == 0.5


def test_a_slightly_coarser_slide_is_enlarged():
    chosen = geometry(0.55, [1, 4])

    assert (chosen.level, chosen.patch_size_read, chosen.patch_size_level0) == (0, 233, 233)
    assert chosen.interpolation == "cv2.INTER_LINEAR"


def test_a_much_coarser_slide_is_refused():
    with pytest.raises(SlideError, match=r"mpp=1, the target is 0\.5") as caught:
        geometry(1.0, [1, 4])

    assert "--mpp 1" in caught.value.hint


def test_the_stride_is_in_target_pixels():
    assert geometry(0.25, [1], stride=100).stride_level0 == 200


def test_patches_lie_wholly_inside_the_slide():
    left, top = patch_grid(width=1100, height=512, geometry=geometry(0.5, [1]))

    assert left.tolist() == [0, 256, 512, 768]
    assert top.tolist() == [0, 256]


def test_a_slide_smaller_than_a_patch_has_none():
    left, top = patch_grid(width=255, height=900, geometry=geometry(0.5, [1]))

    assert (len(left), len(top)) == (0, 3)


def test_patches_of_a_region_stay_together():
    kept = np.array(
        [
            [0, 1, 0, 0, 1],
            [0, 1, 0, 1, 0],
            [0, 0, 0, 0, 0],
            [1, 0, 0, 0, 1],
        ],
        bool,
    )

    rows, columns, n_regions = scan_order(kept)

    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [
        (0, 1), (1, 1), (0, 4), (1, 3), (3, 0), (3, 4),
    ]  # fmt: skip
    assert n_regions == 4


def test_regions_stand_in_the_order_of_their_first_patch():
    kept = np.random.default_rng(0).random((17, 23)) < 0.3

    rows, columns, n_regions = scan_order(kept)
    regions = regions_by_flooding(kept)
    order = [regions[place] for place in zip(rows.tolist(), columns.tolist(), strict=True)]

    assert len(order) == kept.sum()
    assert order == sorted(order)
    assert n_regions == len(set(order))


def regions_by_flooding(kept):
    """Number of the region of each kept cell, by a loop."""
    found = {}
    for start in map(tuple, np.argwhere(kept).tolist()):
        todo, number = [start], len(set(found.values()))
        while todo:
            row, column = todo.pop()
            if (row, column) in found or not kept[row, column]:
                continue
            found[row, column] = number
            todo += [
                (r, c)
                for r in range(max(0, row - 1), min(kept.shape[0], row + 2))
                for c in range(max(0, column - 1), min(kept.shape[1], column + 2))
            ]
    return found


def test_nothing_kept_is_no_region():
    rows, _, n_regions = scan_order(np.zeros((2, 3), bool))

    assert (len(rows), n_regions) == (0, 0)
