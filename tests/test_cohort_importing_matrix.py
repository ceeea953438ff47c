# ruff: noqa: E501  # tables in the text
"""Matrices, Xena, cBioPortal, MCAT/PORPOISE and .h5ad: layouts, traps, rules, values."""

from __future__ import annotations

import gzip
import re
import zipfile

import numpy as np
import pandas as pd
import pytest

from gimp_plugin.cohort.importing.rules import ImportRules
from gimp_plugin.cohort.importing.run import import_genes
from gimp_plugin.errors import CohortError, MissingFileError
from tests.cohort_factory import make_cohort
from tests.expression_factory import (
    read_back,
    table_text,
    write_cbioportal,
    write_porpoise,
    write_xena,
)

SYMBOLS = ("TP53", "EGFR", "KRAS", "GAPDH", "ACTB")
ENSEMBL = (
    "ENSG00000141510.15", "ENSG00000146648.16", "ENSG00000133703.11", "ENSGR0000002586.13",
    "ENSG00000002586.13",
)  # fmt: skip
CASES = ("P03", "P01", "P02")
SAMPLES = ("TCGA-05-4244-01A", "TCGA-05-4249-01A", "TCGA-05-4249-11A", "TCGA-18-3406-01A")


@pytest.fixture
def imported(tmp_path):
    def run(*paths, **rules):
        output = tmp_path / "genes.h5ad"
        result = import_genes(paths, ImportRules(**rules), output=output, overwrite=True)
        return result.record, read_back(output)

    return run


def counts_of(record):
    return {one["rule"]: (one["before"], one["after"]) for one in record["counts"]}


def drawn(n_rows, n_columns=5, *, seed=0):
    values = np.random.default_rng(seed).gamma(0.5, 90, (n_rows, n_columns))
    return np.round(values, 3) + 60.125


def cases_by_genes(path, values, *, genes=SYMBOLS, cases=CASES, delimiter=","):
    rows = [[case, *row] for case, row in zip(cases, values.tolist(), strict=True)]
    path.write_text(table_text(["case_id"], genes, rows, delimiter))
    return path


def genes_by_cases(path, values, *, genes=SYMBOLS, cases=CASES, corner="x", delimiter="\t"):
    rows = [[gene, *row] for gene, row in zip(genes, values.T.tolist(), strict=True)]
    path.write_text(table_text([corner], cases, rows, delimiter))
    return path


@pytest.mark.parametrize("write", [cases_by_genes, genes_by_cases])
@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_a_matrix_is_read_either_way_up(imported, tmp_path, write, delimiter):
    values = drawn(3)

    record, adata = imported(write(tmp_path / "m.txt", values, delimiter=delimiter), scale="tpm")

    expected = pd.DataFrame(np.float32(values), CASES, SYMBOLS).loc[sorted(CASES)]
    assert list(adata.obs_names) == sorted(CASES)
    assert list(adata.var_names) == list(SYMBOLS)
    np.testing.assert_array_equal(adata.X, expected.to_numpy())
    assert "symbols" in record["orientation"]


def test_parquet_gzip_and_zip_are_the_same_table(imported, tmp_path):
    plain = cases_by_genes(tmp_path / "m.csv", drawn(3))
    frame = pd.read_csv(plain, index_col=0)
    frame.to_parquet(tmp_path / "m.parquet")
    with gzip.open(tmp_path / "m.csv.gz", "wb") as file:
        file.write(plain.read_bytes())
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as archive:
        archive.write(plain, "m.csv")

    found = [
        imported(tmp_path / name, scale="tpm")[1].to_df()
        for name in ("m.csv", "m.parquet", "m.csv.gz", "m.zip")
    ]

    for other in found[1:]:
        pd.testing.assert_frame_equal(found[0], other)


def test_a_table_of_r_without_a_corner_is_read(imported, tmp_path):
    path = genes_by_cases(
        tmp_path / "m.txt",
        drawn(3),
        cases=("TCGA.05.4244.01A", "TCGA.18.3406.01A", "TCGA.05.4249.01A"),
    )
    lines = path.read_text().split("\n")
    lines[0] = lines[0].removeprefix("x\t")
    path.write_text("\n".join(lines))

    _, adata = imported(path, scale="tpm")

    assert list(adata.obs_names) == ["TCGA-05-4244", "TCGA-05-4249", "TCGA-18-3406"]


def test_a_matrix_of_unknown_names_needs_its_orientation(imported, tmp_path):
    path = genes_by_cases(tmp_path / "m.tsv", drawn(3), genes=("a", "b", "c", "d", "e"))

    with pytest.raises(
        CohortError,
        match=r"unclear whether rows are genes or cases: rows 'a', \.\.\., columns 'P03'",
    ):
        imported(path, scale="tpm")
    _, adata = imported(path, scale="tpm", orientation="genes-by-cases")

    assert adata.shape == (3, 5)


def test_columns_that_are_no_genes_become_obs(imported, tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("case_id,label,mood,TP53,EGFR\nP1,A,good,1.5,99\nP2,B,bad,2.5,80\n")

    record, adata = imported(path, obs_columns=("mood",))

    assert list(adata.var_names) == ["TP53", "EGFR"]
    assert adata.obs["label"].tolist() == ["A", "B"]
    assert adata.obs["mood"].tolist() == ["good", "bad"]
    assert record["scale"] == "linear"
    assert record["scale_guessed"]
    assert any("does not declare its scale" in text for text in record["warnings"])


def test_names_that_look_like_numbers_keep_their_digits(imported, tmp_path):
    path = tmp_path / "m.csv"
    path.write_text(
        "case_id,slide_id,accession,TP53,EGFR\n007,12,20240101123456788,1.5,99\n"
        "7,1E1,20240101123456789,2.5,80\n"
    )

    _, adata = imported(path, obs_columns=("accession",), scale="tpm")

    assert adata.obs["slide_id"].to_dict() == {"007": "12", "7": "1E1"}
    assert adata.obs["accession"].tolist() == ["20240101123456788", "20240101123456789"]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_class_that_is_not_known_is_no_class(imported, tmp_path, suffix):
    path, plain = tmp_path / f"m.{suffix}", tmp_path / "m.csv"
    plain.write_text("case_id,label,age,TP53,EGFR\n1,1,30,1.5,99\n2,NA,NA,2.5,80\n3,2,50,3.5,7\n")
    if suffix == "parquet":
        pd.read_csv(plain).to_parquet(path)

    record, adata = imported(path, scale="tpm")

    assert adata.obs["label"].tolist() == ["1", "", "2"]
    assert adata.obs["age"].isna().tolist() == [False, True, False]
    assert any("1 of 3 cases have no label in 'label': '2'" in text for text in record["warnings"])


def test_sources_on_two_scales_are_refused_or_told_of(imported, tmp_path):
    values = drawn(3)
    linear = cases_by_genes(tmp_path / "a.csv", values)
    logarithmic = cases_by_genes(tmp_path / "b.csv", np.log2(values + 1), cases=("Q1", "Q2", "Q3"))
    told = r"several scales: '.*a\.csv' looks like linear, '.*b\.csv' looks like log"

    with pytest.raises(CohortError, match=told):
        imported(linear, logarithmic)
    record, _ = imported(linear, logarithmic, scale="tpm")
    same, _ = imported(linear, cases_by_genes(tmp_path / "c.csv", values, cases=("Q1", "Q2", "Q3")))

    assert any(re.search(told, text) for text in record["warnings"])
    assert same["scale"] == "linear"
    assert not any("several scales" in text for text in same["warnings"])


def test_genes_that_a_spreadsheet_renamed_are_told(imported, tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("gene,P1,P2\nTP53,1.5,99\n1-Mar,2.5,80\n2-Sep,3,4\n")

    record, _ = imported(path, scale="tpm")

    assert any("2 genes are named like dates" in text for text in record["warnings"])


def test_a_cell_that_is_no_number_is_named_with_row_and_column(imported, tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("case_id,TP53,EGFR\nP1,1,2\nP2,3,high\n")

    with pytest.raises(CohortError, match=r"row 2 \('P2'\), column 'EGFR': 'high' is not a number"):
        imported(path)


@pytest.mark.parametrize("cell", ["", "NA", "NaN", "inf"])
def test_a_missing_value_is_named_and_needs_a_word(imported, tmp_path, cell):
    path = tmp_path / "m.csv"
    path.write_text(f"case_id,TP53,EGFR\nP1,1.5,99\nP2,{cell},80\n")

    with pytest.raises(CohortError, match=r"1 of 4 values .* of case 'P2', gene 'TP53'"):
        imported(path)

    zero, genes, cases = (
        imported(path, impute=how)[1].to_df() for how in ("zero", "drop-genes", "drop-cases")
    )
    assert zero.to_numpy().tolist() == [[1.5, 99], [0, 80]]
    assert genes.to_dict("list") == {"EGFR": [99, 80]}
    assert cases.index.tolist() == ["P1"]
    assert cases.to_numpy().tolist() == [[1.5, 99]]
    assert "P2" in (tmp_path / "genes.exclusions.csv").read_text()


def test_negative_values_do_not_go_with_fpkm(imported, tmp_path):
    path = cases_by_genes(tmp_path / "m.csv", drawn(3) - 200)

    with pytest.raises(CohortError, match="is declared as 'fpkm', but has -"):
        imported(path, scale="fpkm")
    with pytest.raises(CohortError, match="looks standardised, but it is not declared as such"):
        imported(path)


def test_repeated_genes_need_a_word(imported, tmp_path):
    values = drawn(3)
    path = genes_by_cases(
        tmp_path / "m.tsv", values, genes=("TP53", "EGFR", "TP53", "KRAS", "TP53")
    )

    with pytest.raises(CohortError, match=r"1 gene of .* more than once: 'TP53'"):
        imported(path, scale="tpm")

    order = np.argsort(CASES)
    for how, expected in (
        ("sum", values[:, [0, 2, 4]].sum(axis=1)),
        ("mean", values[:, [0, 2, 4]].mean(axis=1)),
        ("first", values[:, 0]),
    ):
        record, adata = imported(path, scale="tpm", duplicate_genes=how)
        assert list(adata.var_names) == ["TP53", "EGFR", "KRAS"]
        np.testing.assert_allclose(adata[:, "TP53"].X[:, 0], expected[order], rtol=1e-6)
        np.testing.assert_array_equal(adata[:, "KRAS"].X[:, 0], np.float32(values[order, 3]))
        assert counts_of(record)["one row a gene"] == (5, 3)


def test_log_values_are_added_on_the_linear_scale(imported, tmp_path):
    linear = drawn(3)
    path = genes_by_cases(
        tmp_path / "m.tsv", np.log2(linear + 1), genes=("TP53", "TP53", "KRAS", "MET", "ALK")
    )

    _, adata = imported(path, scale="log2", duplicate_genes="sum")

    expected = np.log2(linear[np.argsort(CASES), :2].sum(axis=1) + 1)
    np.testing.assert_allclose(adata[:, "TP53"].X[:, 0], expected, rtol=1e-5)
    with pytest.raises(CohortError, match="on the scale 'log' cannot be added up"):
        imported(path, scale="log", duplicate_genes="sum")


def test_ids_of_two_kinds_are_refused_until_one_is_chosen(imported, tmp_path):
    genes = ("ENSG00000141510.15", "EGFR", "KRAS", "ENSG00000146648.1", "MET")
    path = genes_by_cases(tmp_path / "m.tsv", drawn(3), genes=genes, corner="gene_id")

    with pytest.raises(
        CohortError, match=r"2 Ensembl ids \('ENSG00000141510'\) and 3 other names \('EGFR'\)"
    ):
        imported(path, scale="tpm")

    assert list(imported(path, scale="tpm", gene_ids="symbols")[1].var_names) == [
        "EGFR",
        "KRAS",
        "MET",
    ]
    kept = imported(path, scale="tpm", gene_ids="ensembl")[1]
    assert list(kept.var_names) == ["ENSG00000141510", "ENSG00000146648"]


def test_a_header_that_names_a_sample_twice_is_refused(imported, tmp_path):
    path = genes_by_cases(tmp_path / "m.tsv", drawn(3), cases=("P1", "P2", "P1"))

    with pytest.raises(CohortError, match="names 1 column more than once: 'P1'"):
        imported(path, scale="tpm")


def test_several_rows_of_a_case_are_listed_and_the_remedy_works(imported, tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("sample_id,patient_id,TP53,EGFR\ns1,P1,1.5,99\ns2,P1,2.5,80\ns3,P2,2.5,80\n")

    with pytest.raises(CohortError, match="1 case has several samples: 'P1'; 'P1' has 's1', 's2'"):
        imported(path, case_key="patient_id")
    with pytest.raises(CohortError, match="no column 'patent_id', did you mean 'patient_id'"):
        imported(path, case_key="patent_id")
    _, adata = imported(path, case_key="sample_id")

    assert list(adata.obs_names) == ["s1", "s2", "s3"]
    assert adata.obs["patient_id"].tolist() == ["P1", "P1", "P2"]


def test_a_row_of_another_length_is_named(imported, tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("case_id,TP53,EGFR\nP1,1,2\nP2,3\n")

    with pytest.raises(CohortError, match="row 2 below the header has 2 cells, the header 3"):
        imported(path)


def test_xena_is_log2_of_x_plus_1_and_loses_normal_tissue(imported, tmp_path):
    values = np.round(np.log2(drawn(4) - 50), 4)
    path = write_xena(tmp_path / "TCGA-LUAD.star_fpkm.tsv.gz", SAMPLES, ENSEMBL, values)

    record, adata = imported(path)

    assert (record["source"], record["scale"], record["scale_guessed"]) == ("xena", "log2", False)
    assert list(adata.obs_names) == ["TCGA-05-4244", "TCGA-05-4249", "TCGA-18-3406"]
    assert list(adata.var_names)[3:] == ["ENSG00000002586_PAR_Y", "ENSG00000002586"]
    assert counts_of(record)["no summary row"] == (6, 5)
    assert counts_of(record)["no normal tissue"] == (4, 3)
    np.testing.assert_array_equal(adata.X, np.float32(values[[0, 1, 3]]))
    assert adata.obs["label"].tolist() == ["LUAD"] * 3


def test_xena_of_the_toil_recompute_has_another_offset(imported, tmp_path):
    values = np.log2(drawn(4) - 60.125 + 0.001)
    path = write_xena(
        tmp_path / "tcga_RSEM_gene_fpkm.gz", SAMPLES, ENSEMBL, values, corner="sample"
    )

    record, _ = imported(path)

    assert record["scale"] == "log"
    assert any("Toil" in text for text in record["warnings"])


def test_two_tables_of_xena_in_other_orders_are_one_cohort_with_two_labels(imported, tmp_path):
    values = np.round(np.log2(drawn(2)), 4)
    luad, lusc = (tmp_path / f"TCGA-{name}.star_fpkm.tsv.gz" for name in ("LUAD", "LUSC"))
    write_xena(luad, SAMPLES[:1], ENSEMBL, values[:1])
    write_xena(lusc, SAMPLES[3:], ENSEMBL[::-1], values[1:, ::-1])

    _, adata = imported(luad, lusc)

    assert adata.obs["label"].tolist() == ["LUAD", "LUSC"]
    np.testing.assert_array_equal(adata.X, np.float32(values))


def test_tables_of_other_genes_are_refused_or_cut_to_the_shared_ones(imported, tmp_path):
    one = cases_by_genes(tmp_path / "a.csv", drawn(3))
    two = cases_by_genes(
        tmp_path / "b.csv",
        drawn(3, seed=1),
        genes=("MET", "TP53", "KRAS", "ALK", "APC"),
        cases=("Q1", "Q2", "Q3"),
    )

    with pytest.raises(
        CohortError, match=r"3 are missing \('EGFR', 'GAPDH', 'ACTB'\), 3 are extra"
    ):
        imported(one, two, scale="tpm")
    record, adata = imported(one, two, scale="tpm", shared_genes=True)

    assert list(adata.var_names) == ["TP53", "KRAS"]
    assert counts_of(record)["gene of all sources"] == (5, 2)
    np.testing.assert_array_equal(adata["Q1"].X[0], np.float32(drawn(3, seed=1)[0, [1, 2]]))


def cbioportal_rows():
    values = drawn(2)
    names = [("TP53", 7157), ("", 100130426), ("EGFR", 1956), ("EGFR", 99999), ("KRAS", 3845)]
    return values, [[*name, *column] for name, column in zip(names, values.T.tolist(), strict=True)]


def test_cbioportal_leaves_out_nameless_genes_and_asks_about_repeated_ones(imported, tmp_path):
    values, rows = cbioportal_rows()
    samples = ["TCGA-05-4244-01", "TCGA-18-3406-01"]
    path = write_cbioportal(tmp_path / "data_mrna_seq_v2_rsem.txt", samples, rows)

    with pytest.raises(CohortError, match="more than once: 'EGFR'"):
        imported(path)
    record, adata = imported(path, duplicate_genes="sum")

    assert (record["source"], record["scale"]) == ("cbioportal", "linear")
    assert list(adata.var_names) == ["TP53", "EGFR", "KRAS"]
    assert counts_of(record)["named"] == (5, 4)
    assert adata.var["entrez_gene_id"].tolist() == ["7157", "1956", "3845"]
    np.testing.assert_allclose(adata[:, "EGFR"].X[:, 0], values[:, 2] + values[:, 3], rtol=1e-6)
    np.testing.assert_array_equal(adata[:, "TP53"].X[:, 0], np.float32(values[:, 0]))


def test_a_folder_of_a_cbioportal_study_holds_its_table(imported, tmp_path):
    _, rows = cbioportal_rows()
    (tmp_path / "luad_tcga").mkdir()
    write_cbioportal(
        tmp_path / "luad_tcga" / "data_mrna_seq_v2_rsem.txt",
        ["TCGA-05-4244-01", "TCGA-18-3406-01"],
        rows,
    )
    (tmp_path / "luad_tcga" / "meta_study.txt").write_text("type_of_cancer: luad\n")

    record, _ = imported(tmp_path / "luad_tcga", duplicate_genes="first")

    assert record["n_cases"] == 2


def test_z_scores_of_cbioportal_are_standardised_with_a_warning(imported, tmp_path):
    path = write_cbioportal(
        tmp_path / "data_mrna_seq_v2_rsem_zscores_ref_all_samples.txt",
        ["TCGA-05-4244-01", "TCGA-18-3406-01"],
        [["TP53", 7157, -1.5, 0.5], ["EGFR", 1956, 0.1, 0.2]],
    )

    record, _ = imported(path)

    assert record["scale"] == "standardised"
    assert any("z-scores" in text for text in record["warnings"])


def test_porpoise_rows_of_several_slides_become_one_case(imported, tmp_path, caplog):
    rows = [
        ("TCGA-05-4244", "TCGA-05-4244-01Z-00-DX1.d4ff.svs", "05", "LUAD"),
        ("TCGA-05-4244", "TCGA-05-4244-01Z-00-DX2.a1b2.svs", "05", "LUAD"),
        ("TCGA-18-3406", "TCGA-18-3406-01Z-00-DX1.c3d4.svs", "18", "LUSC"),
    ]
    values = np.array([[0.5, -1.25], [0.5, -1.25], [2.0, 0.75]])
    path = write_porpoise(tmp_path / "tcga_lung_all_clean.csv.zip", rows, ("TP53", "EGFR"), values)

    record, adata = imported(path)

    assert (record["source"], record["scale"]) == ("porpoise", "standardised")
    assert "z-scored per cohort" in caplog.text
    assert list(adata.var_names) == ["TP53", "EGFR"]
    np.testing.assert_array_equal(adata.X, np.float32(values[[0, 2]]))
    assert (
        adata.obs["slide_id"].tolist()[0]
        == "TCGA-05-4244-01Z-00-DX1.d4ff;TCGA-05-4244-01Z-00-DX2.a1b2"
    )
    assert adata.obs["label"].tolist() == ["LUAD", "LUSC"]
    assert adata.obs["site"].tolist() == ["05", "18"]
    assert adata.obs["survival_months"].tolist() == [12.5, 12.5]
    assert counts_of(record)["expression, no copy number or mutation"] == (5, 2)
    assert counts_of(record)["one row for all slides of a sample"] == (3, 2)


def test_porpoise_rows_of_a_case_that_differ_are_refused(imported, tmp_path):
    rows = [("TCGA-05-4244", f"TCGA-05-4244-01Z-00-DX{n}.svs", "05", "LUAD") for n in (1, 2)]
    path = write_porpoise(
        tmp_path / "a_all_clean.csv.zip", rows, ("TP53",), np.array([[1.5], [-2.0]])
    )

    with pytest.raises(CohortError, match="1 case has several samples: 'TCGA-05-4244'"):
        imported(path)


def test_an_h5ad_is_cleaned_and_named_anew(imported, tmp_path):
    values = np.float32(drawn(4, 4))
    path = make_cohort(
        tmp_path / "in.h5ad",
        values=values,
        labels=["A", "B", "A", "B"],
        gene_ids=["ENSG00000141510.2", "ENSG00000002586.1", "ENSG00000002586.1_PAR_Y", "ENSG00000133703.9"],
        case_ids=["s1", "s2", "s3", "s4"],
        declared="tpm",
        obs={"patient": ["P4", "P3", "P2", "P1"]},
        sparse="csr",
    )  # fmt: skip

    record, adata = imported(path, case_key="patient")

    assert record["scale"] == "tpm"
    assert list(adata.obs_names) == ["P1", "P2", "P3", "P4"]
    assert adata.obs["sample_id"].tolist() == ["s4", "s3", "s2", "s1"]
    assert list(adata.var_names)[1:3] == ["ENSG00000002586", "ENSG00000002586_PAR_Y"]
    np.testing.assert_array_equal(adata.X, values[::-1])


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
def test_an_h5ad_with_repeated_genes_and_nan_is_cleaned_by_the_rules(imported, tmp_path):
    values = np.array([[1.5, 60.5, 2.5], [np.nan, 70.5, 4.5]], dtype=np.float32)
    path = make_cohort(
        tmp_path / "in.h5ad", values=values, labels=["A", "B"], gene_ids=["G1", "G2", "G2"]
    )

    _, adata = imported(path, impute="zero", duplicate_genes="sum", scale="tpm")

    assert adata.to_df().to_dict("list") == {"G1": [1.5, 0.0], "G2": [63.0, 75.0]}


GTF = """\
##description: evidence-based annotation
chr17\tx\tgene\t7661779\t7687538\t.\t-\t.\tgene_id "ENSG00000141510.18"; gene_type "protein_coding"; gene_name "TP53";
chr17\tHAVANA\ttranscript\t1\t2\t.\t-\t.\tgene_id "ENSG00000141510.18"; transcript_id "x";
chr7\tHAVANA\tgene\t55019017\t55211628\t.\t+\t.\tgene_id "ENSG00000146648.21"; gene_type "protein_coding"; gene_name "EGFR";
"""
PROBEMAP = "id\tgene\tchrom\tchromStart\tchromEnd\tstrand\nENSG00000141510.15\tTP53\tchr17\t7661779\t7687538\t-\nENSG00000146648.16\tEGFR\tchr7\t55019017\t55211628\t+\n"
TABLE = "gene_id,gene_name,chromosome,start,end,strand\nENSG00000141510,TP53,chr17,7661779,7687538,-1\nENSG00000146648,EGFR,chr7,55019017,55211628,1\n"


@pytest.mark.parametrize(
    ("name", "text"), [("g.gtf", GTF), ("g.probemap", PROBEMAP), ("g.csv", TABLE)]
)
@pytest.mark.parametrize("genes", [("ENSG00000146648.1", "ENSG00000141510.2"), ("EGFR", "TP53")])
def test_genes_are_described_by_a_table(imported, tmp_path, name, text, genes):
    (tmp_path / name).write_text(text)
    path = cases_by_genes(tmp_path / "m.csv", drawn(3, 2), genes=genes)

    record, adata = imported(path, scale="tpm", gene_table=tmp_path / name)

    assert adata.var["gene_name"].tolist() == ["EGFR", "TP53"]
    assert adata.var["chromosome"].tolist() == ["chr7", "chr17"]
    assert adata.var["start"].tolist() == [55019017, 7661779]
    assert adata.var["end"].tolist() == [55211628, 7687538]
    assert adata.var["strand"].tolist() == ["+", "-"]
    assert counts_of(record)["described by --gene-table"] == (2, 2)


@pytest.mark.parametrize(
    ("name", "text", "where"),
    [
        ("g.gtf", GTF.replace("7687538", "76875x8"), "row 2, column 5: '76875x8'"),
        ("g.csv", TABLE.replace("55019017", "55019017.5"), "row 3, column 'start': '55019017.5'"),
    ],
)
def test_a_position_that_is_no_number_is_refused_with_its_place(
    imported, tmp_path, name, text, where
):
    (tmp_path / name).write_text(text)
    path = cases_by_genes(tmp_path / "m.csv", drawn(3, 2), genes=("EGFR", "TP53"))

    with pytest.raises(CohortError, match=re.escape(f"{name}', {where} is not a whole number")):
        imported(path, scale="tpm", gene_table=tmp_path / name)


def test_a_gene_table_of_other_genes_is_refused(imported, tmp_path):
    (tmp_path / "g.csv").write_text(TABLE)

    with pytest.raises(CohortError, match="has none of the 2 genes"):
        imported(
            cases_by_genes(tmp_path / "m.csv", drawn(3, 2), genes=("KRAS", "MET")),
            scale="tpm",
            gene_table=tmp_path / "g.csv",
        )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "is empty"),
        ("a.csv", b"<!DOCTYPE html><html><body>login</body></html>", "is a web page"),
        ("a.json", b'{"error": "no"}', "is a JSON document"),
        ("a.csv", b"one\ntwo\n", "has one column only"),
        ("a.csv", b"case_id,TP53\n", "has no row below its header"),
        ("a.csv", b"case_id,TP53\nP1,\xff\xfe\n", "is not UTF-8 text"),
        ("a.xlsx", b"PK\x03\x04rest", "is an Excel workbook"),
        ("a.tsv.gz", gzip.compress(b"gene_id\tP1\nTP53\t1.5\n", mtime=0)[:-9], "is a truncated gzip file"),
        ("a.h5ad", b"not HDF5 at all", "a.h5ad"),
        ("gdc_manifest.txt", b"id\tfilename\tmd5\tsize\tstate\na\tb\tc\t1\treleased\n", "is a GDC manifest"),
    ],
)  # fmt: skip
def test_what_is_no_expression_is_named(imported, tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(CohortError, match=message):
        imported(tmp_path / name)

    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_without_expression_says_what_it_holds(imported, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.md").write_text("hello")

    with pytest.raises(MissingFileError, match=r"no expression in .*: 1 files, 'notes.md'"):
        imported(tmp_path / "in")


def test_cells_of_the_clinical_table_win_over_those_of_the_source(imported, tmp_path):
    path = make_cohort(tmp_path / "in.h5ad", n_cases=3, declared="log", case_ids=list(CASES))
    clinical = tmp_path / "clinical.csv"
    clinical.write_text("case_id,label,age\nP01,new,7\nP02,,8\n")

    _, adata = imported(path, labels=clinical, label_key="label")

    assert adata.obs["label"].tolist() == ["new", "LUAD", "LUAD"]
    assert adata.obs["age"].tolist()[:2] == [7, 8]


def test_a_clinical_table_of_other_cases_is_refused(imported, tmp_path):
    path = make_cohort(tmp_path / "in.h5ad", n_cases=3, declared="log", case_ids=list(CASES))
    clinical = tmp_path / "clinical.csv"
    clinical.write_text("case_id,label\nX1,new\n")

    with pytest.raises(CohortError, match="has none of the 3 cases"):
        imported(path, labels=clinical)
