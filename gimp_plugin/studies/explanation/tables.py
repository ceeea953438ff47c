"""Tables of an explanation: cases, halves and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.data.cases import Case
from gimp_plugin.evaluation.statistics import mean_interval
from gimp_plugin.explain.modalities import shapley
from gimp_plugin.prediction.halves import modalities_of
from gimp_plugin.storage.atomic import write_json
from gimp_plugin.storage.tables import write_csv
from gimp_plugin.studies.explanation.inputs import Inputs
from gimp_plugin.studies.explanation.results import CaseResult

Results = Sequence[tuple[Case, CaseResult]]

CASES, MODALITIES, FAITHFULNESS = "cases.csv", "modalities.csv", "faithfulness.csv"
SUMMARY = "faithfulness.json"
FOUR = ("both", keys.SLIDES, keys.GENES, "none")


def probabilities(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probability of each class from its log-odds against all others."""
    return np.asarray(1 / (1 + np.exp(-odds)))


def own_evidence(result: CaseResult) -> NDArray[np.float64]:
    """Log-odds from the halves that a case has."""
    return np.asarray(result.evidence[np.isfinite(result.evidence).all(axis=1)][0])


def write_cases(path: Path, results: Results, inputs: Inputs) -> None:
    """Write one row per case: its prediction and the explained class.

    Parameters
    ----------
    path
        The table.
    results, inputs
        The cases.
    """
    rows = []
    for case, result in results:
        odds = own_evidence(result)
        rows.append(
            {
                "case_id": case.case_id,
                "split": inputs.parts[case.case_id],
                "label": inputs.study.labels.get(case.case_id),
                "predicted": inputs.classes[int(odds.argmax())],
                "explained": inputs.classes[result.target],
                "log_odds": float(odds[result.target]),
                "modalities": modalities_of(case),
                "n_slides": len(case.bags),
                "n_patches": case.n_patches,
            }
        )
    write_csv(path, rows, columns=list(rows[0]))


def write_modalities(path: Path, results: Results, inputs: Inputs) -> bool:
    """Write which half decided, one row per case for which all four predictions exist.

    Parameters
    ----------
    path
        The table.
    results, inputs
        The cases.

    Returns
    -------
    Whether there is any such case; otherwise nothing is written.
    """
    rows = []
    for case, result in results:
        if not np.isfinite(result.evidence).all():
            continue
        named = dict(zip(FOUR, result.evidence[:, result.target], strict=True))
        shares = shapley(**{name: np.asarray(value) for name, value in named.items()})
        in_probability = shapley(
            **{name: probabilities(np.asarray(value)) for name, value in named.items()}
        )
        slides, genes = float(shares.slides), float(shares.genes)
        rows.append(
            {
                "case_id": case.case_id,
                "explained": inputs.classes[result.target],
                **{f"prob_{name}": float(probabilities(odds)) for name, odds in named.items()},
                **{f"log_odds_{name}": float(odds) for name, odds in named.items()},
                "shapley_slides": slides,
                "shapley_genes": genes,
                "shapley_slides_prob": float(in_probability.slides),
                "shapley_genes_prob": float(in_probability.genes),
                "decided": keys.SLIDES if slides > genes else keys.GENES,
            }
        )
    if rows:
        write_csv(path, rows, columns=list(rows[0]))
    return bool(rows)


def write_faithfulness(folder: Path, results: Results, inputs: Inputs, *, seed: int) -> None:
    """Write the metrics of each case, and their means with intervals over cases.

    Parameters
    ----------
    folder
        Folder to write to.
    results, inputs
        The cases.
    seed
        Seed of the intervals.
    """
    measured = [(case, result.metrics) for case, result in results if result.metrics]
    names = sorted({name for _, metrics in measured for name in metrics})
    rows = [
        {
            "case_id": case.case_id,
            "split": inputs.parts[case.case_id],
            **{name: metrics.get(name) for name in names},
        }
        for case, metrics in measured
    ]
    write_csv(folder / FAITHFULNESS, rows, columns=["case_id", "split", *names])
    write_json(folder / SUMMARY, _summary([metrics for _, metrics in measured], names, seed))


def _summary(
    measured: Sequence[Mapping[str, float]], names: Sequence[str], seed: int
) -> dict[str, Any]:
    """Mean of each metric over the cases that have it, with its 95 % interval."""
    found = {}
    for name in names:
        values = np.array([metrics[name] for metrics in measured if name in metrics])
        if name.endswith("completeness_error"):
            found[f"{name}_abs"] = _stated(np.abs(values), seed)
        else:
            found[name] = _stated(values, seed)
    return found


def _stated(values: NDArray[np.float64], seed: int) -> dict[str, Any]:
    """Mean, interval, and number of cases."""
    low, high = mean_interval(values, seed=seed)
    return {"mean": float(values.mean()), "low": low, "high": high, "n_cases": len(values)}
