"""Slides of several files, and which of them lacks."""

from __future__ import annotations

import os
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from gimp_plugin.errors import SlideError
from gimp_plugin.slides.companions import DICOM_TAGS, WHOLE_SLIDE_IMAGE
from gimp_plugin.slides.diagnosis import check_file, fingerprint
from gimp_plugin.slides.finding import find_slides, slide_parts

MIRAX = "\ufeff[GENERAL]\nSLIDE_ID = x\n[HIERARCHICAL]\nINDEXFILE = Index.dat\n[DATAFILE]\nFILE_COUNT = 2\nFILE_0 = Data0000.dat\nFILE_1 = Data0001.dat\n"  # noqa: E501  # as the scanner writes it
HAMAMATSU = "[Virtual Microscope Specimen]\nNoJpegColumns=2\nImageFile=a.jpg\nImageFile(1,0)=b.jpg\nMapFile=map.jpg\nPatient=100%\n"  # noqa: E501  # as the scanner writes it


def refusal(path):
    with pytest.raises(SlideError) as caught:
        check_file(path)
    assert path.name in caught.value.problem
    return caught.value.problem


def write_mirax(folder):
    (folder / "m").mkdir()
    (folder / "m.mrxs").write_bytes(b"\xff\xd8\xff")
    (folder / "m" / "Slidedat.ini").write_text(MIRAX, encoding="utf-8")
    for name in ("Index.dat", "Data0000.dat", "Data0001.dat"):
        (folder / "m" / name).write_bytes(b"data")
    return folder / "m.mrxs"


def write_hamamatsu(folder):
    (folder / "h.vms").write_text(HAMAMATSU)
    for name in ("a.jpg", "b.jpg", "map.jpg"):
        (folder / name).write_bytes(b"data")
    return folder / "h.vms"


def write_dicom(path, **changes):
    """Write the head of a file of a DICOM slide."""
    values = {
        "SOPClassUID": WHOLE_SLIDE_IMAGE, "SeriesInstanceUID": "1.2.3", "NumberOfFrames": "6",
        "ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "Rows": 100, "Columns": 100,
        "TotalPixelMatrixRows": 150, "TotalPixelMatrixColumns": 299,
        "DimensionOrganizationType": "TILED_FULL", "PatientName": "DOE^JANE",
    } | changes  # fmt: skip
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = values["SOPClassUID"]
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    for name, value in values.items():
        setattr(data, name, value)
    path.parent.mkdir(exist_ok=True)
    data.save_as(path)
    return path


def write_slide(folder, **changes):
    write_dicom(folder / "0.dcm", **changes)
    small = {"NumberOfFrames": "2", "TotalPixelMatrixRows": 75, "TotalPixelMatrixColumns": 150}
    write_dicom(folder / "1.dcm", **small, ImageType=["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"])
    return folder


def test_whole_slides_of_several_files_pass(tmp_path):
    for path in (write_mirax(tmp_path), write_hamamatsu(tmp_path), write_slide(tmp_path / "d")):
        check_file(path)


@pytest.mark.parametrize("name", ["Slidedat.ini", "Index.dat", "Data0001.dat"])
def test_row_45_a_mirax_slide_that_lacks_a_file_is_told_which(tmp_path, name):
    path = write_mirax(tmp_path)
    (tmp_path / "m" / name).unlink()

    assert f"lacks '{tmp_path / 'm' / name}'" in refusal(path)


def test_row_45_a_mirax_slide_without_its_folder_is_told(tmp_path):
    (tmp_path / "m.mrxs").write_bytes(b"\xff\xd8\xff")

    assert "lacks its folder 'm', which holds its pixels" in refusal(tmp_path / "m.mrxs")


@pytest.mark.parametrize("name", ["a.jpg", "b.jpg", "map.jpg"])
def test_a_hamamatsu_slide_that_lacks_a_file_is_told_which(tmp_path, name):
    path = write_hamamatsu(tmp_path)
    (tmp_path / name).unlink()

    assert f"lacks '{tmp_path / name}'" in refusal(path)


def test_a_part_that_is_a_pipe_is_not_opened(tmp_path):
    path = write_hamamatsu(tmp_path)
    (tmp_path / "b.jpg").unlink()
    os.mkfifo(tmp_path / "b.jpg")

    assert "parts that are not files" in refusal(path)


def test_every_part_counts_for_the_fingerprint(tmp_path):
    for path in (write_mirax(tmp_path), write_hamamatsu(tmp_path)):
        before = fingerprint(path)
        slide_parts(path)[-1].write_bytes(b"DATA")

        assert fingerprint(path) != before


def test_row_45_a_dicom_slide_without_its_full_resolution_is_told(tmp_path):
    folder = write_slide(tmp_path / "d")
    (folder / "0.dcm").unlink()

    assert "lacks the file of its full resolution" in refusal(folder)


def test_a_dicom_slide_that_lacks_part_of_a_level_is_told_which(tmp_path):
    for number in (1, 3):
        write_dicom(
            tmp_path / "d" / f"{number}.dcm", ConcatenationUID="1.5", InConcatenationNumber=number,
            InConcatenationTotalNumber=3, NumberOfFrames="2",
        )  # fmt: skip

    assert "lacks part '2' of 3 of a level" in refusal(tmp_path / "d")

    write_dicom(
        tmp_path / "d" / "2.dcm", ConcatenationUID="1.5", InConcatenationNumber=2,
        InConcatenationTotalNumber=3, NumberOfFrames="2",
    )  # fmt: skip
    check_file(tmp_path / "d")


def test_a_dicom_level_with_too_few_tiles_is_told(tmp_path):
    folder = write_slide(tmp_path / "d", NumberOfFrames="5")

    assert "0.dcm' has 5 tiles, but its size needs 6" in refusal(folder)


def test_two_dicom_slides_in_a_folder_are_not_taken_for_one(tmp_path):
    folder = write_slide(tmp_path / "d")
    write_dicom(folder / "other.dcm", SeriesInstanceUID="1.2.9")

    assert "holds 2 DICOM series, expected the files of one slide" in refusal(folder)


def test_other_dicom_files_beside_a_slide_are_passed_over(tmp_path):
    folder = write_slide(tmp_path / "d")
    write_dicom(
        folder / "note.dcm",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11",
        SeriesInstanceUID="1.2.9",
    )

    check_file(folder)


def test_a_folder_of_dicom_files_of_another_kind_is_no_slide(tmp_path):
    write_dicom(tmp_path / "ct" / "1.dcm", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")

    assert "holds no whole-slide image" in refusal(tmp_path / "ct")


@pytest.mark.parametrize("content", [b"", b"hello", bytes(500)])
def test_a_file_that_is_no_dicom_is_named(tmp_path, content):
    folder = write_slide(tmp_path / "d")
    (folder / "0.dcm").write_bytes(content)

    assert "0.dcm' is not a DICOM file, or is incomplete" in refusal(folder)


def test_one_dicom_file_stands_for_the_slide_it_is_part_of(tmp_path):
    folder = write_slide(tmp_path / "d")

    assert [part.name for part in slide_parts(folder / "1.dcm")] == ["1.dcm", "0.dcm"]
    assert [slide.slide_id for slide in find_slides([folder / "1.dcm"])] == ["1"]


def test_nothing_of_the_patient_is_among_the_tags_that_are_looked_at():
    names = [pydicom.datadict.tag_for_keyword(name) for name in DICOM_TAGS]

    assert len(names) == 14
    assert all(name is not None and name >> 16 != 0x0010 for name in names)


@pytest.mark.parametrize("text", ["", "[broken\n=x\n\0", "key without section\n"])
def test_a_list_of_files_that_is_none_is_left_to_the_reader(tmp_path, text):
    path = Path(tmp_path / "h.vms")
    path.write_text(text or " ")

    assert slide_parts(path) == [path]
