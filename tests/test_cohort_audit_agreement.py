"""Groups that agree better than chance allows, against an analysis of variance."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_selection import f_classif

from gimp_plugin.cohort.audit.agreement import agreement_of
from gimp_plugin.cohort.audit.groups import groupings_of
from gimp_plugin.cohort.audit.standardised import check_standardised
from tests.audit_factory import log_values, standardise, standardise_within, subject_of

N_CASES, N_GENES = 211, 67


def labels_of(n_cases: int = N_CASES, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(["LUAD", "LUSC", "SCLC"], n_cases, p=[0.5, 0.3, 0.2])


def left(values: np.ndarray, labels: np.ndarray, share: float, seed: int = 1):
    """A cohort of which a share of the cases was left out."""
    kept = np.random.default_rng(seed).random(len(values)) >= share
    return subject_of(values[kept], obs={"label": labels[kept]})


@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_classes_standardised_with_cases_that_are_gone_are_flagged(share):
    labels = labels_of()
    leak = left(standardise_within(log_values(N_CASES, N_GENES), labels), labels, share)

    found = check_standardised(leak, groupings_of(leak))

    assert found.verdict == "finding"
    assert "the means of LUAD, LUSC, SCLC of label differ by" in found.found
    assert "of the variance that chance gives (permutation p=0.001)" in found.found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_a_table_standardised_as_a_whole_is_not_flagged_whatever_is_left_out(share, seed):
    values = standardise(log_values(N_CASES, N_GENES, seed=seed))
    clean = left(values, labels_of(seed=seed + 9), share, seed)

    assert check_standardised(clean, groupings_of(clean)).verdict == "ok"


def test_the_variance_between_groups_is_that_of_an_analysis_of_variance():
    values, labels = log_values(N_CASES, N_GENES), labels_of(seed=3)
    subject = subject_of(values, obs={"label": labels})
    f_values, _ = f_classif(values.astype(np.float32).astype(float), labels)
    groups, within = 2, N_CASES - 3
    share = f_values * groups / (f_values * groups + within)  # of the variance, in each gene

    found = agreement_of(subject, groupings_of(subject)[0])

    by_chance = groups / (N_CASES - 1)
    assert found.ratio == pytest.approx(share.mean() / by_chance, rel=0.1)  # 999 permutations


def test_few_cases_or_genes_say_nothing():
    labels = ["a", "b"] * 9
    few_cases = subject_of(log_values(18, N_GENES), obs={"label": labels})
    few_genes = subject_of(log_values(40, 11), obs={"label": ["a", "b"] * 20})

    for subject in (few_cases, few_genes):
        assert agreement_of(subject, groupings_of(subject)[0]) is None
