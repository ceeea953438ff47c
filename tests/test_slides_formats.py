"""Formats, one by one: what opens each, its resolution, and its pixels against another decoder."""

from __future__ import annotations

import gc
import shutil

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from gimp_plugin.errors import SlideError
from gimp_plugin.slides import pictures
from gimp_plugin.slides.diagnosis import check_file
from gimp_plugin.slides.finding import find_slides
from gimp_plugin.slides.sources import open_source, resolution
from tests.slide_factory import draw_tissue, make_slide

# TIAToolbox leaves a TIFF open when it looks at it; in our readers the process ends with the slide.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

WIDTH, HEIGHT = 700, 500
BOX = (64, 32, 264, 132)
TILE = (256, 256)


@pytest.fixture(autouse=True, scope="module")
def collected():
    """Collect what TIAToolbox left open here, where it is ignored, and not in some later room."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def pixels():
    return draw_tissue((WIDTH, HEIGHT), tissue=[(20, 10, 640, 480)])


def look(path, *, level=0):
    """What a slide says, and its pixels in the box; at other levels from its top left."""
    left, top, right, bottom = BOX
    with open_source(path) as source:
        corner = (left, top) if level == 0 else (0, 0)
        return source.info, source.read(corner, (right - left, bottom - top), level=level)


def boxed(pixels):
    left, top, right, bottom = BOX
    return pixels[top:bottom, left:right]


def refusal(path):
    with pytest.raises(SlideError) as caught:
        look(path)
    assert path.name in caught.value.problem
    return caught.value.problem


def write_ome(path, pixels, **changes):
    """An OME-TIFF with a second level below the first page."""
    half = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    options = {"tile": TILE, "photometric": "rgb", "compression": "adobe_deflate"}
    with tifffile.TiffWriter(path, ome=True) as file:
        metadata = {"axes": "YXS"} | half | changes
        file.write(pixels, subifds=1, metadata=metadata, **options)
        file.write(np.ascontiguousarray(pixels[::2, ::2]), subfiletype=1, **options)


def write_page(path, pixels, *, per_centimetre=20_000, **options):
    tifffile.imwrite(
        path, pixels, resolution=(per_centimetre, per_centimetre), resolutionunit="CENTIMETER",
        metadata=None, **options,
    )  # fmt: skip


@pytest.mark.parametrize(
    "suffix", [".svs", ".ndpi", ".scn", ".bif", ".vms", ".vmu", ".svslide", ".tif", ".tiff"]
)
def test_what_openslide_knows_is_read_whatever_its_ending(tmp_path, suffix):
    written = make_slide(tmp_path / "aperio.svs", (WIDTH, HEIGHT), power=20)
    path = tmp_path / f"a{suffix}"
    shutil.copy(tmp_path / "aperio.svs", path)

    check_file(path)
    info, read = look(path)
    (found,) = [slide for slide in find_slides([tmp_path]) if slide.path == path]

    assert found.slide_id == "a"
    assert (info.vendor, info.mpp_x, info.power) == ("aperio", 0.5, 20)
    assert info.downsamples == pytest.approx((1, 4), rel=1e-2)
    np.testing.assert_array_equal(read, boxed(written))


def test_hamamatsus_slide_of_several_files(tmp_path, pixels):
    """NanoZoomer's: JPEG in two columns with restart markers, and a small map."""
    whole = np.tile(pixels[:480, :640], (1, 2, 1))
    for name, part in (("0.jpg", whole[:, :640]), ("1.jpg", whole[:, 640:])):
        Image.fromarray(part).save(
            tmp_path / name, quality=95, subsampling=0, restart_marker_blocks=8
        )
    small = Image.fromarray(cv2.resize(whole, (320, 120), interpolation=cv2.INTER_AREA))
    small.save(tmp_path / "map.jpg", quality=95, subsampling=0, restart_marker_blocks=8)
    lines = [
        "[Virtual Microscope Specimen]", "NoLayers=1", "NoJpegColumns=2", "NoJpegRows=1",
        "ImageFile=0.jpg", "ImageFile(1,0)=1.jpg", "MapFile=map.jpg", "SourceLens=20",
        "PhysicalWidth=640000", "PhysicalHeight=240000",
    ]  # fmt: skip
    (tmp_path / "h.vms").write_text("\n".join(lines) + "\n")

    check_file(tmp_path / "h.vms")
    info, read = look(tmp_path / "h.vms")

    decoded = [imagecodecs.jpeg_decode((tmp_path / name).read_bytes()) for name in ("0.jpg",)]
    assert (info.reader, info.vendor, info.power) == ("openslide", "hamamatsu", 20)
    assert (info.width, info.height, info.mpp_x) == (1280, 480, 0.5)
    assert np.abs(read.astype(int) - boxed(decoded[0])).max() <= 1


def write_qptiff(path, pages, *, big=True):
    """A slide of Akoya's scanner: level 0, a thumbnail in strips, the other levels, a macro."""
    with tifffile.TiffWriter(path, bigtiff=big) as file:
        for number, (pixels, tile) in enumerate(pages):
            file.write(
                pixels, tile=tile, subfiletype=int(number > 0), compression="adobe_deflate",
                photometric="minisblack" if pixels.ndim == 2 else "rgb", metadata=None,
                software="PerkinElmer-QPI", resolution=(20_000, 20_000),
                resolutionunit="CENTIMETER",
            )  # fmt: skip


@pytest.mark.parametrize("big", [True, False])
def test_a_qptiff_has_its_levels_and_neither_thumbnail_nor_macro_among_them(tmp_path, pixels, big):
    half, quarter = (np.ascontiguousarray(pixels[::scale, ::scale]) for scale in (2, 4))
    macro = np.zeros((120, 130, 3), np.uint8)
    pages = [(pixels, TILE), (macro, None), (half, TILE), (quarter, TILE), (macro, TILE)]
    write_qptiff(tmp_path / "a.qptiff", pages, big=big)

    info, read = look(tmp_path / "a.qptiff")
    _, read_half = look(tmp_path / "a.qptiff", level=1)

    assert info.reader == ("tiatoolbox.TIFFWSIReader" if big else "openslide")
    assert (info.downsamples, info.mpp_x) == ((1, 2, 4), pytest.approx(0.5))
    np.testing.assert_array_equal(read, boxed(pixels))
    np.testing.assert_array_equal(read_half, half[: read_half.shape[0], : read_half.shape[1]])


def test_a_fluorescent_qptiff_is_refused(tmp_path, pixels):
    write_qptiff(tmp_path / "a.qptiff", [(pixels[..., 0].copy(), TILE)] * 4)

    assert "several channels or planes (axes CYX)" in refusal(tmp_path / "a.qptiff")


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.tiff", "a.tif"])
def test_an_ome_tiff_has_its_levels_and_its_resolution(tmp_path, pixels, name):
    write_ome(tmp_path / name, pixels)

    info, read = look(tmp_path / name)
    _, half = look(tmp_path / name, level=1)

    assert info.reader == "tiatoolbox.TIFFWSIReader"
    assert (info.downsamples, info.mpp_x, info.mpp_y) == ((1, 2), 0.5, 0.5)
    np.testing.assert_array_equal(read, boxed(pixels))
    np.testing.assert_array_equal(half, pixels[::2, ::2][: half.shape[0], : half.shape[1]])


@pytest.mark.filterwarnings("ignore:divide by zero")  # TIAToolbox guesses a power from 0
@pytest.mark.parametrize(
    ("size", "unit", "mpp"),
    [
        (0.25, "\u00b5m", 0.25),
        (250, "nm", 0.25),
        (0.00025, "mm", 0.25),
        (0.25, "pixel", None),
        (0, "\u00b5m", 0),
        (1e99, "\u00b5m", 1e99),
    ],
)
def test_the_units_of_ome_are_understood(tmp_path, pixels, size, unit, mpp):
    units = {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    write_ome(tmp_path / "a.ome.tif", pixels, PhysicalSizeX=size, PhysicalSizeY=size, **units)

    info, _ = look(tmp_path / "a.ome.tif")

    assert info.mpp_x == (None if mpp is None else pytest.approx(mpp))
    assert info.mpp_y == info.mpp_x


@pytest.mark.parametrize(
    ("axes", "shape"), [("CYX", (3, 400, 300)), ("ZYX", (5, 400, 300)), ("ZYXS", (2, 400, 300, 3))]
)
def test_channels_and_planes_are_refused_rather_than_made_colours(tmp_path, axes, shape):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        file.write(np.zeros(shape, np.uint8), tile=(128, 128), metadata={"axes": axes})

    assert f"several channels or planes (axes {axes})" in refusal(tmp_path / "a.ome.tif")


@pytest.mark.parametrize("nested", [False, True])
def test_a_plain_pyramid_has_its_levels_and_its_resolution(tmp_path, pixels, nested):
    path = tmp_path / "a.tif"
    options = {"tile": TILE, "photometric": "rgb", "metadata": None}
    per_centimetre = {"resolution": (20_000, 20_000), "resolutionunit": "CENTIMETER"}
    with tifffile.TiffWriter(path) as file:
        file.write(pixels, subifds=2 if nested else 0, **per_centimetre, **options)
        for scale in (2, 4):
            file.write(np.ascontiguousarray(pixels[::scale, ::scale]), subfiletype=1, **options)

    info, read = look(path)
    _, half = look(path, level=1)

    assert info.reader == ("tiatoolbox.TIFFWSIReader" if nested else "openslide")
    assert (info.downsamples, info.mpp_x) == ((1, 2, 4), pytest.approx(0.5))
    np.testing.assert_array_equal(read, boxed(pixels))
    np.testing.assert_array_equal(half, pixels[::2, ::2][: half.shape[0], : half.shape[1]])


@pytest.mark.parametrize("tile", [None, TILE], ids=["strips", "tiles"])
@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate", "jpeg", "packbits"])
def test_a_tiff_without_pyramid_is_read_as_tifffile_reads_it(tmp_path, pixels, tile, compression):
    write_page(tmp_path / "a.tif", pixels, tile=tile, photometric="rgb", compression=compression)

    info, read = look(tmp_path / "a.tif")

    expected = boxed(tifffile.imread(tmp_path / "a.tif"))
    assert info.flat_bytes == WIDTH * HEIGHT * 3
    assert info.mpp_x == pytest.approx(0.5)
    assert np.abs(read.astype(int) - expected).max() <= (1 if compression == "jpeg" else 0)


def test_jpeg_2000_in_tiles_takes_tiatoolbox(tmp_path, pixels):
    write_page(tmp_path / "a.tif", pixels, tile=TILE, photometric="rgb", compression="jpeg2000")

    info, read = look(tmp_path / "a.tif")

    assert info.reader == "tiatoolbox.TIFFWSIReader"
    np.testing.assert_array_equal(read, boxed(pixels))


def test_a_compression_that_nobody_reads_is_refused_and_not_black(tmp_path, pixels):
    """OpenCV, which TIAToolbox asks, gives zeros here."""
    write_page(tmp_path / "a.tif", pixels, photometric="rgb", compression="jpeg2000")

    assert "no reader can open" in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize("tile", [None, TILE], ids=["strips", "tiles"])
@pytest.mark.parametrize("kind", ["grey", "inverse grey", "palette", "planar", "opacity"])
def test_other_kinds_of_8_bit_pixels_become_rgb(tmp_path, pixels, tile, kind):
    path = tmp_path / "a.tif"
    grey = pixels[..., 0]
    opacity = np.where(np.arange(WIDTH) < 150, 0, 255).astype(np.uint8)
    opacity = np.broadcast_to(opacity, grey.shape)
    colours = np.stack([np.arange(256), 255 - np.arange(256), np.full(256, 7)]).astype(np.uint16)
    written, options, expected = {
        "grey": (grey, {"photometric": "minisblack"}, np.dstack([grey] * 3)),
        "inverse grey": (grey, {"photometric": "miniswhite"}, np.dstack([255 - grey] * 3)),
        "palette": (
            grey,
            {"photometric": "palette", "colormap": colours * 257},
            np.dstack([grey, 255 - grey, np.full_like(grey, 7)]),
        ),
        "planar": (
            np.ascontiguousarray(pixels.transpose(2, 0, 1)),
            {"photometric": "rgb", "planarconfig": "separate"},
            pixels,
        ),
        "opacity": (
            np.dstack([pixels, opacity]),
            {"photometric": "rgb", "extrasamples": ["unassalpha"]},
            np.where(opacity[..., None] == 255, pixels, 255),
        ),
    }[kind]
    write_page(path, written, tile=tile, **options)

    info, read = look(path)

    assert info.mpp_x == pytest.approx(0.5)
    np.testing.assert_array_equal(read, boxed(expected))


@pytest.mark.parametrize("tile", [None, TILE], ids=["strips", "tiles"])
@pytest.mark.parametrize("ending", [".tif", ".ome.tif"])
@pytest.mark.parametrize(
    "case",
    [
        (lambda pixels: pixels.astype(np.uint16) * 16, "rgb", "16-bit pixels"),
        (lambda pixels: pixels[..., 0].astype(np.uint16), "minisblack", "16-bit pixels"),
        (lambda pixels: (pixels / 255).astype(np.float32), "rgb", "32-bit floating-point pixels"),
        (lambda pixels: pixels.astype(np.int8), "rgb", "8-bit signed pixels"),
        (lambda pixels: np.dstack([pixels, pixels[..., :1]]), "separated", "CMYK pixels"),
        (lambda pixels: pixels, "cielab", "CIELAB pixels"),
    ],
    ids=["16-bit RGB", "16-bit grey", "float", "signed", "CMYK", "CIELAB"],
)
def test_pixels_that_could_become_rgb_in_many_ways_are_refused(
    tmp_path, pixels, tile, ending, case
):
    convert, photometric, reason = case
    path = tmp_path / f"a{ending}"
    tifffile.imwrite(path, convert(pixels), tile=tile, photometric=photometric)

    problem = refusal(path)

    assert f"has {reason}, expected 8-bit RGB" in problem


@pytest.mark.parametrize(
    "case",
    [("CENTIMETER", 40_000, 0.25), ("INCH", 101_600, 0.25), ("INCH", 72, None), ("INCH", 96, None),
     ("INCH", 2400, None), ("NONE", 20_000, None)],
)  # fmt: skip
@pytest.mark.parametrize("tile", [None, TILE], ids=["strips", "tiles"])
def test_tags_are_a_resolution_where_only_a_microscope_has_it(tmp_path, pixels, tile, case):
    unit, value, mpp = case
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, tile=tile, photometric="rgb", metadata=None,
        resolution=(value, value), resolutionunit=unit,
    )  # fmt: skip

    info, _ = look(tmp_path / "a.tif")

    assert info.mpp_x == (None if mpp is None else pytest.approx(mpp))


@pytest.mark.parametrize(("unit", "mpp"), [("micron", 0.5), ("um", 0.5), ("inch", None)])
def test_imagejs_unit_is_understood(tmp_path, pixels, unit, mpp):
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, imagej=True, resolution=(2, 2), metadata={"unit": unit}
    )

    info, _ = look(tmp_path / "a.tif")

    assert info.mpp_x == mpp


def test_a_lossless_picture_is_what_opencv_wrote(tmp_path, pixels):
    for name in ("a.png", "a.jp2"):
        options = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000] if name == "a.jp2" else []
        cv2.imwrite(str(tmp_path / name), pixels[..., ::-1], options)

        info, read = look(tmp_path / name)

        assert info.mpp_x is None
        np.testing.assert_array_equal(read, boxed(pixels))


def test_a_jpeg_is_what_another_decoder_makes_of_it(tmp_path, pixels):
    cv2.imwrite(str(tmp_path / "a.jpg"), pixels[..., ::-1])

    _, read = look(tmp_path / "a.jpg")

    expected = boxed(imagecodecs.jpeg_decode((tmp_path / "a.jpg").read_bytes()))
    assert np.abs(read.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("mode", ["CMYK", "I;16", "1"])
def test_pictures_of_other_kinds_are_refused(tmp_path, pixels, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture = Image.fromarray(pixels)
    if mode == "I;16":
        picture = Image.fromarray(pixels[..., 0].astype(np.uint16))
    picture.convert(mode).save(path)

    assert f"pixels of kind {mode}, expected 8-bit RGB" in refusal(path)


def test_a_transparent_picture_lies_on_white(tmp_path, pixels):
    opacity = np.zeros((HEIGHT, WIDTH), np.uint8)
    opacity[:, 100:] = 255
    Image.fromarray(np.dstack([pixels, opacity])).save(tmp_path / "a.png")

    _, read = look(tmp_path / "a.png")

    np.testing.assert_array_equal(read, boxed(np.where(opacity[..., None] == 255, pixels, 255)))


def test_a_picture_is_white_where_it_is_over(pixels):
    cut = pictures.cut(pixels, (-3, HEIGHT - 10), (30, 20))

    np.testing.assert_array_equal(cut[:10, 3:], pixels[-10:, :27])
    assert (cut[10:] == 255).all()
    assert (cut[:, :3] == 255).all()


@pytest.mark.parametrize("limit", [WIDTH * HEIGHT - 1, WIDTH * HEIGHT])
def test_the_limit_of_pixels_is_that_of_pictures(monkeypatch, tmp_path, pixels, limit):
    monkeypatch.setattr(pictures, "MAX_PICTURE_PIXELS", limit)
    Image.fromarray(pixels).save(tmp_path / "a.png")

    if limit == WIDTH * HEIGHT:
        look(tmp_path / "a.png")
    else:
        assert f"too many pixels ({WIDTH} x {HEIGHT})" in refusal(tmp_path / "a.png")


def test_a_stated_resolution_that_no_scanner_has_is_shown_and_refused(tmp_path, pixels):
    write_ome(tmp_path / "a.ome.tif", pixels, PhysicalSizeX=50, PhysicalSizeY=50)

    info, _ = look(tmp_path / "a.ome.tif")

    with pytest.raises(SlideError, match=r"mpp=50, expected 0\.05 to 20"):
        resolution(info, given=0.5)
