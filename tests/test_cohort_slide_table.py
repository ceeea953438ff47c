from __future__ import annotations

from pathlib import Path

import pytest

from gimp_plugin.cohort.pairing import pair
from gimp_plugin.errors import MissingFileError, PairingError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "slides.csv"


def refusal(*, contents: str, path: Path) -> str:
    path.write_text(contents)
    with pytest.raises(PairingError) as caught:
        pair(["A", "B"], ["s1", "s2"], slide_table=path)
    assert caught.value.exit_code == 3
    assert path.name in str(caught.value)
    assert path.read_text() == contents
    return str(caught.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.csv"):
        pair(["A"], ["s1"], slide_table=tmp_path / "nowhere.csv")


def test_a_slide_of_two_cases_in_the_table_is_refused(table: Path) -> None:
    message = refusal(contents="slide_id,case_id\ns1,A\ns1,B\n", path=table)

    assert "slide 's1' to 'A' and 'B'" in message


def test_a_repeated_row_is_of_no_account(table: Path) -> None:
    table.write_text("slide_id,case_id\ns1,A\ns1,A\n")

    assert pair(["A"], ["s1"], slide_table=table).slides == {"A": ("s1",)}


def test_a_missing_column_offers_the_nearest(table: Path) -> None:
    message = refusal(contents="slide,case_id\ns1,A\n", path=table)

    assert "no column 'slide_id', did you mean 'slide'?" in message


def test_an_empty_cell_is_named_by_its_row(table: Path) -> None:
    assert "row 3: case_id is empty" in refusal(
        contents="slide_id,case_id\ns1,A\ns2,\n", path=table
    )


def test_a_table_without_rows_is_refused(table: Path) -> None:
    assert "has no row" in refusal(contents="slide_id,case_id\n", path=table)


def test_a_table_that_is_no_text_is_refused(table: Path) -> None:
    table.write_bytes(b"slide_id,case_id\n\xff\xfe,A\n")

    with pytest.raises(PairingError, match="cannot be read"):
        pair(["A"], ["s1"], slide_table=table)


def test_the_table_of_stamp_is_read(table: Path) -> None:
    table.write_text("PATIENT,FILENAME\nA,site/s2.h5\nB,s1.h5\n")

    assert pair(["A", "B"], ["s1", "s2"], slide_table=table).slides == {"A": ("s2",), "B": ("s1",)}


def test_half_of_stamps_header_is_not_guessed(table: Path) -> None:
    message = refusal(contents="PATIENT,slides\nA,s1\n", path=table)

    assert "no column 'slide_id', did you mean 'slides'?" in message
