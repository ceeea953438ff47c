"""Which files are slides, and their names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gimp_plugin.errors import MissingFileError
from gimp_plugin.slides.finding import find_slides, is_dicom_folder, slide_name, slide_parts


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def ids(paths):
    return [slide.slide_id for slide in find_slides(paths)]


@pytest.mark.parametrize(
    ("name", "slide_id"),
    [
        ("a.svs", "a"),
        ("A.SVS", "A"),
        ("TCGA-05-4244-01Z-00-DX1.d4ff32cd-38cf.svs", "TCGA-05-4244-01Z-00-DX1.d4ff32cd-38cf"),
        ("a.ome.tiff", "a"),
        ("1.5mm.ndpi", "1.5mm"),
        ("no-suffix", "no-suffix"),
        ("-dash 文字 ü.svs", "-dash 文字 ü"),
        (".svs", ".svs"),
    ],
)
def test_a_slide_is_named_by_its_file_less_the_slide_suffix(name, slide_id):
    assert slide_name(Path(name)) == slide_id


def test_folders_are_searched_for_slides_only(tmp_path):
    touch(
        tmp_path, "b.svs", "sub/deep/a.ndpi", "logs/x.svs", ".hidden.svs", ".folder/y.svs",
        "c.svs.partial", "annotations.txt", "MANIFEST.txt", "thumbnail.png", "d.svs.parcel",
    )  # fmt: skip

    assert ids([tmp_path]) == ["a", "b"]


def test_a_picture_is_a_slide_when_it_is_named_itself(tmp_path):
    touch(tmp_path, "a.png")

    assert ids([tmp_path / "a.png"]) == ["a"]


def test_a_folder_of_dicom_files_is_one_slide(tmp_path):
    touch(tmp_path, "scan/level-0.dcm", "scan/level-1.dcm", "a.svs")

    (a, scan) = find_slides([tmp_path])

    assert (a.slide_id, scan.slide_id) == ("a", "scan")
    assert is_dicom_folder(scan.path)
    assert [part.name for part in slide_parts(scan.path)] == ["level-0.dcm", "level-1.dcm"]
    assert ids([tmp_path / "scan"]) == ["scan"]


def test_the_files_of_a_mirax_slide_belong_to_it(tmp_path):
    touch(tmp_path, "m.mrxs", "m/Data0000.dat", "m/Slidedat.ini")

    assert ids([tmp_path]) == ["m"]
    assert [part.name for part in slide_parts(tmp_path / "m.mrxs")] == [
        "m.mrxs",
        "Data0000.dat",
        "Slidedat.ini",
    ]


def test_slides_of_one_name_both_carry_a_hash_of_their_place(tmp_path):
    touch(tmp_path, "one/a.svs", "two/a.svs", "b.svs")

    first = ids([tmp_path])

    assert first[2] == "b"
    assert [name.rpartition("-")[0] for name in first[:2]] == ["a", "a"]
    assert len({*first}) == 3
    assert ids([tmp_path / "two", tmp_path / "one"]) == first[:2]


def test_names_that_differ_by_case_alone_clash(tmp_path):
    touch(tmp_path, "A.svs", "a.tiff")

    assert [name[:2].lower() for name in ids([tmp_path])] == ["a-", "a-"]


def test_a_slide_that_is_named_twice_is_one(tmp_path):
    touch(tmp_path, "a.svs")

    assert ids([tmp_path, tmp_path / "a.svs"]) == ["a"]


def test_links_in_a_circle_are_walked_once(tmp_path):
    touch(tmp_path, "sub/a.svs")
    (tmp_path / "sub" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to("self")

    assert ids([tmp_path]) == ["a"]


def test_what_only_looks_like_a_slide_is_found_too_and_checked_later(tmp_path):
    (tmp_path / "folder.svs").mkdir()
    touch(tmp_path, "folder.svs/inside.svs")
    (tmp_path / "dangling.svs").symlink_to("nowhere.svs")
    os.mkfifo(tmp_path / "pipe.svs")

    assert ids([tmp_path]) == ["dangling", "folder", "pipe"]


def test_paths_that_do_not_exist_are_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"slidez.*nothing\.svs"):
        find_slides([tmp_path / "slidez", tmp_path, tmp_path / "nothing.svs"])


def test_a_folder_without_slides_is_an_error(tmp_path):
    touch(tmp_path, "slides.csv")

    with pytest.raises(MissingFileError, match="no slides in"):
        find_slides([tmp_path])
