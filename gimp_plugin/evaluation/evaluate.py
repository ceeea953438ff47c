"""From tables of predictions to what they are worth."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.cohort.ids import same_case
from gimp_plugin.errors import EvaluationError, listed
from gimp_plugin.evaluation import metrics, statistics
from gimp_plugin.evaluation.comparison import compare
from gimp_plugin.evaluation.gather import Gathered, gather
from gimp_plugin.evaluation.patients import Patients
from gimp_plugin.evaluation.result import ClassScores, Estimate, Evaluation, ModalityScores
from gimp_plugin.storage.runs import read_run

logger = logging.getLogger(__name__)

WITH_INTERVAL: dict[str, metrics.Metric] = {
    "balanced_accuracy": metrics.balanced_accuracy,
    "auc": metrics.auc,
    "macro_f1": metrics.macro_f1,
    "brier": metrics.brier,
    "log_loss": metrics.log_loss,
}


def evaluate(
    predictions: Path | Sequence[Path],
    *,
    part: str | None = None,
    model: Path | None = None,
    others: Sequence[Path | Sequence[Path]] = (),
    seed: int = 0,
) -> Evaluation:
    """Compare predictions with the labels.

    The unit is the patient. Several tables of the same patients are seeds, whose probabilities are
    averaged first; tables of different patients are folds, over which the AUC is averaged by size.

    Parameters
    ----------
    predictions
        Tables that `predict` wrote, of one system.
    part
        Part to evaluate; by default `test`, or `new` where there is no test. `train` and `val`
        only show how well the model fits.
    model
        Run that made the predictions: no evaluated case may be one that it was trained on.
    others
        Other systems to test against, on the same patients.
    seed
        Of the bootstrap and the permutations.

    Returns
    -------
    Metrics with their intervals.

    Raises
    ------
    EvaluationError
        If a table cannot be trusted, there is nothing to evaluate, a class is absent, or a case
        was trained on.
    CheckpointError
        If `model` is no finished run.
    """
    paths = _listed_paths(predictions)
    found = gather(paths, part=part)
    if model is not None:
        _check_model(model, found)
    systems = [(_name(one), gather(_listed_paths(one), part=found.part).patients) for one in others]
    patients = found.patients
    warnings = (*found.warnings, *_caveats(patients))
    for warning in warnings:
        logger.warning("%s", warning)
    return Evaluation(
        predictions=tuple(map(_shown, paths)),
        part=found.part,
        n_cases=len(patients),
        n_unlabelled=found.n_unlabelled,
        n_folds=len(patients.fold_names),
        n_seeds=len(found.by_seed) or 1,
        metrics=_estimates(patients, seed=seed),
        by_class=_by_class(patients),
        by_modalities=_by_modalities(patients, seed=seed),
        by_seed=_by_seed(found),
        comparisons=compare(patients, systems, seed=seed),
        warnings=warnings,
        draws=statistics.N_DRAWS,
        seed=seed,
    )


def _estimates(patients: Patients, *, seed: int) -> dict[str, Estimate]:
    """All metrics, with their intervals."""
    wanted = dict(WITH_INTERVAL)
    if len(patients.fold_names) > 1:
        wanted["auc_pooled"] = metrics.pooled_auc
    ends = statistics.bootstrap(patients, wanted, seed=seed)
    return {
        "accuracy": _share(patients.predicted == patients.labels),
        **{
            name: Estimate(_value(metric, patients), *ends[name]) for name, metric in wanted.items()
        },
        "calibration_error": Estimate(_value(metrics.calibration_error, patients)),
    }


def _by_class(patients: Patients) -> dict[str, ClassScores]:
    """Sensitivity and specificity of each class."""
    scores = {}
    for place, name in enumerate(patients.classes):
        true, called = patients.labels == place, patients.predicted == place
        scores[name] = ClassScores(int(true.sum()), _share(called[true]), _share(~called[~true]))
    return scores


def _by_modalities(patients: Patients, *, seed: int) -> dict[str, ModalityScores]:
    """Scores of the cases that were predicted from the same halves."""
    scores = {}
    for name in (*keys.MODALITIES, ""):
        some = patients.where([name == own for own in patients.modalities])
        if len(some):
            accuracy = _share(some.predicted == some.labels)
            scores[name or "unknown"] = ModalityScores(len(some), accuracy, _auc(some, seed=seed))
    return scores


def _auc(patients: Patients, *, seed: int) -> Estimate | None:
    """AUC with its interval; None where a fold lacks a class."""
    cells = set(zip(patients.folds, patients.labels.tolist(), strict=True))
    if len(cells) < len(patients.fold_names) * len(patients.classes):
        return None
    ends = statistics.bootstrap(patients, {"auc": metrics.auc}, seed=seed)
    return Estimate(_value(metrics.auc, patients), *ends["auc"])


def _by_seed(found: Gathered) -> dict[str, tuple[float, ...]]:
    """Accuracy and AUC of each seed alone."""
    if not found.by_seed:
        return {}
    wanted = {"accuracy": metrics.accuracy, "AUC": metrics.auc}
    return {
        name: tuple(_value(metric, one) for one in found.by_seed) for name, metric in wanted.items()
    }


def _check_model(model: Path, found: Gathered) -> None:
    """Refuse predictions that cannot be those of a run, or of cases that it was trained on."""
    record = read_run(model)
    if record.classes != found.patients.classes:
        problem = (
            f"run {str(model)!r} knows the classes {listed(record.classes)}, "
            f"the predictions have {listed(found.patients.classes)}"
        )
        raise EvaluationError(problem, hint="give the run that made these predictions")
    if found.part in {keys.TEST, keys.NEW}:
        known = {same_case(case) for cases in record.trained_on.values() for case in cases}
        leaked = [case for case in found.patients.case_ids if same_case(case) in known]
        if leaked:
            problem = (
                f"{len(leaked)} of {len(found.patients)} {found.part} cases were training or "
                f"validation cases of run {str(model)!r} or of a run it came from: {listed(leaked)}"
            )
            raise EvaluationError(problem, hint="predict with that run again, and evaluate that")


def _caveats(patients: Patients) -> Iterator[str]:
    """Warn of an interval that promises too much."""
    if _value(metrics.auc, patients) in {0.0, 1.0}:
        yield "the bootstrap interval of the AUC has no width here: see that of the accuracy"


def _value(metric: metrics.Metric, patients: Patients) -> float:
    """Estimate of a metric."""
    return float(metric(patients, np.ones((1, len(patients))))[0])


def _share(hits: NDArray[np.bool_]) -> Estimate:
    """Share of hits with Wilson's interval."""
    n_hits, n = int(hits.sum()), hits.size
    return Estimate(n_hits / n, *statistics.wilson(n_hits, n))


def _listed_paths(paths: Path | Sequence[Path]) -> list[Path]:
    """Tables of one system."""
    return [paths] if isinstance(paths, Path) else list(paths)


def _name(system: Path | Sequence[Path]) -> str:
    """Name of a system by its tables."""
    first, *more = _listed_paths(system)
    return f"{_shown(first)} and {len(more)} more" if more else _shown(first)


def _shown(path: Path) -> str:
    """Path as it goes into a result: never an absolute one."""
    return path.name if path.is_absolute() else path.as_posix()
