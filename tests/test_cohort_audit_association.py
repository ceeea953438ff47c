"""Associations with the class: against closed forms and other libraries, and what chance does."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency
from sklearn.metrics import roc_auc_score

from gimp_plugin.cohort.audit.association import cramers_v, of_category, of_number
from gimp_plugin.cohort.audit.sites import check_sites, sites_of
from gimp_plugin.errors import CohortError
from tests.audit_factory import balanced_labels, log_values, subject_of


@pytest.mark.parametrize("shape", [(2, 2), (7, 2), (5, 3)])
def test_cramers_v_is_bergsmas(shape):
    table = np.random.default_rng(0).integers(1, 40, size=shape).astype(float)
    n, (r, k) = table.sum(), shape
    chi2 = chi2_contingency(table, correction=False).statistic

    phi2 = max(0.0, chi2 / n - (r - 1) * (k - 1) / (n - 1))
    least = min(r - (r - 1) ** 2 / (n - 1), k - (k - 1) ** 2 / (n - 1)) - 1

    assert cramers_v(table) == pytest.approx(np.sqrt(phi2 / least))


def test_many_sites_of_few_cases_are_no_association_by_chance():
    rng = np.random.default_rng(1)
    sites, labels = rng.integers(0, 59, 400).tolist(), rng.choice(["a", "b"], 400).tolist()
    table = np.zeros((59, 2))
    for site, label in zip(sites, labels, strict=True):
        table[site, int(label == "b")] += 1
    plain = np.sqrt(chi2_contingency(table[table.sum(axis=1) > 0]).statistic / 400)

    seen = of_category(sites, labels)

    assert plain > 0.3
    assert seen.value < 0.3
    assert not seen.strong


def test_the_auc_is_that_of_scikit_learn():
    rng = np.random.default_rng(2)
    labels = rng.choice(["a", "b"], 57)
    numbers = rng.integers(0, 9, 57) + 3.0 * (labels == "b")

    seen = of_number(numbers.tolist(), labels.tolist())

    assert seen.value == pytest.approx(roc_auc_score(labels == "b", numbers))
    assert (seen.class_name, seen.n, seen.strong) == ("b", 57, True)


def test_of_several_classes_the_one_that_stands_apart_is_named():
    rng = np.random.default_rng(3)
    labels = rng.choice(["a", "b", "c"], 91)
    numbers = rng.normal(size=91) - 4.0 * (labels == "b")

    seen = of_number(numbers.tolist(), labels.tolist())

    assert (seen.class_name, seen.strong) == ("b", True)
    assert seen.value == pytest.approx(roc_auc_score(labels == "b", numbers))


def test_ten_cases_are_too_few_to_be_flagged_even_when_they_agree():
    labels = balanced_labels(10)

    assert of_category(labels, labels).value == pytest.approx(1.0)
    assert not of_category(labels, labels).strong
    assert of_category(labels * 3, labels * 3).strong


def test_noise_is_seldom_flagged():
    rng = np.random.default_rng(4)
    labels = balanced_labels(24)

    flagged = [of_number(rng.normal(size=24).tolist(), labels).strong for _ in range(60)]

    assert sum(flagged) <= 3


def test_cases_without_a_value_or_a_class_are_left_out():
    assert of_category(["x", None, "y", "x"], ["a", "a", "b", None]).n == 2
    assert of_number([1.0, 2.0, 3.0], ["a", None, "b"]).n == 2


def site_finding(labels, *, site_key=None, case_ids=None, **obs):
    subject = subject_of(
        log_values(len(labels), 5), obs={"label": labels, **obs}, case_ids=case_ids
    )
    return check_sites(subject, site_key)


def test_sites_of_one_class_each_are_flagged():
    labels = balanced_labels(40)

    found = site_finding(labels, site=[f"{label}-{case % 3}" for case, label in enumerate(labels)])

    assert found.verdict == "finding"
    assert "no site has cases of two classes" in found.found
    assert "gimp split --by-site" in found.remedy


def test_sites_with_both_classes_are_not():
    found = site_finding(balanced_labels(40), site=[str(case // 10) for case in range(40)])

    assert found.verdict == "ok"
    assert "4 of them with more than one class" in found.found


def test_the_site_of_tcga_ids_is_their_second_field():
    labels = balanced_labels(40)
    ids = [
        f"TCGA-{'05' if label == 'LUAD' else '18'}-{case:04d}" for case, label in enumerate(labels)
    ]

    found = site_finding(labels, case_ids=ids)

    assert found.verdict == "finding"
    assert "the TCGA ids, 2 sites" in found.found


def test_a_column_of_another_name_is_taken_when_it_is_named():
    labels = balanced_labels(40)

    assert site_finding(labels, hospital=labels).verdict == "skipped"
    assert site_finding(labels, hospital=labels, site_key="hospital").verdict == "finding"


def test_an_unknown_site_column_is_refused_with_the_nearest():
    subject = subject_of(log_values(9, 5), obs={"hospital": list("aabbccdde")})

    with pytest.raises(CohortError, match="'hopital', did you mean 'hospital'"):
        sites_of(subject, "hopital")


def test_a_site_in_few_cases_is_not_judged():
    labels = balanced_labels(10)

    assert site_finding(labels, site=labels).verdict == "skipped"
