"""`gimp extract-features`: slides that are damaged, hostile, odd, or change while they are read."""

from __future__ import annotations

import csv
import os
import shutil
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile
from click.testing import CliRunner
from PIL import Image

from gimp_plugin.cli.main import cli
from gimp_plugin.slides import making
from gimp_plugin.slides.reading import Reading
from gimp_plugin.storage.bags import list_bags, read_coords
from gimp_plugin.storage.tables import read_csv
from tests.slide_factory import draw_tissue, make_slide
from tests.slide_readers import borrow, shared_readers
from tests.test_cli_extract_features import DATA, gimp, hashes, names, needs_data

# Python 3.12 and later warn of any fork beside threads; these forks compute nothing on them.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")

UNTRAINED = ("--patch-encoder", "untrained")
SLIDES = Path("slides")
WIDTH, LENGTH, TILE_WIDTH, TILE_LENGTH = 256, 257, 322, 323


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    borrow(monkeypatch)
    SLIDES.mkdir()


def extract(*arguments):
    return gimp(SLIDES, *UNTRAINED, *arguments)


def done():
    """Slides that have a bag."""
    return [bag.slide_id for bag in list_bags(Path("features"))]


def failures():
    """Messages by slide."""
    return {row["item"]: row["message"] for row in read_csv(Path("features/failures.csv"))}


def assert_only_bad_fails(*arguments, name="bad.svs", reason, code=4):
    """Extract the slides; one fails for a reason, `good` is done, and the slides stay as they were.

    Give the message.
    """
    make_slide(SLIDES / "good.svs")
    before = hashes(SLIDES)

    result = extract(*arguments)

    ((item, message),) = failures().items()
    assert result.exit_code == code
    assert item == Path(name).name.partition(".")[0]
    assert f"slides/{name}" in message
    assert reason in message
    assert f"{item} failed: {message}" in result.stderr
    assert "Traceback" not in result.stderr
    assert done() == ["good"]
    assert names("features") == ["failures.csv", "good.h5"]
    assert hashes(SLIDES) == before
    return message


def retag(path, values, *, page=0):
    """Write other numbers into tags of a page of a little-endian TIFF."""
    with tifffile.TiffFile(path) as file:
        places = {code: file.pages[page].tags[code].offset for code in values}
    data = bytearray(path.read_bytes())
    for code, value in values.items():
        struct.pack_into("<HII", data, places[code] + 2, 4, 1, value)
    path.write_bytes(data)


def spoil_tile(path, content, *, tile=None):
    """Write other bytes over a tile in the middle of level 0; give its box of pixels."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        columns = -(-page.imagewidth // page.tilewidth)
        rows = -(-page.imagelength // page.tilelength)
        tile = (rows // 2) * columns + columns // 2 if tile is None else tile
        start, count = page.dataoffsets[tile], page.databytecounts[tile]
        left, top = tile % columns * page.tilewidth, tile // columns * page.tilelength
        box = (left, top, left + page.tilewidth, top + page.tilelength)
    with path.open("r+b") as file:
        file.seek(start)
        file.write(content(count))
    return box


def named_patch(message):
    """Corner of the patch that a message names."""
    x, y = message.partition("the patch at (")[2].partition(")")[0].split(",")
    return int(x), int(y)


@pytest.mark.parametrize(
    ("compression", "content"),
    [("adobe_deflate", os.urandom), ("jpeg", bytes)],
    ids=["row 5: bad bytes", "row 6: hole of zeros"],
)
def test_rows_5_and_6_a_tile_that_cannot_be_decoded_is_told_with_its_place(compression, content):
    make_slide(SLIDES / "bad.svs", compression=compression)
    left, top, right, bottom = spoil_tile(SLIDES / "bad.svs", content)

    message = assert_only_bad_fails(reason="cannot be read")

    x, y = named_patch(message)
    assert left - 256 < x < right
    assert top - 256 < y < bottom
    assert "--max-bad-patches" in message


def test_row_5_a_share_of_bad_patches_may_pass_and_is_counted():
    make_slide(SLIDES / "good.svs")
    make_slide(SLIDES / "bad.svs")
    spoil_tile(SLIDES / "bad.svs", os.urandom)

    result = extract("--max-bad-patches", "0.1")

    bad, good = list_bags(Path("features"))
    assert result.exit_code == 0
    assert (bad.attributes["n_bad_patches"], good.attributes["n_bad_patches"]) == (1, 0)
    assert bad.n_patches == good.n_patches - 1


def test_row_10_links_that_lead_round_in_circles_are_walked_once():
    make_slide(SLIDES / "deep" / "good.svs")
    (SLIDES / "deep" / "up").symlink_to("..", target_is_directory=True)
    (SLIDES / "again").symlink_to("deep", target_is_directory=True)
    (SLIDES / "self").symlink_to("self")

    result = extract()

    assert result.exit_code == 0
    assert done() == ["good"]


def test_row_11_a_decoder_that_aborts_takes_only_its_slide_with_it():
    make_slide(SLIDES / "bad.svs")
    retag(SLIDES / "bad.svs", {TILE_WIDTH: 40_000, TILE_LENGTH: 40_000})

    assert_only_bad_fails(reason="'slides/bad.svs' crashed the decoder (signal 6, SIGABRT)")


def test_row_12_dimensions_of_billions_are_refused():
    make_slide(SLIDES / "bad.svs")
    retag(SLIDES / "bad.svs", {WIDTH: 2_000_000_000, LENGTH: 2_000_000_000})

    message = assert_only_bad_fails(reason="no reader can open 'slides/bad.svs': OpenSlideError")

    assert str(Path.cwd()) not in message


def test_row_13_a_needle_is_refused():
    make_slide(SLIDES / "bad.svs")
    retag(SLIDES / "bad.svs", {WIDTH: 100, LENGTH: 8_300_000})

    assert_only_bad_fails(reason="100 x 8300000 pixels, which no scanner makes")


def test_row_14_pages_that_form_a_loop_are_refused():
    make_slide(SLIDES / "bad.svs")
    path = SLIDES / "bad.svs"
    with tifffile.TiffFile(path) as file:
        first, last = file.pages[0].offset, file.pages[-1].offset
    data = bytearray(path.read_bytes())
    (n_tags,) = struct.unpack_from("<H", data, last)
    struct.pack_into("<I", data, last + 2 + 12 * n_tags, first)
    path.write_bytes(data)

    assert_only_bad_fails(reason="form a loop")


def write_tiff(path, mpp_x, mpp_y, *, reduced=(), unit="CENTIMETER", **options):
    """Write a plain TIFF that states its resolution in pixels per centimetre."""
    pixels = draw_tissue((1100, 900))
    with tifffile.TiffWriter(path) as file:
        for downsample in (1, *reduced):
            file.write(
                np.ascontiguousarray(pixels[::downsample, ::downsample]),
                photometric="rgb",
                subfiletype=int(downsample > 1),
                resolution=tuple(1e4 / mpp / downsample for mpp in (mpp_x, mpp_y)),
                resolutionunit=unit,
                metadata=None,
                **options,
            )
    return pixels


def test_row_18_pixels_a_little_out_of_square_are_told_and_stored(caplog):
    write_tiff(SLIDES / "a.tif", 0.5, 0.525, tile=(256, 256))

    result = extract()

    (bag,) = list_bags(Path("features"))
    stored = [bag.attributes[f"slide_mpp_{axis}"] for axis in "xy"]
    assert result.exit_code == 0
    assert stored == pytest.approx([0.5, 0.525])
    assert "a: mpp=0.5 in x, 0.525 in y" in caplog.text


def test_row_18_pixels_far_out_of_square_are_refused():
    write_tiff(SLIDES / "bad.tif", 0.5, 0.6, tile=(256, 256))

    assert_only_bad_fails(name="bad.tif", reason="states mpp=0.5 in x and 0.6 in y")


@pytest.mark.parametrize(
    ("options", "reader"),
    [
        ({"tile": (256, 256), "reduced": (2, 4)}, "openslide"),
        ({"tile": (256, 256)}, "openslide"),
        ({}, "pillow"),
    ],
    ids=["row 19: pyramid", "row 20: tiles", "row 20: strips"],
)
def test_rows_19_and_20_plain_tiffs_work_and_their_tags_give_the_resolution(options, reader):
    write_tiff(SLIDES / "a.tif", 0.5, 0.5, **options)

    result = extract()

    (bag,) = list_bags(Path("features"))
    assert result.exit_code == 0
    assert bag.n_patches == 12
    assert bag.attributes["reader"] == reader
    assert bag.attributes["slide_mpp_source"] == "slide"
    assert bag.attributes["slide_mpp_x"] == pytest.approx(0.5)


@pytest.mark.parametrize("tile", [None, (256, 256)])
def test_row_19_a_screens_resolution_is_none(tile):
    write_tiff(SLIDES / "bad.tif", 25_400 / 72, 25_400 / 72, tile=tile)

    assert_only_bad_fails(name="bad.tif", reason="no microns per pixel (give --slide-mpp")


@pytest.mark.parametrize(("limit", "told"), [(2_900_000, True), (3_000_000, False)])
def test_row_20_much_to_decode_without_a_pyramid_is_told(monkeypatch, caplog, limit, told):
    monkeypatch.setattr(making, "FLAT_WARNING_BYTES", limit)
    write_tiff(SLIDES / "a.tif", 0.5, 0.5, tile=(256, 256))
    write_tiff(SLIDES / "b.tif", 0.5, 0.5, tile=(256, 256), reduced=(4,))

    result = extract()

    assert result.exit_code == 0
    assert ("a: no pyramid" in caplog.text) is told
    assert "b: no pyramid" not in caplog.text


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg"])
def test_row_21_a_picture_works_with_a_resolution_from_the_user_only(suffix):
    path = Path(f"picture{suffix}")
    Image.fromarray(draw_tissue((1100, 900))).save(path, dpi=(50_800, 50_800))
    make_slide(SLIDES / "good.svs")
    before = hashes(".")

    without = gimp(path, *UNTRAINED, "-o", "features")
    message = failures()["picture"]
    shutil.rmtree("features")
    unchanged = hashes(".") == before
    given = gimp(path, *UNTRAINED, "--slide-mpp", "0.5", "-o", "features")

    (bag,) = list_bags(Path("features"))
    assert (without.exit_code, given.exit_code) == (3, 0)
    assert f"'{path}': the slide states no microns per pixel (give --slide-mpp" in message
    assert unchanged
    assert (bag.n_patches, bag.attributes["slide_mpp_source"]) == (12, "given")


def test_row_22_a_picture_of_billions_of_pixels_is_refused_by_its_head():
    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    Path("bad.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000)))
    )

    result = gimp("bad.png", *UNTRAINED, "--slide-mpp", "0.5")

    assert result.exit_code == 3
    assert "'bad.png' has too many pixels (60000 x 60000)" in failures()["bad"]


def test_a_picture_that_ends_early_is_refused_and_not_filled_up():
    Image.fromarray(draw_tissue((1100, 900))).save("bad.jpg")
    data = Path("bad.jpg").read_bytes()
    Path("bad.jpg").write_bytes(data[: len(data) * 9 // 10])

    result = gimp("bad.jpg", *UNTRAINED, "--slide-mpp", "0.5")

    assert result.exit_code == 3
    assert "'bad.jpg': OSError: image file is truncated" in failures()["bad"]


def test_row_45_a_mirax_slide_without_its_folder_is_told():
    Image.new("RGB", (90, 70)).save("thumbnail.jpg")
    shutil.move("thumbnail.jpg", SLIDES / "bad.mrxs")

    assert_only_bad_fails(name="bad.mrxs", reason="lacks its folder 'bad'")


@needs_data
def test_row_45_a_dicom_slide_without_its_full_resolution_is_told():
    shutil.copytree(DATA / "real_slides" / "cmu1_dicom", SLIDES / "bad")
    (SLIDES / "bad").chmod(0o755)
    (SLIDES / "bad" / "level-0-frames-0-30.dcm").unlink()

    assert_only_bad_fails(name="bad", reason="lacks the file of its full resolution")


PATIENT = {"Patient": "DOE^JANE", "Patient ID": "4711-X", "DOB": "1950-02-03", "Filename": "jd.svs"}


def test_nothing_of_the_patient_leaves_a_slide(caplog):
    for name, mpp in (("good.svs", 0.5), ("bad.svs", "Jane half")):
        secret = "|".join(f"{key} = {value}" for key, value in PATIENT.items())
        make_slide(SLIDES / name, mpp=f"{mpp}|{secret}")
    with openslide.OpenSlide(SLIDES / "good.svs") as slide:
        assert slide.properties["aperio.Patient"] == "DOE^JANE"

    result = CliRunner().invoke(cli, ["-vv", "extract-features", "slides", *UNTRAINED])

    everything = b"".join(path.read_bytes() for path in Path("features").rglob("*"))
    told = result.stdout + result.stderr + caplog.text + everything.decode("latin-1")
    assert result.exit_code == 4
    assert (done(), list(failures())) == (["good"], ["bad"])
    assert "good" in told
    for secret in (*PATIENT.values(), "Jane half"):
        assert secret not in told


@pytest.mark.parametrize("name", ["<script>", "=HYPERLINK()", "+cmd|x", "@x", "a,b", 'a"b'])
def test_hostile_names_are_the_same_in_the_table_of_failures_and_run_nothing(name):
    (SLIDES / f"{name}.svs").write_bytes(b"")

    result = extract()

    text = Path("features/failures.csv").read_text()
    (row,) = csv.reader(text.splitlines()[1:])
    assert result.exit_code == 3
    assert failures().keys() == {name}
    assert not row[0].startswith(("=", "+", "@", "-"))


@pytest.mark.parametrize(("size", "n_patches"), [((300, 400), 1), ((600, 400), 2)])
def test_rows_24_and_25_slides_of_one_or_two_patches_work(size, n_patches):
    make_slide(SLIDES / "a.svs", size, tissue=[(0, 0, size[0], 256)])

    result = extract()

    (bag,) = list_bags(Path("features"))
    assert result.exit_code == 0
    assert bag.n_patches == n_patches


def test_row_25_a_slide_of_fewer_patches_than_landmarks_works():
    make_slide(SLIDES / "a.svs", (31 * 64, 100), tissue=[(0, 0, 31 * 64, 64)])

    result = extract("--patch-size", "64")

    (bag,) = list_bags(Path("features"))
    assert result.exit_code == 0
    assert read_coords(bag).tolist() == [[64 * column, 0] for column in range(31)]


def test_row_27_odd_names_work_and_a_newline_is_refused():
    odd = ["with space", "ü", "文字", "x" * 251, "-dash", "<script>", "=HYPERLINK()", "a'b\"c"]
    for name in odd:
        make_slide(SLIDES / f"{name}.svs")
    make_slide(SLIDES / "new\nline.svs")

    result = extract()

    assert result.exit_code == 4
    assert sorted(done()) == sorted(odd)
    assert "control character" in failures()["new\nline"]
    assert r"Error: 'new\nline' failed: " in result.stderr


def test_row_28_names_that_differ_by_case_or_folder_alone_get_a_bag_each():
    for seed, name in enumerate(("A.svs", "a.svs", "one/b.svs", "two/b.svs", "c.svs")):
        make_slide(SLIDES / name, seed=seed)

    first = extract()
    fingerprints = {bag.fingerprint for bag in list_bags(Path("features"))}
    second = extract()

    assert first.exit_code == 0
    assert sorted(name.lower()[:2] for name in done()) == ["a-", "a-", "b-", "b-", "c"]
    assert len(fingerprints) == 5
    assert "nothing to do, 5 slides done before" in second.stdout


def as_nobody(work):
    """Run something in a copy of this process without root's rights; give its exit code."""
    shared_readers()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            os.setgid(65534)
            os.setuid(65534)
            code = work().exit_code
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def everyones(monkeypatch):
    """Work in a folder that all users may enter; pytest's own are root's alone.

    Python may be so, too, so whatever an extraction imports is imported before rights are dropped.
    """
    if os.getuid() != 0:
        pytest.skip("rights are dropped in a child, which takes root")
    make_slide(Path("warm/good.svs"))
    Path("warm/bad.svs").touch()
    gimp("warm", *UNTRAINED)
    with tempfile.TemporaryDirectory() as folder, monkeypatch.context() as patch:
        Path(folder).chmod(0o777)
        patch.chdir(folder)
        yield


def test_row_29_a_file_without_the_right_to_read_it_is_told(everyones):
    make_slide(SLIDES / "bad.svs")
    make_slide(SLIDES / "good.svs")
    Path("slides/bad.svs").chmod(0)

    code = as_nobody(extract)

    assert code == 4
    assert failures().keys() == {"bad"}
    assert "no permission to read 'slides/bad.svs'" in failures()["bad"]
    assert done() == ["good"]


def test_row_29_a_folder_without_the_right_to_enter_it_is_told(everyones):
    make_slide(SLIDES / "good.svs")
    make_slide(SLIDES / "private" / "hidden.svs")
    (SLIDES / "private").chmod(0o700)

    def work():
        result = extract()
        Path("told").write_text(result.stderr)
        return result

    code = as_nobody(work)

    assert code == 0
    assert done() == ["good"]
    assert "cannot list the folder 'slides/private': Permission denied" in Path("told").read_text()


def test_row_30_an_output_that_cannot_be_reached_is_code_5(everyones):
    make_slide(SLIDES / "good.svs")
    Path("private").mkdir(0o700)

    code = as_nobody(lambda: extract("-o", "private/deep/features"))

    assert code == 5
    assert names("private") == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.write_bytes(path.read_bytes() + b"more"), "changed while it was read"),
        (os.utime, "changed while it was read"),
        (Path.unlink, "cannot be read: No such file"),
    ],
    ids=["grows", "is touched", "disappears"],
)
def test_row_44_a_slide_that_changes_while_it_is_read_fails(monkeypatch, change, reason):
    make_slide(SLIDES / "bad.svs")
    make_slide(SLIDES / "good.svs")
    plan = Reading.plan

    def plan_and_change(self):
        made = plan(self)
        if self._path.endswith("bad.svs"):
            change(Path(self._path))
        return made

    monkeypatch.setattr(Reading, "plan", plan_and_change)

    result = extract()

    assert result.exit_code == 4
    assert failures().keys() == {"bad"}
    assert "slides/bad.svs' " + reason in failures()["bad"]
    assert done() == ["good"]
    assert names("features") == ["failures.csv", "good.h5"]
