"""`gimp import-genes` and `gimp import-slides`: exit codes, messages, outputs, going on."""

from __future__ import annotations

import csv
import json
import os
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from gimp_plugin.cli.main import cli
from gimp_plugin.cohort.expression import labels_of, read_cohort
from gimp_plugin.cohort.slide_table import read_slide_table
from tests.cohort_factory import make_cohort
from tests.expression_factory import ALIQUOTS, CHOSEN, write_star

SLIDES = (
    "TCGA-05-4244-01Z-00-DX1.d4ff32cd-38cf-40ea-8213-45c2b100ac01.svs",
    "TCGA-05-4244-01A-01-TS1.aaaa32cd-38cf-40ea-8213-45c2b100ac01.svs",
    "TCGA-05-4249-11A-01-BS1.bbbb32cd-38cf-40ea-8213-45c2b100ac01.svs",
)


@pytest.fixture
def gimp(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(cli, arguments)


@pytest.fixture
def star(tmp_path):
    return write_star(tmp_path / "star", sheet="metadata")


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def manifest(tmp_path, names, *, header="id\tfilename\tmd5\tsize\tstate\n"):
    path = tmp_path / "gdc_manifest.txt"
    path.write_text(header + "".join(f"a\t{name}\tb\t1\treleased\n" for name in names))
    return path


def test_a_folder_of_the_gdc_becomes_a_cohort_that_training_reads(gimp, star, tmp_path):
    result = gimp("import-genes", "star")

    cohort = read_cohort(tmp_path / "genes.h5ad")
    assert result.exit_code == 0
    assert "no normal tissue" in result.stdout
    assert result.stdout.endswith("genes.h5ad: 4 cases, 5 genes, scale fpkm\n")
    assert cohort.case_ids == tuple(sorted(CHOSEN))
    assert not cohort.scale_guessed
    assert set(labels_of(cohort, "label").values()) == {"LUAD", "LUSC"}


def test_json_has_the_counts_and_the_hashes(gimp, star):
    found = json.loads(gimp("import-genes", "star", "--json").stdout)

    assert found["outcome"] == "done"
    assert {"rule": "no normal tissue", "unit": "samples", "before": 9, "after": 8} in found[
        "counts"
    ]
    assert found["gene_model"] == "GENCODE v36"
    assert len(found["files"]) == len(ALIQUOTS) + 1
    assert all(len(one["sha256"]) == 64 for one in found["files"])
    assert str(star) not in json.dumps(found["files"])


def test_the_same_command_again_changes_nothing_and_another_is_refused(gimp, star, tmp_path):
    gimp("import-genes", "star")
    before = contents(tmp_path)

    again = gimp("import-genes", "star")
    other = gimp("import-genes", "star", "--scale", "tpm")

    assert (again.exit_code, other.exit_code) == (0, 3)
    assert "nothing to do" in again.stdout
    assert "scale: None -> tpm" in other.stderr
    assert "--overwrite" in other.stderr
    assert contents(tmp_path) == before
    assert gimp("import-genes", "star", "--scale", "tpm", "--overwrite").exit_code == 0


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
def test_a_foreign_file_at_the_output_is_left_alone(gimp, star, tmp_path, flags):
    manifest(tmp_path, SLIDES)
    make_cohort(tmp_path / "genes.h5ad")
    (tmp_path / "slides.csv").write_text("slide_id,case_id\ns,mine\n")
    before = contents(tmp_path)

    genes = gimp("import-genes", "star", *flags)
    slides = gimp("import-slides", "gdc_manifest.txt", *flags)

    assert (genes.exit_code, slides.exit_code) == (3, 3)
    assert "'genes.h5ad' already exists and was not written by gimp import-genes" in genes.stderr
    assert "'slides.csv' already exists and was not written by gimp import-slides" in slides.stderr
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere"], 3, "no file or folder 'nowhere'"),
        (["star", "--format", "strar"], 2, "star"),
        (["star", "--scale", "fpmk"], 2, "did you mean 'fpkm'"),
        (["star", "--scale", "log2"], 2, "STAR files have"),
        (["star", "--obs-filter", "stage"], 2, "write column=value"),
        (["star", "--obs-filter", "stagee=I"], 3, "no column 'stagee'"),
        (["star", "--label-key", "Project"], 3, "did you mean 'Project ID'"),
        (["star", "--case-key", "Case"], 3, "no column 'Case'"),
        (["star", "--labels", "none.csv"], 3, "no table 'none.csv'"),
        (["star", "--gene-table", "none.csv"], 3, "no table 'none.csv'"),
        (["star", "--obs-filter", "label=X"], 3, "no case is left"),
        (["star", "--gene-ids", "symbols"], 3, "no gene left"),
    ],
)
@pytest.mark.usefixtures("star")
def test_what_is_wrong_is_named_and_nothing_is_written(gimp, tmp_path, arguments, code, message):
    before = contents(tmp_path)

    result = gimp("import-genes", *arguments)

    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert contents(tmp_path) == before


def test_a_feature_file_is_no_expression(gimp, tmp_path):
    import h5py

    with h5py.File(tmp_path / "bag.h5", "w") as file:
        file["features"] = [[1.0]]

    result = gimp("import-genes", "bag.h5")

    assert result.exit_code == 3
    assert "is a feature file" in result.stderr


def test_slides_of_a_manifest_become_a_slide_table(gimp, tmp_path):
    manifest(tmp_path, SLIDES)

    result = gimp("import-slides", "gdc_manifest.txt")

    with (tmp_path / "slides.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert result.exit_code == 0
    assert "3 slides (1 dx, 2 frozen) of 2 cases" in result.stdout
    assert [tuple(row.values()) for row in rows] == [
        (SLIDES[1].removesuffix(".svs"), "TCGA-05-4244", "frozen", "Primary Tumor"),
        (SLIDES[0].removesuffix(".svs"), "TCGA-05-4244", "dx", "Primary Tumor"),
        (SLIDES[2].removesuffix(".svs"), "TCGA-05-4249", "frozen", "Solid Tissue Normal"),
    ]
    assert set(read_slide_table(tmp_path / "slides.csv")) == {row["slide_id"] for row in rows}


def test_rows_that_are_no_slide_of_a_case_are_listed(gimp, tmp_path):
    manifest(tmp_path, [SLIDES[0], "notes.txt", "C3L-00001-21.svs", SLIDES[0]])

    result = gimp("import-slides", "gdc_manifest.txt")

    with (tmp_path / "slides.exclusions.csv").open() as file:
        reasons = sorted(row["reason"] for row in csv.DictReader(file))
    assert result.exit_code == 4
    assert "3 rows were left out" in result.stderr
    assert reasons == [
        "C3L-00001-21.svs: neither the name nor a sample sheet tells its case",
        f"{SLIDES[0]}: the slide is listed twice",
        "notes.txt: no slide",
    ]


def test_a_sample_sheet_names_the_cases_that_file_names_do_not(gimp, tmp_path):
    manifest(tmp_path, ["C3L-00001-21.svs"])
    (tmp_path / "sheet.tsv").write_text(
        "File Name\tCase ID\tSample ID\tSample Type\n"
        "C3L-00001-21.svs\tC3L-00001\tC3L-00001-21\tPrimary Tumor\n"
    )

    result = gimp("import-slides", "gdc_manifest.txt", "--sample-sheet", "sheet.tsv")

    assert result.exit_code == 0
    assert (tmp_path / "slides.csv").read_text().splitlines()[
        1
    ] == "C3L-00001-21,C3L-00001,,Primary Tumor"


def test_a_slide_table_is_not_replaced_by_another(gimp, tmp_path):
    manifest(tmp_path, SLIDES)
    gimp("import-slides", "gdc_manifest.txt")
    before = contents(tmp_path)[tmp_path / "slides.csv"]

    again = gimp("import-slides", "gdc_manifest.txt")
    manifest(tmp_path, SLIDES[:1])
    other = gimp("import-slides", "gdc_manifest.txt")

    assert "nothing to do" in again.stdout
    assert other.exit_code == 3
    assert "'slides.csv' holds another table" in other.stderr
    assert (tmp_path / "slides.csv").read_bytes() == before


def test_what_is_no_manifest_is_named(gimp, tmp_path):
    manifest(tmp_path, SLIDES, header="a\tb\tc\td\te\n")

    result = gimp("import-slides", "gdc_manifest.txt")

    assert result.exit_code == 3
    assert "is not a GDC manifest" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["gdc_manifest.txt"]


MATRIX = "case_id,TP53,KRAS\nP1,99.5,1\nP2,3,4\n"


@pytest.mark.parametrize("option", ["--labels", "--gene-table", "--aliquots", "--sample-sheet"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_table_that_is_no_file_is_named(gimp, star, tmp_path, option, make):
    make(tmp_path / "odd.json")

    result = gimp("import-genes", "star", option, "odd.json")

    assert result.exit_code == 3
    assert result.stderr.startswith("Error: 'odd.json' is not a file")
    assert not (tmp_path / "genes.h5ad").exists()


@pytest.mark.parametrize("words", [("--sample-sheet", "sheet.tsv"), ("sheet.tsv",)])
def test_a_sample_sheet_beside_a_table_of_cases_is_refused(gimp, tmp_path, words):
    (tmp_path / "table.csv").write_text(MATRIX)
    header = "File ID\tFile Name\tCase ID\tSample ID\tSample Type\n"
    (tmp_path / "sheet.tsv").write_text(header + "a\tb.tsv\tP1\tP1-01A\tPrimary Tumor\n")
    before = contents(tmp_path)

    result = gimp("import-genes", "table.csv", *words)

    assert result.exit_code == 2
    assert "'sheet.tsv' tells of files of one aliquot; 'table.csv' is matrix" in result.stderr
    assert contents(tmp_path) == before


def test_a_list_of_aliquots_may_have_one_column(gimp, tmp_path):
    (tmp_path / "table.csv").write_text(MATRIX)
    (tmp_path / "list.csv").write_text("sample_id\nP9\n")

    result = gimp("import-genes", "table.csv", "--aliquots", "list.csv")

    assert result.exit_code == 3
    assert "'list.csv' names 1 samples that do not exist or were left out: 'P9'" in result.stderr


def test_the_same_table_elsewhere_gives_the_same_bytes(gimp, tmp_path):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "table.csv").write_text(MATRIX)

    here = gimp("import-genes", "here/table.csv", "-o", "here/g.h5ad")
    there = gimp("import-genes", "there/table.csv", "-o", "there/g.h5ad")

    assert "'here/table.csv' does not declare its scale" in here.stderr
    assert "'there/table.csv' does not declare its scale" in there.stderr
    assert (tmp_path / "here/g.h5ad").read_bytes() == (tmp_path / "there/g.h5ad").read_bytes()


def test_an_input_is_not_replaced_under_another_spelling(gimp, tmp_path):
    (tmp_path / "table.csv").write_text(MATRIX)
    gimp("import-genes", "table.csv", "-o", "own.h5ad")
    (tmp_path / "folder").mkdir()
    before = contents(tmp_path)

    result = gimp("import-genes", "own.h5ad", "-o", "folder/../own.h5ad", "--overwrite")

    assert result.exit_code == 3
    assert "'own.h5ad' is both input and output" in result.stderr
    assert contents(tmp_path) == before


def test_a_cohort_is_called_h5ad(gimp, tmp_path):
    (tmp_path / "table.csv").write_text(MATRIX)

    result = gimp("import-genes", "table.csv", "-o", "genes.csv")

    assert result.exit_code == 2
    assert "ends in .h5ad" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_decimal_comma_is_named(gimp, tmp_path):
    (tmp_path / "table.csv").write_text("case_id;TP53;KRAS\nP1;1,5;2\nP2;3;4\n")

    result = gimp("import-genes", "table.csv")

    assert result.exit_code == 3
    assert "row 1 ('P1'), column 'TP53': '1,5' is not a number" in result.stderr
    assert "with a decimal point" in result.stderr


def test_the_name_above_the_cases_is_offered_for_case_key(gimp, tmp_path):
    (tmp_path / "table.csv").write_text(MATRIX)

    result = gimp("import-genes", "table.csv", "--case-key", "cas_id")

    assert result.exit_code == 3
    assert "no column 'cas_id', did you mean 'case_id'?" in result.stderr


def test_a_manifest_is_not_replaced_by_its_own_table(gimp, tmp_path):
    path = manifest(tmp_path, SLIDES)
    before = contents(tmp_path)

    result = gimp("import-slides", path.name, "-o", path.name, "--overwrite")

    assert result.exit_code == 3
    assert "is both input and output" in result.stderr
    assert contents(tmp_path) == before


def test_a_table_in_the_folder_that_may_not_be_read_is_named(gimp, star, tmp_path, monkeypatch):
    (star / "notes.txt").write_text("secret")
    opened = Path.open

    def guarded(path, *arguments, **named):
        if path.name == "notes.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", guarded)
    result = gimp("import-genes", "star")

    assert result.exit_code == 3
    assert "'star/notes.txt' cannot be read: [Errno 13] Permission denied" in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("labels.csv", b'case_id,label\nP1,"a\nP2,b\n', "row 2 below the header cannot be read"),
        ("labels.csv", b"case_id,label\nP1,a\0b\n", "'labels.csv', line 2 has a NUL byte"),
        ("table.csv", b"case_id,TP53,KRAS\nP\0,1,2\n", "'table.csv', line 2 has a NUL byte"),
    ],
)
def test_text_that_is_damaged_is_named(gimp, tmp_path, name, content, message):
    (tmp_path / "table.csv").write_text(MATRIX)
    (tmp_path / "labels.csv").write_text("case_id,label\nP1,a\nP2,b\n")
    whole = gimp("import-genes", "table.csv", "--labels", "labels.csv", "-o", "whole.h5ad")
    (tmp_path / name).write_bytes(content)
    before = contents(tmp_path)

    result = gimp("import-genes", "table.csv", "--labels", "labels.csv")

    assert (whole.exit_code, result.exit_code) == (0, 3)
    assert message in result.stderr
    assert contents(tmp_path) == before


def test_a_workbook_given_as_labels_is_named(gimp, tmp_path):
    (tmp_path / "table.csv").write_text(MATRIX)
    with zipfile.ZipFile(tmp_path / "labels.xlsx", "w") as archive:
        archive.writestr("xl/workbook.xml", "<workbook/>")

    result = gimp("import-genes", "table.csv", "--labels", "labels.xlsx")

    assert result.exit_code == 3
    assert "'labels.xlsx' is an Excel workbook" in result.stderr
