from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from gimp_plugin.cohort.expression import labels_of
from gimp_plugin.cohort.labels import classes_of
from gimp_plugin.errors import CohortError
from tests.cohort_factory import cohort_in_memory


def labels(column: Any, key: str = "label", **options: int) -> dict[str, str]:
    cohort = cohort_in_memory(np.ones((len(column), 2)), obs={"label": column})
    return labels_of(cohort, key, **options)


def refusal(column: Any, key: str = "label") -> str:
    with pytest.raises(CohortError) as caught:
        labels(column, key)
    assert caught.value.exit_code == 3
    assert "memory.h5ad" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("column", "classes"),
    [
        (["b", "a", "b"], ["b", "a", "b"]),
        (pd.Categorical(["b", "a", "b"]), ["b", "a", "b"]),
        (np.array([3, 1, 3]), ["3", "1", "3"]),
        (np.array([1.0, 0.0, 1.0]), ["1", "0", "1"]),
        (np.array([True, False, True]), ["True", "False", "True"]),
        (pd.array(["b", "a", "b"], dtype="string"), ["b", "a", "b"]),
        (["b ", "a", "b"], ["b", "a", "b"]),
    ],
)
def test_classes_are_text_by_case(column: Any, classes: list[str]) -> None:
    assert labels(column) == dict(zip(["P00", "P01", "P02"], classes, strict=True))


def test_a_missing_column_offers_the_nearest() -> None:
    message = refusal(["a", "b"], key="labels")

    assert "did you mean 'label'?" in message
    assert "--label-key" in message


def test_a_cohort_without_classes_is_told_of_tables() -> None:
    obs = pd.DataFrame(index=["P1", "P2"])

    with pytest.raises(CohortError, match="has no column 'label'") as caught:
        classes_of(obs, "label", path="genes.h5ad")
    assert caught.value.hint == "give a table of the classes with --labels"


@pytest.mark.parametrize("empty", [np.nan, None, "", "  ", pd.NA])
def test_cases_without_a_class_are_counted_and_listed(empty: Any) -> None:
    message = refusal(pd.Series(["a", "b"] + 6 * [empty], dtype=object).to_numpy())

    assert "6 of 8 cases" in message
    assert "obs['label']" in message
    assert "'P02', 'P03', 'P04', 'P05', 'P06' and 1 more" in message


def test_a_gap_between_numbers_is_a_missing_class() -> None:
    assert "1 of 3 cases" in refusal(np.array([0.0, np.nan, 1.0]))


def test_mixed_kinds_are_refused_with_one_of_each() -> None:
    message = refusal(pd.Series(["LUAD", 1, "LUAD"], dtype=object).to_numpy())

    assert "mixes text and whole numbers" in message
    assert "'LUAD' of case 'P00', 1 of case 'P01'" in message


def test_measurements_are_no_classes() -> None:
    assert "measurements" in refusal([0.5, 1.25, 0.5])


def test_objects_are_no_classes() -> None:
    assert "mixes list and text" in refusal(pd.Series([["a"], "b"], dtype=object).to_numpy())


def test_one_class_is_refused_by_name() -> None:
    assert "one class only, 'LUAD'" in refusal(["LUAD", "LUAD"])


def test_one_class_is_enough_where_nothing_is_trained() -> None:
    assert labels(["LUAD", "LUAD"], min_classes=1) == {"P00": "LUAD", "P01": "LUAD"}
