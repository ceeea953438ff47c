"""Leaks planted in a cohort are found; the cohort without them, and controls, are not flagged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gimp_plugin.cohort.audit import audit
from gimp_plugin.cohort.audit.floors import check_floors, floors_of
from gimp_plugin.cohort.audit.groups import groupings_of
from gimp_plugin.cohort.audit.standardised import check_standardised, moments_of
from tests.audit_factory import (
    LEAKS,
    SITE,
    balanced_labels,
    log_values,
    standardise,
    standardise_within,
    subject_of,
    verdicts,
    with_floors,
)

REAL = Path(__file__).parents[2] / "shared" / "data" / "cohort" / "genes.h5ad"
LABELS = balanced_labels(83)


def leaks_of(values, labels=LABELS, **obs):
    subject = subject_of(values, obs={"label": labels, **obs})
    groupings = groupings_of(subject)
    return [check(subject, groupings) for check in (check_standardised, check_floors)]


def flags(values, labels=LABELS, **obs):
    return [found.verdict == "finding" for found in leaks_of(values, labels, **obs)]


def test_a_plain_cohort_is_not_flagged():
    assert flags(log_values()) == [False, False]


def test_a_cohort_with_zeros_is_not_flagged():
    assert flags(with_floors(log_values())) == [False, False]


@pytest.mark.parametrize("ddof", [0, 1])
def test_a_cohort_standardised_as_a_whole_is_not_flagged(ddof):
    assert flags(standardise(log_values(), ddof=ddof)) == [False, False]
    assert flags(standardise(with_floors(log_values()), ddof=ddof)) == [False, False]


@pytest.mark.parametrize("ddof", [0, 1])
def test_classes_standardised_on_their_own_are_flagged(ddof):
    standardised, floors = leaks_of(standardise_within(log_values(), LABELS, ddof=ddof))

    assert (standardised.verdict, floors.verdict) == ("finding", "ok")
    assert "within LUAD, LUSC of label" in standardised.found
    assert "100.0% of 61 genes have mean 0 and standard deviation 1" in standardised.found
    assert standardised.why
    assert standardised.remedy


def test_clipping_at_three_does_not_hide_it():
    values = np.random.default_rng(0).gamma(
        4.0, size=(83, 61)
    )  # long tails, so that clipping bites
    leak = standardise_within(values, LABELS)

    assert (leak > 3).any()
    assert flags(np.clip(leak, -3, 3)) == [True, False]


def test_classes_that_are_centred_only_are_flagged_too():
    values = log_values()
    for name in ("LUAD", "LUSC"):
        rows = np.array(LABELS) == name
        values[rows] -= values[rows].mean(axis=0)
    values *= np.linspace(0.3, 3, 61)

    standardised, _ = leaks_of(values)

    assert standardised.verdict == "finding"
    assert standardised.found.endswith("have mean 0")


def test_classes_moved_to_a_common_mean_are_flagged_too():
    values = log_values()
    mean = values.mean(axis=0)
    for name in ("LUAD", "LUSC"):
        rows = np.array(LABELS) == name
        values[rows] += mean - values[rows].mean(axis=0)

    standardised, _ = leaks_of(values)

    assert "the same mean" in standardised.found


def test_classes_scaled_to_a_range_on_their_own_are_flagged_and_a_whole_cohort_is_not():
    values = log_values()
    whole = (values - values.min(axis=0)) / np.ptp(values, axis=0)
    within = values.copy()
    for name in ("LUAD", "LUSC"):
        rows = np.array(LABELS) == name
        within[rows] = (values[rows] - values[rows].min(axis=0)) / np.ptp(values[rows], axis=0)

    assert flags(whole) == [False, False]
    assert flags(within) == [True, False]


def test_whole_numbers_of_one_range_are_no_scaling():
    present = np.random.default_rng(0).random((83, 61)) < 0.5

    assert flags(present) == [False, False]


def test_another_column_is_looked_at_and_named():
    values = log_values()
    project = np.random.default_rng(1).choice(["north", "south", "west"], 83).tolist()

    standardised, _ = leaks_of(standardise_within(values, project), project=project)

    assert "within north, south, west of project" in standardised.found


def test_columns_that_divide_the_cases_alike_are_one():
    project = [f"TCGA-{label}" for label in LABELS]

    standardised, _ = leaks_of(standardise_within(log_values(), LABELS), project=project)

    assert "label (the same groups as project)" in standardised.found
    assert list(standardised.numbers["groupings"]) == ["label (the same groups as project)"]


def test_groups_that_were_drawn_are_not_flagged_in_a_leak_of_other_groups():
    drawn = np.random.default_rng(2).permutation(LABELS).tolist()

    values = standardise_within(with_floors(log_values()), LABELS)
    swapped = subject_of(values, obs={"label": drawn})

    assert [
        check(swapped, groupings_of(swapped)).verdict
        for check in (check_standardised, check_floors)
    ] == [
        "ok",
        "ok",
    ]


def test_floors_of_classes_standardised_on_their_own_are_named_with_the_rule():
    values = standardise_within(with_floors(log_values()), LABELS)

    standardised, floors = leaks_of(values)

    assert (standardised.verdict, floors.verdict) == ("finding", "finding")
    seen = floors.numbers["groupings"]["label"]
    assert set(seen["genes"]) <= {f"G{gene:03d}" for gene in range(0, 61, 10)}
    assert seen["n_genes"] >= 3
    assert all(gene in floors.found for gene in seen["genes"][:5])
    assert f"accuracy of {seen['stump_accuracy']:.1%}" in floors.found


def test_the_accuracy_of_the_rule_is_that_of_a_stump_written_by_hand():
    values = standardise_within(with_floors(log_values()), LABELS).astype(np.float32)
    subject = subject_of(values, obs={"label": LABELS})
    found = floors_of(subject, groupings_of(subject)[0])
    labels = np.array(LABELS)

    best = 0.0
    decided = np.zeros(83, dtype=bool)
    for gene in found.genes:
        column = values[:, int(gene[1:])]
        floor = {name: column[labels == name].min() for name in ("LUAD", "LUSC")}
        told = np.where(
            column == floor["LUAD"], "LUAD", np.where(column == floor["LUSC"], "LUSC", "")
        )
        rest = labels[told == ""]
        fallback = "LUAD" if (rest == "LUAD").sum() >= (rest == "LUSC").sum() else "LUSC"
        best = max(best, float((np.where(told == "", fallback, told) == labels).mean()))
        decided |= told != ""

    assert found.accuracy == pytest.approx(best)
    assert found.decided == pytest.approx(decided.mean())


def test_one_gene_with_two_floors_is_enough_when_chance_is_out_of_the_question():
    values = standardise(log_values())
    values[np.array(LABELS) == "LUAD", 7] = np.maximum(values[np.array(LABELS) == "LUAD", 7], -0.4)
    values[np.array(LABELS) == "LUSC", 7] = np.maximum(values[np.array(LABELS) == "LUSC", 7], 0.8)

    _, floors = leaks_of(values)

    assert floors.verdict == "finding"
    assert "1 gene of 1 with floors (G007)" in floors.found


@pytest.mark.parametrize("seed", range(5))
def test_counts_whose_lowest_value_differs_by_class_are_biology(seed):
    rng = np.random.default_rng(seed)
    rate = np.where(np.array(LABELS) == "LUAD", 1.0, 6.0)[:, None]

    assert flags(rng.poisson(rate, size=(83, 61))) == [False, False]


@pytest.mark.parametrize("kind", ["counts", "log counts", "rounded"])
def test_values_that_are_often_tied_have_floors_by_chance(kind):
    """20 tables whose sites and stages were drawn by lot: none is flagged."""
    flagged = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        n_cases, n_genes = (59, 401) if seed % 2 else (173, 203)
        rate = rng.gamma(1.0, np.exp(rng.normal(1.5, 1.5, n_genes)), (n_cases, n_genes))
        counts = rng.poisson(rate).astype(float)
        values = {"counts": counts, "log counts": np.log2(1 + counts)}.get(kind)
        if values is None:
            values = np.log2(1 + 1e6 * counts / counts.sum(axis=1, keepdims=True)).round(1)
        flagged += flags(
            values,
            rng.choice(["A", "B", "C"], n_cases),
            site=rng.choice([f"S{site}" for site in range(n_cases // 8)], n_cases),
            stage=rng.choice(["I", "II", "III", "IV"], n_cases),
        )[1]

    assert flagged == 0


def test_a_column_of_measurements_and_one_of_names_make_no_groups():
    ages = np.random.default_rng(0).normal(60, 9, size=83)
    names = [f"name {case}" for case in range(83)]

    subject = subject_of(log_values(), obs={"age": ages, "name": names})

    assert groupings_of(subject) == []
    assert check_standardised(subject, []).verdict == "skipped"


def test_moments_are_those_of_numpy():
    values = log_values(n_cases=31, n_genes=9).astype(np.float32)
    labels = np.array(balanced_labels(31, ("a", "b", "c")))
    subject = subject_of(values, obs={"label": labels.tolist()})

    grouping = groupings_of(subject)[0]
    found = moments_of(subject, grouping)

    for row, name in enumerate(grouping.names):
        group = values[labels == name].astype(float)
        np.testing.assert_allclose(found.mean[row], group.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(found.sd[row], group.std(axis=0), rtol=1e-9)
        np.testing.assert_array_equal(found.low[row], group.min(axis=0))
        np.testing.assert_array_equal(found.high[row], group.max(axis=0))


def test_genes_that_are_not_finite_are_left_out():
    values = standardise_within(log_values(), LABELS)
    values[4, 5] = np.nan

    standardised, _ = leaks_of(values)

    assert "100.0% of 60 genes" in standardised.found


# The same on the real cohort.


@pytest.fixture(scope="module")
def real():
    if not REAL.exists():
        pytest.skip("the evaluation data are not here")
    import anndata

    return anndata.read_h5ad(REAL)


def audit_with(adata, values, folder, labels=None):
    changed = adata.copy()
    changed.X = values.astype(np.float32)
    if labels is not None:
        changed.obs["label"] = labels
    changed.write_h5ad(folder / "genes.h5ad")
    return audit(folder / "genes.h5ad")


def test_the_real_cohort_is_flagged_for_its_sites_only(real, tmp_path):
    found = audit_with(real, np.asarray(real.X, dtype=float), tmp_path)

    assert verdicts(found) == ["ok", "ok"]
    assert [each.check for each in found.findings] == [SITE]
    assert found.of(SITE).numbers["n_shared_sites"] == 0
    assert found.of(SITE).numbers["value"] > 0.9


@pytest.mark.parametrize("factor", [3, np.log(2)])
def test_the_real_cohort_with_one_class_on_another_scale_is_flagged(real, tmp_path, factor):
    values = np.asarray(real.X, dtype=float)
    own = (real.obs["label"] == "LUSC").to_numpy()
    values[own] = (
        np.log2((2 ** values[own] - 1) * factor + 1) if factor > 1 else values[own] * factor
    )

    found = audit_with(real, values, tmp_path)

    assert found.of("expression level = label").verdict == "finding"


def test_the_real_cohort_standardised_as_a_whole_is_flagged_for_no_leak(real, tmp_path):
    found = audit_with(real, standardise(np.asarray(real.X, dtype=float)), tmp_path)

    assert verdicts(found) == ["ok", "ok"]
    assert {each.check for each in found.findings} == {"scale", SITE}


def test_the_real_cohort_standardised_by_class_is_flagged(real, tmp_path):
    labels = real.obs["label"].astype(str).tolist()

    found = audit_with(real, standardise_within(np.asarray(real.X, dtype=float), labels), tmp_path)

    assert verdicts(found, (*LEAKS, SITE)) == ["finding", "ok", "finding"]
    assert "within LUAD, LUSC of label, 100.0% of 779 genes" in found.of(LEAKS[0]).found


def test_the_real_cohort_with_zeros_standardised_by_class_is_flagged_for_its_floors(real, tmp_path):
    labels = real.obs["label"].astype(str).tolist()
    values = standardise_within(with_floors(np.asarray(real.X, dtype=float)), labels)

    found = audit_with(real, values, tmp_path)

    assert verdicts(found, (*LEAKS, SITE)) == ["finding", "finding", "finding"]
    seen = found.of(LEAKS[1]).numbers["groupings"]["label"]
    planted = set(real.var_names[::10])
    assert seen["n_genes"] == 78 == len(planted)
    assert set(seen["genes"]) == planted
    assert seen["stump_accuracy"] > 0.7
    assert seen["majority_accuracy"] < 0.55
    assert seen["share_of_cases_decided"] > 0.99


def test_shuffled_labels_have_nothing_to_do_with_the_sites(real, tmp_path):
    labels = np.random.default_rng(0).permutation(real.obs["label"].astype(str).to_numpy())

    found = audit_with(real, np.asarray(real.X, dtype=float), tmp_path, labels=labels)

    assert found.findings == ()
    assert found.of(SITE).numbers["value"] < 0.2


def test_the_real_cohort_standardised_in_drawn_groups_is_not_flagged_for_its_classes(
    real, tmp_path
):
    drawn = np.random.default_rng(0).permutation(real.obs["label"].astype(str).to_numpy())
    values = standardise_within(with_floors(np.asarray(real.X, dtype=float)), drawn.tolist())

    assert verdicts(audit_with(real, values, tmp_path)) == ["ok", "ok"]
