"""Faults of values, genes and cases: each planted alone is found, and named."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gimp_plugin.cohort.audit import cases, expression, genes
from tests.audit_factory import balanced_labels, log_values, subject_of

LABELS = balanced_labels(83)


def cohort(values=None, **options):
    options.setdefault("obs", {"label": LABELS})
    return subject_of(log_values() if values is None else values, **options)


def changed(row, column, value):
    values = log_values()
    values[row, column] = value
    return cohort(values)


CHECKS = (
    expression.check_finite,
    expression.check_scale,
    expression.check_one_scale,
    expression.check_silent,
    expression.check_library,
    expression.check_level,
    genes.check_gene_ids,
    genes.check_gene_names,
    genes.check_repeated_genes,
    genes.check_constant_genes,
    cases.check_patients,
    cases.check_profiles,
    cases.check_balance,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_plain_cohort_passes(check):
    assert check(cohort()).verdict == "ok"


def test_values_that_are_not_finite_are_counted_and_the_first_named():
    values = log_values()
    values[5, 3] = np.nan
    values[5, 2] = np.inf
    values[70, 1] = np.nan

    found = expression.check_finite(cohort(values))

    assert found.verdict == "finding"
    assert found.found.startswith("3 values NaN or infinite, in 2 cases and 3 genes")
    assert "case 'P05', gene 'G002'" in found.found


def test_a_case_of_nan_only_stops_no_check():
    values = log_values()
    values[5] = np.nan

    verdicts = [check(cohort(values)).verdict for check in CHECKS]

    assert verdicts[0] == "finding"
    assert set(verdicts) <= {"ok", "finding", "skipped"}


def test_negative_values_that_are_not_declared_are_counted():
    found = expression.check_scale(changed(4, 6, -1.5))

    assert found.verdict == "finding"
    assert "-1.5 of case 'P04', gene 'G006'" in found.found
    assert "1 value below 0" in found.found


def test_a_scale_that_is_impossible_or_unknown_is_found():
    linear = np.exp2(log_values())

    assert expression.check_scale(cohort(linear, declared="fpkm")).verdict == "ok"
    assert "looks linear" in expression.check_scale(cohort(linear, declared="log2")).found
    assert "logged already" in expression.check_scale(cohort(declared="fpkm")).found
    assert "did you mean 'log2'" in expression.check_scale(cohort(declared="log 2")).found


def test_each_doubt_of_a_scale_has_its_own_remedy():
    centred = log_values() - log_values().mean(axis=0)

    scaled = expression.check_scale(cohort(centred, declared="log"))
    logged = expression.check_scale(cohort(declared="fpkm"))

    assert "the mean of every gene is 0" in scaled.found
    assert "'standardised'" in scaled.remedy
    assert "--scale log" not in scaled.remedy
    assert "--scale log" in logged.remedy


def test_linear_cases_among_logarithmic_ones_are_named():
    values = log_values()
    values[[7, 11]] = np.exp2(values[[7, 11]])

    found = expression.check_one_scale(cohort(values))

    assert found.verdict == "finding"
    assert "2 cases have a maximum above 50" in found.found
    assert found.found.endswith("P07, P11")


def test_logarithmic_cases_among_linear_ones_and_plain_ones_among_standardised_are_named():
    linear = np.exp2(log_values())
    linear[9] = log_values()[9]
    standardised = log_values() - 9
    standardised[13] += 9

    assert expression.check_one_scale(cohort(linear)).found.endswith("P09")
    assert expression.check_one_scale(cohort(standardised)).found.endswith("P13")


def test_a_silent_case_is_named_and_is_no_duplicate_of_another():
    values = log_values()
    values[[3, 8]] = 0

    found = expression.check_silent(cohort(values))

    assert found.found.endswith("P03, P08")
    assert cases.check_profiles(cohort(values)).verdict == "ok"


def test_a_case_with_a_hundredth_of_the_reads_is_outlying():
    counts = np.rint(np.exp2(log_values() + 6))
    counts[17] = np.rint(counts[17] / 100)

    found = expression.check_library(cohort(counts))

    assert found.verdict == "finding"
    assert "1 case with an outlying total: P17" in found.found


def of_class(values, name="LUSC"):
    """Rows of a class."""
    return values[np.array(LABELS) == name]


def test_a_class_with_three_times_the_reads_is_found():
    counts = np.exp2(log_values() + 6)
    counts[np.array(LABELS) == "LUSC"] *= 3

    found = expression.check_level(cohort(counts))

    totals = counts.sum(axis=1)
    pairs = of_class(totals)[:, None] > of_class(totals, "LUAD")[None]
    assert found.verdict == "finding"
    assert found.numbers["value"] == pytest.approx(pairs.mean())
    higher = of_class(np.log1p(counts)).mean(axis=0) > of_class(np.log1p(counts), "LUAD").mean(
        axis=0
    )
    assert found.numbers["genes_higher"] == higher.mean() > 0.8
    assert "AUC of LUSC 1.00 (n=83, permutation p=0.001) by the total of a case" in found.found


def test_a_class_with_another_logarithm_is_found():
    values = log_values()
    values[np.array(LABELS) == "LUSC"] *= np.log(2)

    found = expression.check_level(cohort(values))

    assert found.verdict == "finding"
    assert found.numbers["value"] < 0.01
    assert "by the mean of a case" in found.found
    assert expression.check_library(cohort(values)).verdict == "ok"


def test_cases_that_have_three_times_the_reads_whatever_their_class_do_not_tell_it():
    counts = np.exp2(log_values() + 6)
    counts[np.random.default_rng(0).random(83) < 0.5] *= 3

    assert expression.check_level(cohort(counts)).verdict == "ok"


def test_a_third_of_the_genes_far_higher_in_a_class_is_biology():
    found = expression.check_level(cohort())

    assert found.verdict == "ok"
    assert found.numbers["value"] > 0.99
    assert 0.5 < found.numbers["genes_higher"] < 0.8


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        (lambda: cohort(log_values() - log_values().mean(axis=0)), "the values are standardised"),
        (lambda: cohort(obs={}), "obs has no column 'label'"),
        (lambda: cohort(obs={"label": ["LUAD"] * 83}), "one class only"),
        (lambda: cohort(log_values(19), obs={"label": LABELS[:19]}), "only 19 cases, fewer than"),
    ],
)
def test_the_level_of_the_classes_is_not_judged(subject, reason):
    found = expression.check_level(subject())

    assert found.verdict == "skipped"
    assert reason in found.found


def test_a_silent_case_has_no_level():
    values = log_values()
    values[[3, 8]] = 0

    assert expression.check_level(cohort(values)).numbers["n"] == 81


def test_mixed_gene_ids_are_found():
    names = [f"ENSG{gene:011d}" for gene in range(60)] + ["TP53"]

    found = genes.check_gene_ids(cohort(gene_ids=names))

    assert found.verdict == "finding"
    assert "60 Ensembl ids" in found.found
    assert "TP53" in found.found


def test_genes_of_one_name_but_for_their_version_are_found():
    names = [f"ENSG{gene:011d}.{gene % 7}" for gene in range(60)] + ["ENSG00000000005.19"]

    found = genes.check_gene_names(cohort(gene_ids=names))

    assert found.verdict == "finding"
    assert "ENSG00000000005" in found.found


def test_names_that_are_hardly_those_of_genes_are_found():
    names = [*(f"G{column}" for column in range(6)), "1-Mar", "Sep-02", "2006-09-02", "os_days"]

    found = genes.check_gene_names(subject_of(log_values(n_genes=10), gene_ids=names))

    assert found.verdict == "finding"
    assert "3 genes are named like dates" in found.found
    assert "1 gene is named by a word in lower case, unlike the others: 'os_days'" in found.found


@pytest.mark.parametrize(
    "names",
    [
        ["MARCHF1", "SEPTIN2", "DEC1", "C1orf112", "hsa-mir-21", "uc_338", "5S_rRNA", "NKX2-1"],
        ["egfra", "tpma", "myca", "tp53", "krt4", "sox2", "pax6a", "neb"],
    ],
)
def test_names_of_genes_are_not_found(names):
    assert genes.check_gene_names(subject_of(log_values(n_genes=8), gene_ids=names)).verdict == "ok"


def test_genes_with_the_same_values_are_found_unless_they_are_hardly_expressed():
    values = log_values()
    values[:, 9] = values[:, 4]
    rare = log_values()
    rare[:, [9, 4]] = 0
    rare[30, [9, 4]] = 1

    assert "G004 = G009" in genes.check_repeated_genes(cohort(values)).found
    assert genes.check_repeated_genes(cohort(rare)).verdict == "ok"


def test_a_table_of_constants_is_found():
    values = log_values()
    values[:, :40] = 0

    found = genes.check_constant_genes(cohort(values))

    assert found.verdict == "finding"
    assert found.found == "40 of 61 genes (65.6%), 40 of them 0"


def test_a_patient_under_two_names_is_found():
    ids = [f"TCGA-05-{case:04d}-01A" for case in range(82)] + ["TCGA-05-0007-01B"]

    found = cases.check_patients(cohort(case_ids=ids))

    assert found.verdict == "finding"
    assert "TCGA-05-0007-01A = TCGA-05-0007-01B" in found.found


def test_equal_and_nearly_equal_profiles_are_found():
    values = log_values()
    values[40] = values[2]
    values[50] = values[3] + np.random.default_rng(0).normal(size=61) * 1e-4

    found = cases.check_profiles(cohort(values))

    assert found.verdict == "finding"
    assert "P02 = P40" in found.found
    assert "P03 = P50" in found.found
    assert found.numbers["groups"] == [["P02", "P40"], ["P03", "P50"]]


def test_nearly_equal_profiles_are_found_among_more_genes_than_are_screened(monkeypatch):
    monkeypatch.setattr(cases, "_SCREENED_GENES", 30)
    values = log_values()
    values[50] = values[3] + np.random.default_rng(0).normal(size=61) * 1e-4
    half = log_values()
    columns = np.linspace(0, 60, 30).astype(int)
    half[50, columns] = half[3, columns]

    assert cases.duplicate_profiles(cohort(values)) == [[3, 50]]
    assert cases.duplicate_profiles(cohort(half)) == []


def test_profiles_that_resemble_each_other_are_no_duplicates():
    values = log_values()
    values[50] = values[3] + np.random.default_rng(0).normal(size=61) * 0.2

    assert cases.check_profiles(cohort(values)).verdict == "ok"


def test_missing_labels_are_counted():
    labels = ["", *LABELS[1:40], None, *LABELS[41:]]

    found = cases.check_labels(cohort(obs={"label": labels}), asked=False)

    assert found.verdict == "finding"
    assert found.found == "2 of 83 cases without a class: P00, P40"


def test_a_cohort_without_labels_is_no_fault_unless_they_were_asked_for():
    unlabelled = cohort(obs={"age": [61.5] * 83})

    assert cases.check_labels(unlabelled, asked=False).verdict == "skipped"
    assert cases.check_labels(unlabelled, asked=True).verdict == "finding"
    assert cases.check_balance(unlabelled).verdict == "skipped"


@pytest.mark.parametrize(
    ("n_small", "reason"), [(4, "fewer than 5 cases"), (19, "fewer than 20 cases"), (20, None)]
)
def test_small_classes_are_found(n_small, reason):
    labels = ["LUAD"] * (83 - n_small) + ["LUSC"] * n_small

    found = cases.check_balance(cohort(obs={"label": labels}))

    assert found.verdict == ("finding" if reason else "ok")
    assert found.found.startswith(f"class LUSC has {reason}") is bool(reason)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"LUAD": 8, "LUSC": 8}, "classes LUAD, LUSC have fewer than 20 cases: LUAD 8, LUSC 8; "),
        ({"A": 50, "B": 8, "C": 4}, "class C has fewer than 5 cases: A 50, B 8, C 4; "),
        ({"A": 500, "B": 30, "C": 25}, "classes B, C have less than a tenth of the cases: A 500, "),
        (
            {f"K{n}": 2 for n in range(41)},
            "classes K0 (2), K1 (2), K10 (2), K11 (2), K12 (2) and 36 m",
        ),
    ],
)
def test_every_small_class_is_named(sizes, said):
    labels = [label for label, size in sizes.items() for _ in range(size)]

    found = cases.check_balance(cohort(log_values(len(labels)), obs={"label": labels}))

    assert found.found.startswith(said)


@pytest.mark.parametrize(("n_missing", "verdict"), [(0, "ok"), (3, "ok"), (4, "finding")])
def test_a_cohort_that_lacks_genes_of_the_run_is_found(monkeypatch, n_missing, verdict):
    wanted = [f"G{gene:03d}" for gene in range(n_missing, 61)] + [f"X{n}" for n in range(n_missing)]
    record = SimpleNamespace(gene_rows=tuple({"id": name} for name in wanted))
    monkeypatch.setattr(genes, "read_run", lambda path: record)

    found = genes.check_coverage(cohort(), Path("runs/finetune"))

    assert found.verdict == verdict
    assert found.numbers["coverage"] == pytest.approx(1 - n_missing / 61)
    assert ("X0" in found.found) is (n_missing > 0)


def test_a_run_that_cannot_be_read_is_a_finding(tmp_path):
    found = genes.check_coverage(cohort(), tmp_path / "none")

    assert found.verdict == "finding"
    assert "none" in found.found
