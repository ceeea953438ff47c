"""Opening slides, and what they say of their resolution."""

from __future__ import annotations

import gc
import re
from pathlib import Path

import cv2
import numpy as np
import openslide
import pytest
import tifffile

from gimp_plugin.errors import SlideError
from gimp_plugin.slides.sources import SlideInfo, open_source, resolution
from tests.slide_factory import draw_tissue, make_slide

# TIAToolbox leaves a TIFF open when it looks at it; in our readers the process ends with the slide.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def collected():
    """Collect what TIAToolbox left open here, where it is ignored, and not in some later test."""
    yield
    gc.collect()


REAL = Path(__file__).parents[2] / "shared" / "data" / "real_slides"


def info_of(path):
    with open_source(path) as source:
        return source.info


def stated(mpp_x, mpp_y=None, power=None):
    return SlideInfo(
        reader="memory", vendor="test", width=9, height=9, downsamples=(1.0,), mpp_x=mpp_x,
        mpp_y=mpp_x if mpp_y is None else mpp_y, power=power,
    )  # fmt: skip


def test_a_slide_says_what_it_is(tmp_path):
    make_slide(tmp_path / "a.svs", (1100, 900), mpp=0.499, levels=(1, 4), power=20)

    info = info_of(tmp_path / "a.svs")

    assert (info.reader, info.vendor) == ("tiatoolbox.OpenSlideWSIReader", "aperio")
    assert (info.width, info.height) == (1100, 900)
    assert info.downsamples == pytest.approx((1, 4), rel=1e-3)
    assert (info.mpp_x, info.mpp_y, info.power) == (0.499, 0.499, 20.0)


def test_pixels_are_those_of_the_slide(tmp_path):
    pixels = make_slide(tmp_path / "a.svs")

    with open_source(tmp_path / "a.svs") as source:
        read = source.read((100, 50), (300, 200), level=0)

    np.testing.assert_array_equal(read, pixels[50:250, 100:400])


def test_what_was_not_scanned_is_white(tmp_path):
    make_slide(tmp_path / "a.svs", (600, 500), tissue=[(0, 0, 600, 500)])

    with open_source(tmp_path / "a.svs") as source:
        read = source.read((590, 490), (20, 20), level=0)

    assert (read[10:, 10:] == 255).all()
    assert (read[:10, :10] < 255).any()


def test_a_plain_tiff_is_read_by_openslide(tmp_path):
    pixels = draw_tissue((700, 500))
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(256, 256), photometric="rgb", metadata=None)

    with open_source(tmp_path / "a.tif") as source:
        read = source.read((64, 32), (200, 100), level=0)
        reader, mpp = source.info.reader, source.info.mpp_x

    np.testing.assert_array_equal(read, pixels[32:132, 64:264])
    assert (reader, mpp) == ("openslide", None)


def test_the_resolution_of_a_tiff_counts_where_it_is_plausible(tmp_path):
    for name, per_centimetre in (("scan.tif", 20_000), ("screen.tif", 28)):
        tifffile.imwrite(
            tmp_path / name, draw_tissue((700, 500)), tile=(256, 256), photometric="rgb",
            metadata=None, resolution=(per_centimetre, per_centimetre), resolutionunit="CENTIMETER",
        )  # fmt: skip

    assert info_of(tmp_path / "scan.tif").mpp_x == pytest.approx(0.5)
    assert info_of(tmp_path / "screen.tif").mpp_x is None


def test_a_picture_is_decoded_as_a_whole(tmp_path):
    pixels = draw_tissue((300, 200))
    cv2.imwrite(str(tmp_path / "a.png"), pixels[..., ::-1])

    with open_source(tmp_path / "a.png") as source:
        read = source.read((30, 20), (100, 50), level=0)

    np.testing.assert_array_equal(read, pixels[20:70, 30:130])


def test_what_no_reader_opens_is_named(tmp_path):
    (tmp_path / "a.svs").write_bytes(b"II*\0" + bytes(100))

    with pytest.raises(SlideError, match=r"no reader can open .*a\.svs"):
        info_of(tmp_path / "a.svs")


def test_dimensions_that_no_scanner_makes_are_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((16, 20_000, 3), np.uint8), tile=(16, 16), photometric="rgb"
    )

    with pytest.raises(SlideError, match="20000 x 16 pixels, which no scanner makes"):
        info_of(tmp_path / "a.tif")


@pytest.mark.parametrize("mpp", [None, "nan", "text"])
def test_a_slide_without_resolution_takes_what_the_user_gives(tmp_path, mpp):
    make_slide(tmp_path / "a.svs", mpp=mpp)

    info = info_of(tmp_path / "a.svs")

    assert resolution(info, given=0.25) == (0.25, 0.25, "given")
    with pytest.raises(SlideError, match="no microns per pixel") as caught:
        resolution(info, given=0)
    assert "--slide-mpp" in caught.value.hint


def test_the_user_never_overrides_the_slide():
    assert resolution(stated(0.499), given=0.25) == (0.499, 0.499, "slide")


@pytest.mark.parametrize("mpp", [0.0, -0.25, 1e99, 0.049, 20.1])
def test_a_resolution_out_of_range_is_shown_and_refused(mpp):
    with pytest.raises(SlideError, match=re.escape(f"mpp={mpp:g}")):
        resolution(stated(mpp), given=0.5)


def test_an_objective_power_is_no_resolution():
    with pytest.raises(SlideError, match="objective power 20 is no substitute"):
        resolution(stated(None, power=20.0), given=0)


def test_pixels_far_from_square_are_refused():
    assert resolution(stated(0.5, 0.54), given=0)[:2] == (0.5, 0.54)
    with pytest.raises(SlideError, match=r"mpp=0\.5 in x and 0\.56 in y"):
        resolution(stated(0.5, 0.56), given=0)


@pytest.mark.skipif(not REAL.exists(), reason="needs the evaluation data")
def test_openslide_opens_what_tiatoolbox_does_not():
    folder = REAL / "cmu1_dicom"
    slide = openslide.OpenSlide(min(folder.iterdir()))

    with open_source(folder) as source:
        read = source.read((1000, 1500), (64, 32), level=0)
        info = source.info

    assert (info.reader, info.vendor, info.mpp_x) == ("openslide", "dicom", 0.499)
    expected = np.asarray(slide.read_region((1000, 1500), 0, (64, 32)))[..., :3]
    np.testing.assert_array_equal(read, expected)
