"""What is said of files that are no slides, before a decoder touches them."""

from __future__ import annotations

import os
import struct

import pytest

from gimp_plugin.errors import SlideError
from gimp_plugin.slides.diagnosis import check_file, fingerprint, state
from gimp_plugin.slides.tiff import check_whole
from tests.slide_factory import make_slide


def refusal(path):
    with pytest.raises(SlideError) as caught:
        check_file(path)
    assert repr(path.name)[1:-1] in caught.value.problem
    return caught.value.problem


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.svs", b"", r"empty file"),
        ("a.svs", b"\n<!DOCTYPE html><p>404</p>", "this is HTML"),
        ("a.svs", b"error: no such object", "text"),
        ("a.svs", bytes(range(128, 256)) * 8, "unknown content (it starts with 80818283)"),
        ("a.vms", b"<html></html>", "HTML"),
    ],
)
def test_other_contents_are_called_what_they_are(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)

    problem = refusal(path)

    assert reason in problem.replace("is HTML", "this is HTML")


def test_a_text_file_that_may_be_a_slide_passes(tmp_path):
    path = tmp_path / "a.vms"
    path.write_text("[Virtual Microscope Specimen]\n")

    check_file(path)


def test_folders_and_pipes_are_no_slides(tmp_path):
    (tmp_path / "a.svs").mkdir()
    os.mkfifo(tmp_path / "b.svs")

    assert "is a folder" in refusal(tmp_path / "a.svs")
    assert "is a FIFO" in refusal(tmp_path / "b.svs")


def test_links_that_lead_nowhere_are_named_with_both_ends(tmp_path):
    (tmp_path / "a.svs").symlink_to("gone.svs")
    (tmp_path / "b.svs").symlink_to("b.svs")

    assert "gone.svs" in refusal(tmp_path / "a.svs")
    assert "symbolic links" in refusal(tmp_path / "b.svs")


def test_control_characters_in_a_name_are_refused(tmp_path):
    path = tmp_path / "a\nb.svs"
    path.touch()

    assert "control character" in refusal(path)


def test_an_unreadable_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.svs"
    make_slide(path, (300, 300))
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests may run as root

    assert "no permission to read" in refusal(path)


def test_a_whole_tiff_passes(tmp_path):
    path = tmp_path / "a.svs"
    make_slide(path)

    check_file(path)
    check_whole(path)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.9, 0.99, 0.9999])
def test_a_truncated_tiff_is_told_with_its_size(tmp_path, share):
    path = tmp_path / "a.svs"
    make_slide(path)
    data = path.read_bytes()[: int(path.stat().st_size * share)]
    path.write_bytes(data)

    with pytest.raises(SlideError, match=rf"a\.svs.*it has {len(data)} bytes.*past the end"):
        check_whole(path)


def test_pages_that_form_a_loop_are_told(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8))

    with pytest.raises(SlideError, match="loop"):
        check_whole(path)


def test_a_tiff_that_claims_billions_of_tiles_is_told(tmp_path):
    path = tmp_path / "a.tif"
    tags = struct.pack("<HHII", 324, 4, 2**31, 8) + struct.pack("<HHII", 325, 4, 2**31, 8)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 2) + tags + bytes(4))

    with pytest.raises(SlideError, match="past the end"):
        check_whole(path)


def test_the_fingerprint_is_of_the_content_alone(tmp_path):
    make_slide(tmp_path / "a.svs", seed=1)
    make_slide(tmp_path / "b.svs", seed=1)
    make_slide(tmp_path / "c.svs", seed=2)

    a, b, c = (fingerprint(tmp_path / f"{name}.svs") for name in "abc")

    assert a == b != c


def test_the_fingerprint_of_a_folder_covers_its_files(tmp_path):
    (tmp_path / "1.dcm").write_bytes(b"one")
    before = fingerprint(tmp_path)
    (tmp_path / "2.dcm").write_bytes(b"two")

    assert fingerprint(tmp_path) != before


def test_a_slide_that_is_gone_is_named(tmp_path):
    for look in (fingerprint, state):
        with pytest.raises(SlideError, match=r"gone\.svs' cannot be read: No such file"):
            look(tmp_path / "gone.svs")


def test_a_change_is_seen_by_size_or_time(tmp_path):
    path = tmp_path / "a.svs"
    path.write_bytes(b"12")
    before = state(path)
    os.utime(path, ns=(0, 0))

    assert state(path) != before
