"""Where tissue is found, and how much of it a patch holds."""

from __future__ import annotations

import numpy as np
import pytest

from gimp_plugin.errors import SlideError
from gimp_plugin.slides.geometry import choose_geometry
from gimp_plugin.slides.grids import tissue_patches
from gimp_plugin.slides.sources import SlideInfo
from gimp_plugin.slides.tissue import (
    NoTissueError,
    TissueMask,
    tissue_mask,
    tissue_share,
)
from gimp_plugin.slides.tissue.overview import whole_level
from gimp_plugin.slides.tissue.toolbox import otsu_threshold, toolbox_masks
from tests.slide_factory import draw_tissue

GEOMETRY = choose_geometry(mpp=0.5, downsamples=[1], target_mpp=0.5, patch_size=256, stride=256)


class Picture:
    """A slide of one level, in memory."""

    def __init__(self, pixels):
        self.pixels = pixels
        self.n_read = 0
        height, width = pixels.shape[:2]
        self.info = SlideInfo(
            reader="memory", vendor="test", width=width, height=height, downsamples=(1.0,),
            mpp_x=0.5, mpp_y=0.5, power=None,
        )  # fmt: skip

    def read(self, corner, size, *, level):
        self.n_read += 1
        (x, y), (width, height) = corner, size
        return self.pixels[y : y + height, x : x + width]

    def close(self):
        pass


@pytest.mark.parametrize("method", ["otsu", "morphological"])
def test_the_mask_covers_the_tissue(method):
    source = Picture(draw_tissue((3000, 2000), tissue=[(500, 400, 1200, 900)]))

    found = tissue_mask(source, mpp=0.5, method=method)

    rows, columns = np.nonzero(found.mask)
    x, y = columns / found.scale[0], rows / found.scale[1]
    assert 460 <= x.min() <= 560
    assert 1640 <= x.max() <= 1760
    assert 360 <= y.min() <= 460
    assert found.mask.mean() == pytest.approx(1200 * 900 / 6e6, rel=0.15)


@pytest.mark.parametrize("grey", [0, 128, 243, 255])
def test_a_slide_of_one_colour_holds_no_tissue(grey):
    source = Picture(np.full((2000, 3000, 3), grey, np.uint8))

    assert not tissue_mask(source, mpp=0.5, method="otsu").mask.any()


def test_noise_on_glass_is_no_tissue():
    noise = np.random.default_rng(0).normal(240, 4, (2000, 3000, 3)).astype(np.uint8)

    assert not tissue_mask(Picture(noise), mpp=0.5, method="otsu").mask.any()


def test_strips_give_the_same_picture_as_one_read():
    source = Picture(draw_tissue((3000, 2000)))
    whole = whole_level(source, level=0, factor=16.0, strip_pixels=10**9)

    strips = whole_level(source, level=0, factor=16.0, strip_pixels=500_000)

    assert source.n_read == 1 + 8
    assert strips.shape == whole.shape == (125, 188, 3)
    assert np.abs(strips.astype(int) - whole).max() <= 30  # edges of strips fall between pixels
    assert np.abs(strips.astype(int) - whole).mean() < 1


def test_strips_of_a_level_as_it_is_are_its_pixels():
    pixels = draw_tissue((3000, 2000))

    strips = whole_level(Picture(pixels), level=0, strip_pixels=500_000)

    np.testing.assert_array_equal(strips, pixels)


def test_the_share_of_tissue_is_that_of_a_loop():
    mask = TissueMask(np.random.default_rng(0).random((31, 43)) < 0.5, (1 / 16, 1 / 16))
    left, top = np.arange(0, 43 * 16 - 64, 64), np.arange(0, 31 * 16 - 64, 64)

    share = tissue_share(mask, left=left, top=top, size=64)

    expected = [
        [mask.mask[y // 16 : y // 16 + 4, x // 16 : x // 16 + 4].mean() for x in left] for y in top
    ]
    np.testing.assert_allclose(share, expected)


def test_patches_hold_the_least_share_of_tissue():
    mask = TissueMask(np.zeros((32, 48), bool), (1 / 16, 1 / 16))
    mask.mask[:, 4:16] = True  # three quarters of the first column of patches

    def corners(min_tissue):
        found, _ = tissue_patches(
            mask, width=768, height=512, geometry=GEOMETRY, min_tissue=min_tissue
        )
        return found.tolist()

    assert corners(0.75) == [[0, 0], [0, 256]]
    assert corners(0.0) == [[0, 0], [0, 256]]
    with pytest.raises(NoTissueError, match="no patch has more than 75%"):
        corners(0.76)


def test_a_slide_smaller_than_a_patch_says_so():
    mask = TissueMask(np.ones((7, 7), bool), (1 / 16, 1 / 16))

    with pytest.raises(NoTissueError, match=r"\(100 x 100\) is smaller than one patch \(256"):
        tissue_patches(mask, width=100, height=100, geometry=GEOMETRY, min_tissue=0.25)


@pytest.mark.parametrize(("limit", "message"), [("MAX_GRID", "6 x 3"), ("MAX_PATCHES", "18 pa")])
def test_more_patches_than_a_bag_holds_are_refused(monkeypatch, limit, message):
    mask = TissueMask(np.ones((48, 96), bool), (1 / 16, 1 / 16))
    monkeypatch.setattr(f"gimp_plugin.slides.grids.{limit}", 17)

    with pytest.raises(SlideError, match=message):
        tissue_patches(mask, width=1536, height=768, geometry=GEOMETRY, min_tissue=0.25)


def test_masks_are_those_of_tiatoolbox():
    masks = toolbox_masks()

    assert {"OtsuTissueMasker", "MorphologicalMasker"} <= vars(masks).keys()
    assert masks.__file__.endswith("tiatoolbox/tools/tissuemask.py")


@pytest.mark.parametrize("method", ["otsu", "morphological"])
@pytest.mark.parametrize("seed", range(4))
def test_the_masks_equal_those_that_tiatoolbox_makes_itself(method, seed):
    rng = np.random.default_rng(seed)
    pixels = draw_tissue((611, 507), tissue=[(100, 90, 300, 200), (450, 300, 40, 60)], seed=seed)
    spots = rng.random(pixels.shape[:2]) < 0.02  # regions of a pixel or a few
    pixels[spots] = rng.integers(0, 200, (int(spots.sum()), 3))
    masks = toolbox_masks()
    masker = masks.OtsuTissueMasker() if method == "otsu" else masks.MorphologicalMasker(mpp=8.0)

    found = tissue_mask(Picture(pixels), mpp=8.0, method=method)

    (expected,) = masker.fit_transform(pixels[None])
    np.testing.assert_array_equal(found.mask, expected)
    assert found.about["threshold"] == masker.threshold
    assert 0.1 < expected.mean() < 0.9


@pytest.mark.parametrize("value", [0, 77, 255])
def test_the_threshold_of_one_grey_level_is_that_level_as_in_tiatoolbox(value):
    masker = toolbox_masks().OtsuTissueMasker()
    masker.fit(np.full((1, 5, 7, 3), value, np.uint8))

    assert otsu_threshold(np.full((5, 7), value, np.uint8)) == masker.threshold == value
