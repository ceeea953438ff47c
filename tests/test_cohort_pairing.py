from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gimp_plugin.cohort.pairing import Pairing, apply_missing, pair
from gimp_plugin.cohort.slide_names import SLIDE_SUFFIXES
from gimp_plugin.errors import ConfigError, PairingError
from gimp_plugin.slides.finding import NAMED_SUFFIXES
from gimp_plugin.storage.tables import Exclusion

DX = "TCGA-05-4244-01Z-00-DX1.d4ff32cd-38cf"
DX2 = "TCGA-05-4244-01Z-00-DX2.07c2a1b3-11aa"
FROZEN = "TCGA-05-4244-01A-01-BS1.94ee7a1b-2222"
NORMAL = "TCGA-05-4244-11A-01-TS1.5a0cf61e-3333"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "slides.csv"
    path.write_text("slide_id,case_id,label\ns2,A,x\ns1,A,x\ns3,B,y\ns4,Z,y\n")
    return path


def reasons(pairing: Pairing) -> dict[str, str]:
    return {
        exclusion.slide_id or exclusion.case_id: exclusion.reason
        for exclusion in pairing.exclusions
    }


# ---- where the case of a slide comes from


def test_the_slide_table_decides_and_slides_come_in_order(table: Path) -> None:
    pairing = pair(["B", "A"], ["s4", "s3", "s2", "s1"], slide_table=table)

    assert list(pairing.slides.items()) == [("B", ("s3",)), ("A", ("s1", "s2"))]
    assert pairing.unknown == {"Z": ("s4",)}


def test_the_slide_table_beats_the_names(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("slide_id,case_id\nA,B\n")

    pairing = pair(["A", "B"], ["A", "B"], slide_table=table, obs_slides={"A": "A", "B": "B"})

    assert pairing.slides == {"B": ("A",)}
    assert reasons(pairing) == {"B": f"not named in {str(table)!r}"}


def test_slides_of_the_table_without_features_are_listed(table: Path) -> None:
    pairing = pair(["A", "B"], ["s1", "s3"], slide_table=table)

    assert pairing.exclusions == (Exclusion("A", "s2", "pairing", "no features"),)


def test_the_table_may_name_tcga_cases_by_their_patient(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("slide_id,case_id\ns1,tcga-05-4244\ns2,TCGA-05-4249-01Z\n")

    pairing = pair(["TCGA-05-4244-01A", "TCGA-05-4249"], ["s1", "s2"], slide_table=table)

    assert pairing.slides == {"TCGA-05-4244-01A": ("s1",), "TCGA-05-4249": ("s2",)}


def test_the_column_of_obs_beats_the_names() -> None:
    pairing = pair(["A", "B"], ["A", "s1", "s2"], obs_slides={"A": "s2; s1", "B": float("nan")})

    assert pairing.slides == {"A": ("s1", "s2")}
    assert reasons(pairing) == {"A": "not named in obs['slide_id']"}


def test_an_empty_column_of_obs_leaves_it_to_the_names() -> None:
    assert pair(["A"], ["A"], obs_slides={"A": None}).slides == {"A": ("A",)}


def test_slides_of_the_cohorts_own_column_may_be_numbers():
    pairing = pair(["1", "2"], ["1", "2"], obs_slides={"1": 2, "2": 1.0})

    assert pairing.slides == {"1": ("2",), "2": ("1",)}


def test_equal_names_pair() -> None:
    pairing = pair(["A", "B"], ["B", "C"])

    assert pairing.slides == {"B": ("B",)}
    assert pairing.unknown == {"C": ("C",)}


def test_tcga_names_pair_by_their_first_12_characters() -> None:
    pairing = pair(["TCGA-05-4244", "TCGA-05-4249-01A"], [DX2, DX, "tcga-05-4249-01z-00-dx1"])

    assert pairing.slides == {
        "TCGA-05-4244": (DX, DX2),
        "TCGA-05-4249-01A": ("tcga-05-4249-01z-00-dx1",),
    }


def test_a_longer_number_is_no_tcga_case() -> None:
    assert not pair(["TCGA-05-4244"], ["TCGA-05-42445-01Z-00-DX1"]).slides


def test_two_rows_of_a_patient_are_ambiguous_by_name() -> None:
    with pytest.raises(PairingError) as caught:
        pair(["TCGA-05-4244-01A", "TCGA-05-4244-01B"], [DX])

    assert "'TCGA-05-4244' matches several rows" in str(caught.value)
    assert "first 12 characters" in str(caught.value)


def test_a_slide_of_two_cases_in_obs_is_refused() -> None:
    with pytest.raises(PairingError, match="gives slide 's1' to 'A' and 'B'"):
        pair(["A", "B"], ["s1"], obs_slides={"A": "s1", "B": "s1"})


# ---- how a table spells slides


def write_table(tmp_path: Path, **cases: str) -> Path:
    table = tmp_path / "t.csv"
    rows = [f"{name},{case_id}" for name, case_id in cases.items()]
    table.write_text("\n".join(["slide_id,case_id", *rows]) + "\n")
    return table


def test_suffixes_are_those_of_slides() -> None:
    assert SLIDE_SUFFIXES == NAMED_SUFFIXES


@pytest.mark.parametrize("suffix", [".svs", ".SVS", ".ome.tiff", ".ndpi"])
def test_a_table_may_name_slides_with_their_suffix(tmp_path: Path, suffix: str) -> None:
    table = write_table(tmp_path, **{f"s1{suffix}": "A", "s2": "B"})

    pairing = pair(["A", "B"], ["s1", "s2"], slide_table=table)

    assert pairing.slides == {"A": ("s1",), "B": ("s2",)}
    (warning,) = pairing.warnings
    assert "of 2 slides" in warning
    assert "1 less the slide suffix" in warning
    assert repr(str(table)) in warning


def test_an_equal_name_comes_before_the_name_less_its_suffix(tmp_path: Path) -> None:
    table = write_table(tmp_path, **{"s1.tif": "A"})

    pairing = pair(["A"], ["s1", "s1.tif"], slide_table=table)

    assert pairing.slides == {"A": ("s1.tif",)}
    assert reasons(pairing)["s1"].startswith("not named in")


def test_a_tcga_slide_may_be_named_without_its_uuid(tmp_path: Path) -> None:
    table = write_table(
        tmp_path, **{DX.partition(".")[0]: "A", DX2.partition(".")[0] + ".svs": "B"}
    )

    pairing = pair(["A", "B"], [DX, DX2], slide_table=table)

    assert pairing.slides == {"A": (DX,), "B": (DX2,)}
    assert "2 by the TCGA name that one slide begins with" in pairing.warnings[0]


def test_the_column_of_obs_may_be_spelled_so_too() -> None:
    pairing = pair(["A"], [DX, DX2], obs_slides={"A": f"{DX}.svs;{DX2.partition('.')[0]}"})

    assert pairing.slides == {"A": (DX, DX2)}
    assert (
        "1 by the TCGA name that one slide begins with, 1 less the slide suffix"
        in (pairing.warnings[0])
    )


def test_a_tcga_name_that_two_slides_begin_with_is_ambiguous(tmp_path: Path) -> None:
    bare = DX.partition(".")[0]
    table = write_table(tmp_path, **{bare: "A"})

    with pytest.raises(PairingError) as caught:
        pair(["A"], [DX, f"{bare}.aaaa"], slide_table=table)

    assert f"{bare!r} matches several slides: {bare + '.aaaa'!r}, {DX!r}" in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_tcga_name_is_no_beginning_of_a_longer_number(tmp_path: Path) -> None:
    table = write_table(tmp_path, **{"TCGA-05-4244-01Z-00-DX1": "A"})

    assert not pair(["A"], ["TCGA-05-4244-01Z-00-DX11.abcd"], slide_table=table).slides


def test_a_slide_named_twice_for_two_cases_is_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path, **{"s1": "A", "s1.svs": "B"})

    with pytest.raises(PairingError, match="gives slide 's1' to 'A' and 'B'"):
        pair(["A", "B"], ["s1"], slide_table=table)


def test_names_that_stand_as_they_are_bring_no_warning(table: Path) -> None:
    assert not pair(["A", "B"], ["s1", "s2", "s3"], slide_table=table).warnings


def test_the_rule_of_the_barcode_is_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="gimp_plugin")

    pair(["TCGA-05-4244", "B"], [DX, "B"])

    assert (
        "1 slide was assigned to its case by the first 12 characters of the TCGA barcode"
        in caplog.text
    )


# ---- what is not wanted


def test_normal_tissue_is_left_out_and_listed() -> None:
    pairing = pair(["TCGA-05-4244"], [DX, NORMAL])

    assert pairing.slides == {"TCGA-05-4244": (DX,)}
    assert pairing.exclusions[0].case_id == "TCGA-05-4244"
    assert pairing.exclusions[0].slide_id == NORMAL
    assert "normal tissue" in pairing.exclusions[0].reason
    assert "1 slide left out, normal tissue" in pairing.warnings[0]


def test_all_samples_keep_normal_tissue() -> None:
    pairing = pair(["TCGA-05-4244"], [NORMAL], slide_samples="all")

    assert pairing.slides == {"TCGA-05-4244": (NORMAL,)}


def test_normal_tissue_is_left_out_under_a_slide_table_too(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text(f"slide_id,case_id\n{NORMAL},A\ns1,A\n")

    assert pair(["A"], [NORMAL, "s1"], slide_table=table).slides == {"A": ("s1",)}


@pytest.mark.parametrize(
    ("code", "kept"), [("01", True), ("09", True), ("10", False), ("29", False), ("30", True)]
)
def test_sample_codes_10_to_29_are_not_tumour(code: str, kept: bool) -> None:
    slide_id = f"TCGA-05-4244-{code}A-01-TS1"

    assert (slide_id in pair(["TCGA-05-4244"], [slide_id]).slides.get("TCGA-05-4244", ())) is kept


@pytest.mark.parametrize(
    ("kind", "kept"), [("dx", (DX,)), ("frozen", (FROZEN,)), ("all", (FROZEN, DX))]
)
def test_slides_of_one_kind(kind: str, kept: tuple[str, ...]) -> None:
    pairing = pair(["TCGA-05-4244"], [DX, FROZEN], slide_kind=kind)

    assert pairing.slides == {"TCGA-05-4244": kept}
    assert len(pairing.exclusions) == 2 - len(kept)


def test_mixed_kinds_are_warned_of() -> None:
    (warning,) = pair(["TCGA-05-4244"], [DX, DX2, FROZEN]).warnings

    assert "2 diagnostic (DX) and 1 frozen" in warning
    assert "--slide-kind" in warning


def test_a_slide_that_does_not_tell_its_kind_is_left_out_when_one_is_asked_for() -> None:
    assert "no kind" in reasons(pair(["A"], ["A"], slide_kind="dx"))["A"]


@pytest.mark.parametrize("option", [{"slide_kind": "dxx"}, {"slide_samples": "tumor"}])
def test_unknown_choices_are_wrong_usage(option: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="did you mean"):
        pair(["A"], ["A"], **option)


# ---- what lacks its partner


@pytest.fixture
def half() -> Pairing:
    return pair(["A", "B", "C"], ["B", "Y", "Z"])


def test_drop_lists_both_sides(half: Pairing) -> None:
    pairing = apply_missing(half, ["A", "B", "C"], missing="drop")

    assert pairing.slides == {"B": ("B",)}
    assert pairing.exclusions == (
        Exclusion("A", "", "pairing", "no slide"),
        Exclusion("C", "", "pairing", "no slide"),
        Exclusion("Y", "Y", "pairing", "its case is not in the cohort"),
        Exclusion("Z", "Z", "pairing", "its case is not in the cohort"),
    )
    assert "2 of 3 cases left out (no slide): 'A', 'C'" in pairing.warnings[0]
    assert "2 slides left out (case not in the cohort)" in pairing.warnings[1]


def test_keep_keeps_both_sides(half: Pairing) -> None:
    pairing = apply_missing(half, ["A", "B", "C"], missing="keep")

    assert list(pairing.slides.items()) == [
        ("A", ()),
        ("B", ("B",)),
        ("C", ()),
        ("Y", ("Y",)),
        ("Z", ("Z",)),
    ]
    assert not pairing.exclusions


def test_error_names_both_sides(half: Pairing) -> None:
    with pytest.raises(PairingError) as caught:
        apply_missing(half, ["A", "B", "C"], missing="error")

    assert "2 of 3 cases have no slide: 'A', 'C'" in str(caught.value)
    assert "2 slides do not belong to any case of the cohort: 'Y', 'Z'" in str(caught.value)
    assert caught.value.exit_code == 3


def test_error_accepts_a_whole_pairing() -> None:
    pairing = apply_missing(pair(["A"], ["A"]), ["A"], missing="error")

    assert pairing.slides == {"A": ("A",)}


@pytest.mark.parametrize("missing", ["drop", "keep", "error"])
@pytest.mark.parametrize("slide_ids", [["x", "y"], []])
def test_nothing_paired_is_refused(missing: str, slide_ids: list[str]) -> None:
    with pytest.raises(PairingError, match="no slide belongs to a case of the cohort") as caught:
        apply_missing(pair(["A", "B"], slide_ids), ["A", "B"], missing=missing)

    assert caught.value.exit_code == 3
    assert "--slide-table" in str(caught.value)


def test_nothing_paired_tells_of_slides_that_were_left_out() -> None:
    with pytest.raises(PairingError, match="1 slide left out"):
        apply_missing(pair(["TCGA-05-4244"], [NORMAL]), ["TCGA-05-4244"], missing="drop")


def test_an_unknown_way_is_wrong_usage(half: Pairing) -> None:
    with pytest.raises(ConfigError, match="did you mean 'drop'"):
        apply_missing(half, ["A"], missing="drops")


# ---- laws


NAMES = st.lists(
    st.one_of(
        st.sampled_from(["A", "B", "C", "D"]),
        st.builds(
            "TCGA-05-{}-{}".format,
            st.sampled_from(["0001", "0002", "0003"]),
            st.sampled_from(["01Z-00-DX1", "01Z-00-DX2", "01A-01-TS1", "11A-01-BS1"]),
        ),
    ),
    unique=True,
)
CASES = st.lists(st.sampled_from(["A", "B", "E", "TCGA-05-0001", "TCGA-05-0002"]), unique=True)


@given(case_ids=CASES, slide_ids=NAMES, kind=st.sampled_from(["all", "dx", "frozen"]))
def test_each_slide_ends_in_one_place(case_ids: list[str], slide_ids: list[str], kind: str) -> None:
    pairing = pair(case_ids, slide_ids, slide_kind=kind)

    placed = [
        *(slide for slides in pairing.slides.values() for slide in slides),
        *(slide for slides in pairing.unknown.values() for slide in slides),
        *(exclusion.slide_id for exclusion in pairing.exclusions),
    ]
    assert sorted(placed) == sorted(slide_ids)
    assert all(list(slides) == sorted(slides) for slides in pairing.slides.values())


@given(case_ids=CASES, slide_ids=NAMES, data=st.data())
def test_the_order_of_the_slides_is_of_no_account(
    case_ids: list[str], slide_ids: list[str], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(slide_ids))

    assert pair(case_ids, shuffled) == pair(case_ids, slide_ids)
