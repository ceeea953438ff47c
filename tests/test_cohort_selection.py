"""The most variable genes, against the definition of dispersion and without the other cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gimp_plugin.cohort.expression import Cohort
from gimp_plugin.cohort.selection import variable_genes
from gimp_plugin.errors import CohortError
from tests.cohort_factory import cohort_in_memory

N_GENES = 401
PLANTED = [3, 17, 140]


def a_cohort(scale: str = "log1p") -> Cohort:
    """Genes of all means, of which three vary by far more than others of their mean."""
    rng = np.random.default_rng(0)
    spread = np.full(N_GENES, 0.2)
    spread[PLANTED] = 0.9
    mean = rng.uniform(2, 8, N_GENES)
    values = np.clip(mean + spread * rng.normal(size=(29, N_GENES)), 0, None)
    return cohort_in_memory(np.expm1(values) if scale == "tpm" else values, scale=scale)


@pytest.mark.parametrize("scale", ["log1p", "log2", "tpm"])
def test_the_genes_that_vary_are_found_on_any_scale(scale: str) -> None:
    cohort = a_cohort(scale)

    assert variable_genes(cohort, cohort.case_ids, n_top_genes=3).tolist() == PLANTED


def test_only_training_cases_have_a_say() -> None:
    cohort = a_cohort()
    training = cohort.case_ids[:20]
    values = cohort.values.copy()
    values[20:, 50] = values[:20, 50].mean() + np.linspace(-2, 2, 9)
    other = replace(cohort, values=values)

    assert variable_genes(other, training, n_top_genes=3).tolist() == PLANTED
    assert 50 in variable_genes(other, other.case_ids, n_top_genes=4)


def test_what_cannot_be_chosen_from_is_refused() -> None:
    cohort = a_cohort()
    with pytest.raises(CohortError, match=r"'memory.h5ad' has 401 genes, not more than the 401"):
        variable_genes(cohort, cohort.case_ids, n_top_genes=401)
    with pytest.raises(CohortError, match=r"'memory.h5ad' is standardised"):
        variable_genes(replace(cohort, scale="standardised"), cohort.case_ids, n_top_genes=3)
