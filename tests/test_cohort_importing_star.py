"""STAR and HTSeq files of the GDC: samples, columns, rules with counts, values, wrong files."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from gimp_plugin.cohort.importing.rules import ImportRules
from gimp_plugin.cohort.importing.run import import_genes
from gimp_plugin.errors import CohortError, ConfigError, StaleOutputError
from tests.expression_factory import (
    ALIQUOTS,
    CHOSEN,
    HTSEQ_GENES,
    SUMMARY,
    Aliquot,
    naive_star,
    read_back,
    star_text,
    write_htseq,
    write_sheet,
    write_star,
)

COLUMNS = {
    "counts": "unstranded",
    "tpm": "tpm_unstranded",
    "fpkm": "fpkm_unstranded",
    "fpkm-uq": "fpkm_uq_unstranded",
}
IDS = ["ENSG00000000003", "ENSG00000002586", "ENSG00000002586_PAR_Y", "ENSG00000141510",
       "ENSG00000228572"]  # fmt: skip
PLAIN = (ALIQUOTS[0], ALIQUOTS[2], ALIQUOTS[3])


@pytest.fixture
def imported(tmp_path):
    def run(*paths, **rules):
        output = tmp_path / "genes.h5ad"
        result = import_genes(paths, ImportRules(**rules), output=output, overwrite=True)
        return result.record, read_back(output)

    return run


def counts_of(record):
    return {one["rule"]: (one["before"], one["after"]) for one in record["counts"]}


def test_every_rule_of_the_samples_is_counted(imported, tmp_path):
    record, adata = imported(write_star(tmp_path / "star", sheet="metadata"))

    assert list(adata.obs_names) == sorted(CHOSEN)
    assert dict(zip(adata.obs_names, adata.obs["sample_id"], strict=True)) == CHOSEN
    assert counts_of(record) == {
        "file of the sample sheet found": (9, 9),
        "file named by the sample sheet": (9, 9),
        "no normal tissue": (9, 8),
        "primary tumour": (8, 7),
        "not FFPE": (7, 6),
        "first vial, highest plate": (6, 4),
        "one sample a case": (4, 4),
        "with a label (others stay)": (4, 4),
        "no summary row": (9, 5),
        "named": (5, 5),
        "one kind of id": (5, 5),
        "one row a gene": (5, 5),
    }


def test_what_was_left_out_is_listed_with_the_reason(imported, tmp_path):
    imported(write_star(tmp_path / "star", sheet="metadata"))

    with (tmp_path / "genes.exclusions.csv").open() as file:
        rows = {row["reason"].split(":")[0]: row for row in csv.DictReader(file)}

    assert set(rows) == {one.barcode for one in ALIQUOTS} - set(CHOSEN.values())
    assert rows["TCGA-05-4249-11A-01R-1107-07"]["step"] == "import: no normal tissue"
    assert rows["TCGA-44-2656-01B-06R-A277-07"]["reason"].endswith(": FFPE")
    assert "Metastatic" in rows["TCGA-66-2766-06A-01R-0851-07"]["reason"]


@pytest.mark.parametrize(("scale", "column"), COLUMNS.items())
def test_values_are_those_of_the_column_of_the_scale(imported, tmp_path, scale, column):
    folder = write_star(tmp_path / "star", PLAIN)
    files = sorted(folder.rglob("*augmented_star_gene_counts.tsv"))

    record, adata = imported(folder, scale=scale)

    assert record["scale"] == adata.uns["gimp"]["scale"] == scale
    for one, path in zip(PLAIN, files, strict=True):
        truth = np.float32(list(naive_star(path, column).values()))
        np.testing.assert_array_equal(adata[one.case_id].X[0], truth)


def test_the_default_column_is_fpkm_as_in_the_paper(imported, tmp_path):
    record, _ = imported(write_star(tmp_path / "star", PLAIN))

    assert record["scale"] == "fpkm"


def test_genes_keep_their_y_copies_and_lose_summary_rows(imported, tmp_path):
    _, adata = imported(write_star(tmp_path / "star", PLAIN))

    assert list(adata.var_names) == IDS
    assert not set(SUMMARY) & set(adata.var["gene_id"])
    assert adata.var["gene_id"].tolist()[2] == "ENSG00000002586.20_PAR_Y"
    assert adata.var["gene_name"].tolist()[:4] == ["TSPAN6", "CD99", "CD99", "TP53"]
    assert adata.var["gene_type"].tolist()[-1] == "lncRNA"


def test_the_label_is_the_project_less_tcga(imported, tmp_path):
    _, adata = imported(write_star(tmp_path / "star", PLAIN))

    assert adata.obs["label"].tolist() == ["LUAD", "LUAD", "LUSC"]
    assert adata.obs["Project ID"].tolist() == ["TCGA-LUAD", "TCGA-LUAD", "TCGA-LUSC"]


def test_a_newer_sample_sheet_tells_tissue_and_ffpe_by_its_own_columns(imported, tmp_path):
    aliquots = (
        Aliquot("C3L-00001-T-01A"),
        Aliquot("C3L-00002-T-11A"),
        Aliquot("C3L-00003-T-01A", ffpe=True),
    )

    record, adata = imported(write_star(tmp_path / "star", aliquots, sheet="newer"))

    assert list(adata.obs_names) == ["C3L-00001-T"]
    assert counts_of(record)["no normal tissue"] == (3, 2)
    assert counts_of(record)["not FFPE"] == (2, 1)


def test_ffpe_stays_when_asked_for(imported, tmp_path):
    aliquots = (Aliquot("TCGA-44-2656-01A-02R-A278-07", ffpe=True),)

    _, adata = imported(write_star(tmp_path / "star", aliquots, sheet="newer"), keep_ffpe=True)

    assert list(adata.obs_names) == ["TCGA-44-2656"]


def test_two_plates_that_a_sample_sheet_cannot_tell_apart_are_an_error(imported, tmp_path):
    folder = write_star(tmp_path / "star", sheet="newer")

    with pytest.raises(CohortError, match="'TCGA-44-2656' has 'TCGA-44-2656-01A'") as caught:
        imported(folder)

    assert "--aliquots" in str(caught.value)


def test_a_list_of_aliquots_decides(imported, tmp_path):
    folder = write_star(tmp_path / "star", sheet="metadata")
    chosen = tmp_path / "aliquots.csv"
    chosen.write_text("case_id,sample_id\nTCGA-44-2656,TCGA-44-2656-01A-02R-0946-07\n")

    _, adata = imported(folder, aliquots=chosen)

    assert adata.obs.loc["TCGA-44-2656", "sample_id"] == "TCGA-44-2656-01A-02R-0946-07"
    assert len(adata) == 4


def test_the_mean_of_two_aliquots_is_that_of_their_values(imported, tmp_path):
    pair = (ALIQUOTS[6], ALIQUOTS[7])
    folder = write_star(tmp_path / "star", pair)
    files = sorted(folder.rglob("*augmented_star_gene_counts.tsv"))

    _, adata = imported(folder, duplicate_cases="mean")

    both = [list(naive_star(path, "fpkm_unstranded").values()) for path in files]
    np.testing.assert_allclose(adata.X[0], np.mean(both, axis=0), rtol=1e-6)
    assert adata.obs["sample_id"].tolist() == ["TCGA-44-2656-01A;TCGA-44-2656-01A"]


@pytest.mark.parametrize(("samples", "cases"), [("primary", 4), ("tumour", 5), ("all", 5)])
def test_metastases_come_in_only_when_asked_for(imported, tmp_path, samples, cases):
    _, adata = imported(write_star(tmp_path / "star", sheet="metadata"), samples=samples)

    assert len(adata) == cases
    assert adata.obs.loc["TCGA-05-4249", "sample_id"].startswith("TCGA-05-4249-01A")


def test_a_case_has_the_same_values_whatever_else_is_imported(imported, tmp_path):
    folder = write_star(tmp_path / "star", PLAIN)
    _, together = imported(folder)
    sheet = next(folder.glob("gdc_sample_sheet*"))
    alone_file = sorted(folder.rglob("*augmented_star_gene_counts.tsv"))[1]

    _, alone = imported(alone_file, sample_sheets=(sheet,))

    assert list(alone.obs_names) == ["TCGA-05-4249"]
    np.testing.assert_array_equal(alone.X[0], together["TCGA-05-4249"].X[0])


def test_a_file_that_is_on_one_side_only_is_listed(imported, tmp_path):
    folder = write_star(tmp_path / "star", PLAIN)
    first, second, third = sorted(folder.rglob("*augmented_star_gene_counts.tsv"))
    sheet = next(folder.glob("gdc_sample_sheet*"))
    sheet.write_text(
        "".join(
            line for line in sheet.read_text().splitlines(keepends=True) if second.name not in line
        )
    )
    first.unlink()

    record, adata = imported(folder)

    listed = (tmp_path / "genes.exclusions.csv").read_text()
    assert list(adata.obs_names) == ["TCGA-18-3406"]
    assert counts_of(record)["file of the sample sheet found"] == (2, 1)
    assert counts_of(record)["file named by the sample sheet"] == (2, 1)
    assert first.name in listed
    assert second.name in listed
    assert third.name not in listed


def test_barcodes_in_file_names_do_without_a_sheet(imported, tmp_path):
    path = tmp_path / "TCGA-05-4244-01A-01R-1107-07.tsv"
    path.write_text(star_text(0))

    _, adata = imported(path)

    assert list(adata.obs_names) == ["TCGA-05-4244"]


@pytest.mark.parametrize("sheet", [None, "manifest"])
def test_without_a_sheet_the_user_is_told_where_to_get_one(imported, tmp_path, sheet):
    folder = write_star(tmp_path / "star", PLAIN, sheet=sheet)

    with pytest.raises(CohortError, match="no sample sheet names the case of") as caught:
        imported(folder)

    assert "GDC portal" in str(caught.value)


def test_a_manifest_given_as_sample_sheet_is_named(imported, tmp_path):
    folder = write_star(tmp_path / "star", PLAIN, sheet="manifest")

    with pytest.raises(CohortError, match="is a GDC manifest: it names files, but no cases"):
        imported(folder, sample_sheets=(next(folder.glob("gdc_manifest*")),))


def other_genes(text):
    return "\n".join(text.splitlines()[:-1]) + "\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_genes, r"has 8 rows, .* 9"),
        (lambda text: text.replace("ENSG00000141510.18", "ENSG00000141510.19"),
         r"row 7 of .* is 'ENSG00000141510.19', of .* 'ENSG00000141510.18'"),
        (lambda text: text.replace("v36", "v22"), "is of gene model 'GENCODE v22'"),
        (lambda text: text[:-30], r"Expected 9 columns|columns"),
        (lambda text: text.replace("fpkm_unstranded", "fpkm"), "no column 'fpkm_unstranded'"),
        (lambda text: "<!DOCTYPE html><html>sign in</html>\n", "is a web page"),
        (lambda text: "", "is empty"),
    ],
)  # fmt: skip
def test_a_file_unlike_the_others_is_named_with_the_difference(imported, tmp_path, change, message):
    folder = write_star(tmp_path / "star", PLAIN)
    last = max(folder.rglob("*augmented_star_gene_counts.tsv"))
    last.write_text(change(last.read_text()))

    with pytest.raises(CohortError, match=message) as caught:
        imported(folder)

    assert last.name in str(caught.value)
    assert not (tmp_path / "genes.h5ad").exists()


def test_a_value_that_is_no_number_is_named(imported, tmp_path):
    folder = write_star(tmp_path / "star", PLAIN)
    last = max(folder.rglob("*augmented_star_gene_counts.tsv"))
    lines = last.read_text().splitlines()
    cells = lines[-1].split("\t")
    cells[7] = "abc"
    last.write_text("\n".join([*lines[:-1], "\t".join(cells)]) + "\n")

    with pytest.raises(CohortError, match="invalid value 'abc'") as caught:
        imported(folder)

    assert last.name in str(caught.value)


def test_a_scale_that_star_files_lack_is_a_wrong_usage(imported, tmp_path):
    with pytest.raises(ConfigError, match="STAR files have counts, tpm, fpkm, fpkm-uq"):
        imported(write_star(tmp_path / "star", PLAIN), scale="log2")


def test_two_copies_of_a_file_are_refused(imported, tmp_path):
    folder = write_star(tmp_path / "star", PLAIN)
    first = min(folder.rglob("*augmented_star_gene_counts.tsv"))
    (folder / "again").mkdir()
    shutil.copy(first, folder / "again")

    with pytest.raises(CohortError, match="1 file names appear more than once"):
        imported(folder)


def test_htseq_fpkm_is_read_with_old_y_copies_spelled_anew(imported, tmp_path):
    truth = write_htseq(tmp_path / "old", PLAIN)

    record, adata = imported(tmp_path / "old")

    assert record["source"] == "htseq"
    assert record["scale"] == "fpkm"
    assert list(adata.var_names) == IDS[:4]
    assert adata.var["gene_id"].tolist() == list(HTSEQ_GENES)
    for case_id, values in truth.items():
        np.testing.assert_array_equal(adata[case_id].X[0], values)


def test_htseq_counts_lose_their_summary_rows(imported, tmp_path):
    truth = write_htseq(tmp_path / "old", PLAIN, kind="htseq.counts")

    record, adata = imported(tmp_path / "old")

    assert record["scale"] == "counts"
    assert counts_of(record)["no summary row"] == (8, 4)
    np.testing.assert_array_equal(adata["TCGA-05-4244"].X[0], truth["TCGA-05-4244"])


def test_of_several_kinds_of_htseq_files_the_scale_chooses(imported, tmp_path):
    folder = tmp_path / "old"
    counts = write_htseq(folder, PLAIN, kind="htseq.counts")
    fpkm = write_htseq(folder, PLAIN)
    names = [path.name for path in sorted(folder.rglob("*.gz"))]
    write_sheet(folder, names, [one for one in PLAIN for _ in range(2)], "sample_sheet")

    _, by_default = imported(folder)
    _, by_scale = imported(folder, scale="counts")

    np.testing.assert_array_equal(by_default["TCGA-05-4244"].X[0], fpkm["TCGA-05-4244"])
    np.testing.assert_array_equal(by_scale["TCGA-05-4244"].X[0], counts["TCGA-05-4244"])


def test_a_truncated_gzip_is_named(imported, tmp_path):
    write_htseq(tmp_path / "old", PLAIN)
    last = max((tmp_path / "old").rglob("*.gz"))
    last.write_bytes(last.read_bytes()[:-12])

    with pytest.raises(CohortError, match="truncated or damaged gzip file") as caught:
        imported(tmp_path / "old")

    assert last.name in str(caught.value)


def test_the_same_inputs_are_the_same_bytes_and_others_are_refused(tmp_path):
    folder = write_star(tmp_path / "star", PLAIN)
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "copy")
    outputs = [tmp_path / name for name in ("a.h5ad", "b.h5ad")]
    for paths, output in zip(([folder], [moved]), outputs, strict=True):
        import_genes(paths, ImportRules(), output=output)
    before = outputs[0].read_bytes()

    again = import_genes([folder], ImportRules(), output=outputs[0])

    assert again.outcome == "nothing to do"
    assert outputs[0].read_bytes() == outputs[1].read_bytes() == before
    with pytest.raises(StaleOutputError, match="scale: None -> tpm"):
        import_genes([folder], ImportRules(scale="tpm"), output=outputs[0])
    assert outputs[0].read_bytes() == before
    assert (
        import_genes([folder], ImportRules(scale="tpm"), output=outputs[0], overwrite=True).outcome
        == "done"
    )


def test_text_is_stored_as_plain_strings(imported, tmp_path):
    imported(write_star(tmp_path / "star", PLAIN))

    import h5py

    with h5py.File(tmp_path / "genes.h5ad") as file:
        kinds = {
            f"{table}/{name}": file[table][name].attrs["encoding-type"]
            for table in ("obs", "var")
            for name in file[table]
        }

    assert set(kinds.values()) == {"string-array"}


def test_a_clinical_table_joins_its_columns(imported, tmp_path):
    clinical = tmp_path / "clinical.tsv"
    clinical.write_text(
        "# from somewhere\n"
        "case_submitter_id\tstage\tsurvival\tcode\n"
        "TCGA-05-4244\tI\t12.5\t007\nTCGA-05-4244\tI\t'--\t007\nTCGA-18-3406\tII\t3\t012\n"
    )

    record, adata = imported(
        write_star(tmp_path / "star", PLAIN), labels=clinical, label_key="stage"
    )

    assert dict(zip(adata.obs_names, adata.obs["label"], strict=True)) == {
        "TCGA-05-4244": "I", "TCGA-18-3406": "II", "TCGA-05-4249": ""}  # fmt: skip
    assert adata.obs.loc["TCGA-05-4244", "survival"] == 12.5
    assert pd.isna(adata.obs.loc["TCGA-05-4249", "survival"])
    assert adata.obs.loc["TCGA-05-4244", "code"] == "007"
    assert counts_of(record)["with a label (others stay)"] == (3, 2)


def test_conditions_keep_cases_and_are_counted(imported, tmp_path):
    record, adata = imported(
        write_star(tmp_path / "star", PLAIN),
        obs_filters=("Project ID=TCGA-LUAD", "Case ID!=TCGA-05-4249"),
    )

    assert list(adata.obs_names) == ["TCGA-05-4244"]
    assert counts_of(record)["--obs-filter Project ID=TCGA-LUAD"] == (3, 2)
    assert "TCGA-05-4249" in (tmp_path / "genes.exclusions.csv").read_text()


def test_a_case_with_two_labels_is_refused(imported, tmp_path):
    clinical = tmp_path / "clinical.csv"
    clinical.write_text("case_id,stage\nTCGA-05-4244,I\nTCGA-05-4244,II\n")

    with pytest.raises(CohortError, match="'TCGA-05-4244' has two values of 'stage', 'I' and 'II'"):
        imported(write_star(tmp_path / "star", PLAIN), labels=clinical, label_key="stage")


def test_a_clinical_table_of_the_gdc_names_cases_by_barcode_and_keeps_what_agrees(
    imported, tmp_path
):
    clinical = tmp_path / "clinical.tsv"
    clinical.write_text(
        "case_id\tcase_submitter_id\tstage\ttreatment\tslide_id\n"
        "7ac5\tTCGA-05-4244\tI\tRadiation\ts2\n7ac5\tTCGA-05-4244\tI\tPharmaceutical\ts1\n"
    )

    _, adata = imported(write_star(tmp_path / "star", PLAIN), labels=clinical, label_key="stage")

    assert adata.obs.loc["TCGA-05-4244", ["label", "treatment", "slide_id"]].tolist() == [
        "I",
        "",
        "s2;s1",
    ]


def rewritten(sheet, old, new, *, more=""):
    text = sheet.read_text()
    assert old in text
    sheet.write_text(text.replace(old, new) + more)


def test_a_sheet_that_contradicts_itself_is_named(imported, tmp_path):
    star = write_star(tmp_path / "star", PLAIN)
    (sheet,) = star.glob("gdc_sample_sheet*")
    row = sheet.read_text().splitlines(keepends=True)[1]

    rewritten(sheet, "Case ID", "Case ID", more=row.replace("TCGA-05-4244\t", "\t"))
    with pytest.raises(
        CohortError, match=r"row 5: .* is given to two cases, 'TCGA-05-4244' and ''"
    ):
        imported(star)
    rewritten(sheet, "\tTCGA-05-4244\t", "\tTCGA-05-4249\t")
    with pytest.raises(
        CohortError, match="row 2: case 'TCGA-05-4249' and sample 'TCGA-05-4244-01A"
    ):
        imported(star)


def test_metadata_of_another_shape_is_read_as_far_as_it_goes(imported, tmp_path):
    star = write_star(tmp_path / "star", PLAIN, sheet="metadata")
    (sheet,) = star.glob("metadata*")
    entries = json.loads(sheet.read_text())
    sheet.write_text(json.dumps([{**one, "cases": ["x"]} for one in entries]))

    _, adata = imported(star)

    assert list(adata.obs_names) == sorted(one.case_id for one in PLAIN)


@pytest.mark.parametrize(
    ("sheet", "keep_ffpe", "warned"),
    [
        ("sample_sheet", False, True),
        ("sample_sheet", True, False),
        ("newer", False, False),
        ("metadata", False, False),
    ],
)
def test_a_sheet_that_is_silent_about_ffpe_is_warned_of(
    imported, tmp_path, sheet, keep_ffpe, warned
):
    record, _ = imported(write_star(tmp_path / "star", PLAIN, sheet=sheet), keep_ffpe=keep_ffpe)

    assert (
        any("3 of 3 cases no sample sheet says if" in text for text in record["warnings"]) is warned
    )
