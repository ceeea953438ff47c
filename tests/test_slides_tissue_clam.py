"""CLAM's segmentation against a second, straightforward one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from gimp_plugin.slides.decoders import PictureSource
from gimp_plugin.slides.sources import open_source
from gimp_plugin.slides.tissue import NoTissueError, clam, tissue_mask
from gimp_plugin.slides.tissue.clam import filter_contours
from gimp_plugin.slides.tissue.mask import find_contours
from tests import naive_clam

REAL = Path(__file__).parents[1].parent / "shared" / "data" / "real_slides"
GLASS, PINK = (243, 243, 243), (200, 120, 170)


class Small(PictureSource):
    """A slide of which only a small level is held: 64 times as large as its picture says."""

    def __init__(self, pixels, downsample=64.0):
        super().__init__(pixels, mpp=(0.25, 0.25))
        height, width = pixels.shape[:2]
        sizes = {"width": int(width * downsample), "height": int(height * downsample)}
        self.info = type(self.info)(
            reader="memory", vendor="test", downsamples=(1.0, downsample), mpp_x=0.25, mpp_y=0.25,
            power=None, **sizes,
        )  # fmt: skip

    def read(self, corner, size, *, level):
        assert (corner, level) == ((0, 0), 1)
        return super().read(corner, size, level=0)


def blobs(seed, shape=(173, 217)):
    """Draw pieces of tissue of all sizes, with holes of all sizes and specks on the glass."""
    rng = np.random.default_rng(seed)
    picture = np.full((*shape, 3), GLASS, np.uint8)
    for _ in range(6):
        centre = rng.integers(20, [shape[1] - 20, shape[0] - 20]).tolist()
        cv2.ellipse(picture, centre, rng.integers(25, 70, 2).tolist(), 30, 0, 360, PINK, -1)
    for _ in range(14):
        centre = rng.integers(10, [shape[1] - 10, shape[0] - 10]).tolist()
        cv2.circle(picture, centre, int(rng.integers(1, 9)), GLASS, -1)
    noise = rng.normal(scale=3, size=picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_the_mask_is_that_of_a_second_computation(seed):
    picture = blobs(seed)

    found = tissue_mask(Small(picture), mpp=0.25, method="clam")

    expected = naive_clam.paint(naive_clam.segment(picture, downsample=64), picture.shape[:2])
    assert 0.05 < expected.mean() < 0.9
    np.testing.assert_array_equal(found.mask, expected)
    assert found.about == {"threshold": 8.0, "mpp": 16.0}
    assert found.scale == (1 / 64, 1 / 64)


def test_small_pieces_go_and_small_holes_are_filled():
    picture = np.full((120, 160, 3), GLASS, np.uint8)
    unit = (512 // 64) ** 2
    cv2.rectangle(picture, (5, 5), (105, 105), PINK, -1)  # 157 units
    cv2.rectangle(picture, (20, 20), (60, 60), GLASS, -1)  # 25 units: stays a hole
    cv2.rectangle(picture, (70, 70), (95, 95), GLASS, -1)  # 10 units: filled
    cv2.rectangle(picture, (115, 5), (150, 110), PINK, -1)  # 58 units: left out

    found = tissue_mask(Small(picture), mpp=0.25, method="clam").mask

    assert unit == 64
    assert not found[40, 40]
    assert found[82, 82]
    assert not found[:, 112:].any()


def test_of_many_holes_the_largest_eight_stay():
    mask = np.ones((400, 1000), np.uint8)
    for index in range(11):
        mask[10 : 60 + 3 * index, 10 + 85 * index : 70 + 85 * index] = 0

    (contour,) = filter_contours(find_contours(mask), unit=1)

    assert len(find_contours(mask)[0].holes) == 11
    assert [cv2.boundingRect(hole)[0] for hole in contour.holes] == [
        9 + 85 * index for index in range(10, 2, -1)
    ]


def test_a_piece_in_the_hole_of_another_is_kept():
    picture = np.full((300, 300, 3), GLASS, np.uint8)
    cv2.rectangle(picture, (5, 5), (290, 290), PINK, -1)
    cv2.rectangle(picture, (20, 20), (270, 270), GLASS, -1)
    cv2.rectangle(picture, (60, 60), (230, 230), PINK, -1)

    found = tissue_mask(Small(picture), mpp=0.25, method="clam").mask

    assert found[150, 150]
    assert found[10, 10]
    assert not found[40, 40]


@pytest.mark.parametrize("grey", [0, 128, 243, 255])
def test_a_slide_without_colour_holds_no_tissue(grey):
    blank = Small(np.full((90, 70, 3), grey, np.uint8))

    found = tissue_mask(blank, mpp=0.25, method="clam")

    assert not found.mask.any()
    assert found.outlines() == ()


def test_pieces_that_are_all_too_small_are_told_with_the_remedy():
    picture = np.full((90, 70, 3), GLASS, np.uint8)
    cv2.rectangle(picture, (5, 5), (45, 45), PINK, -1)

    with pytest.raises(
        NoTissueError, match=r"has 24\.8 squares of 512 pixels, .* more than 100"
    ) as caught:
        tissue_mask(Small(picture), mpp=0.25, method="clam")

    assert "clam:a_t=1" in caught.value.hint
    assert tissue_mask(Small(picture), mpp=0.25, method="clam:a_t=20").mask.any()


def test_otsu_chooses_the_saturation():
    picture = blobs(0)

    found = tissue_mask(Small(picture), mpp=0.25, method="clam:use_otsu=true,a_t=1,a_h=1")

    saturation = cv2.medianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)[..., 1].copy(), 7)
    expected, _ = cv2.threshold(saturation, 0, 255, cv2.THRESH_OTSU)
    assert found.about["threshold"] == expected != 8


def test_a_level_too_large_for_clam_is_reduced(monkeypatch):
    picture = cv2.resize(blobs(0), None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    monkeypatch.setattr(clam, "MAX_LEVEL_PIXELS", picture.shape[0] * picture.shape[1] - 1)

    found = tissue_mask(Small(picture, downsample=16.0), mpp=0.25, method="clam")

    assert found.mask.shape == (173, 217)
    assert found.about["mpp"] == 16.0


@pytest.mark.skipif(not REAL.exists(), reason="the real slides are not beside the repository")
@pytest.mark.parametrize(
    "name", ["CMU-1-Small-Region.svs", "cmu1_dicom", "tcga-cr-7395-01a-01-ts1.svs"]
)
def test_the_mask_of_a_real_slide_is_that_of_a_second_computation(name):
    with open_source(REAL / name) as source:
        found = tissue_mask(source, mpp=0.5, method="clam:a_t=1,a_h=0.125")
        scales = source.info.downsamples
        level = max(level for level, scale in enumerate(scales) if scale <= 64)
        size = (int(source.info.width / scales[level]), int(source.info.height / scales[level]))
        picture = source.read((0, 0), size, level=level)

    pieces = naive_clam.segment(
        np.ascontiguousarray(picture), downsample=scales[level], a_t=1, a_h=0.125
    )

    assert found.mask.any()
    contours = found.outlines()
    assert len(contours) == len(pieces)
    for contour, (outline, holes) in zip(contours, pieces, strict=True):
        np.testing.assert_array_equal(contour.outer, outline)
        assert [len(hole) for hole in contour.holes] == [len(hole) for hole in holes]
