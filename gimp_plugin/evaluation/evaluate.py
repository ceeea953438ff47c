"""Evaluate tables of predictions."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gimp_plugin import keys
from gimp_plugin.cohort.ids import same_case
from gimp_plugin.errors import EvaluationError, counted, listed
from gimp_plugin.evaluation import scores, statistics
from gimp_plugin.evaluation.comparison import aligned, compare
from gimp_plugin.evaluation.gather import Gathered, gather
from gimp_plugin.evaluation.origins import check_predicted_by, edited
from gimp_plugin.evaluation.patients import Patients
from gimp_plugin.evaluation.result import ClassScores, Estimate, Evaluation
from gimp_plugin.evaluation.text import name_of, number, numbered, shown
from gimp_plugin.storage.runs import read_run

logger = logging.getLogger(__name__)

FEW_WRONG = 1.0
"""Threshold for the number of cases of the rarest class times 1 - AUC (or AUC, if that is smaller).
Below it, the bootstrap interval contains the true AUC in less than 9 of 10 simulated cohorts."""
NAMES = {"auc": "AUC", "auc_pooled": "pooled AUC", "macro_f1": "macro F1", "brier": "Brier score"}
"""Names of metrics that differ from their key."""


Table = Path | str | Sequence[Path | str]
"""Table of predictions of one system, or the tables of its seeds and folds."""


def evaluate(
    predictions: Table,
    *,
    part: str | None = None,
    model: Path | str | None = None,
    others: Sequence[Table] | Mapping[str, Table] = (),
    seed: int = 0,
) -> Evaluation:
    """Compare predictions with the labels.

    The unit is the patient. Tables of the same patients are seeds: their probabilities are averaged
    first. Tables of different patients are folds: the AUC is averaged over them, weighted by size.
    Tables of repeated partitions share some patients: all numbers are then means over the folds,
    with intervals and tests that allow for the overlap (`statistics.corrected_t`).
    A patient without a predicted class counts as not right; its probabilities still count in the
    metrics of probabilities.

    Parameters
    ----------
    predictions
        Tables that `predict` wrote, of one system.
    part
        Part to evaluate; by default `test`, or `new` if there is no test case. `train` and `val`
        only show how well the model fits.
    model
        Run that made the predictions, to check that no table was made by another run, and that the
        run was not trained on an evaluated case.
    others
        Other systems to compare with and test against on the same patients, for instance the same
        run without one half. A mapping names them; otherwise they are named after their tables.
    seed
        Seed of the bootstrap and the permutations.

    Returns
    -------
    Metrics with their intervals.

    Raises
    ------
    EvaluationError
        If a table is not valid, there is nothing to evaluate, a class is absent, a case was trained
        on, a table was not made by `model`, or `model` is a bundle, which does not know what it was
        trained on.
    CheckpointError
        If `model` is not a finished run.
    """
    paths = _listed_paths(predictions)
    found = gather(paths, part=part)
    if model is not None:
        _check_model(Path(model), found, paths)
    patients = found.patients
    named = _named(others).items()
    rivals = [(name, gather(tables, part=found.part)) for name, tables in named]
    rivals = [(name, aligned(found, name, one)) for name, one in rivals]
    systems = [(name_of(paths), found), *rivals] if rivals else []
    estimates, by_class = scores.estimates(found, seed=seed), scores.by_class(found)
    of_rivals = (warning for _, one in rivals for warning in one.warnings)
    caveats = _caveats(found, estimates, by_class)
    warnings = tuple(dict.fromkeys((*found.warnings, *of_rivals, *edited(paths), *caveats)))
    for warning in warnings:
        logger.warning("%s", warning)
    return Evaluation(
        predictions=tuple(map(shown, paths)),
        part=found.part,
        n_cases=patients.n_patients,
        n_unlabelled=found.n_unlabelled,
        n_abstained=patients.where(patients.predicted < 0).n_patients,
        n_folds=len(patients.fold_names),
        n_seeds=len(found.by_seed) or 1,
        test_to_train=found.test_to_train,
        metrics=estimates,
        by_class=by_class,
        by_modalities=scores.by_modalities(found, seed=seed),
        by_seed=scores.by_seed(found),
        reliability=scores.reliability(patients),
        systems=scores.side_by_side(systems, seed=seed),
        comparisons=compare(found, rivals, seed=seed),
        warnings=warnings,
        draws=statistics.N_DRAWS,
        seed=seed,
    )


def _check_model(model: Path, found: Gathered, paths: Sequence[Path]) -> None:
    """Refuse predictions of another run, or of cases that the run was trained on."""
    record = read_run(model)
    if record.classes != found.patients.classes:
        problem = (
            f"run {str(model)!r} was trained on the classes {listed(record.classes)}, "
            f"the predictions have {listed(found.patients.classes)}"
        )
        raise EvaluationError(problem, hint="give the run that made these predictions")
    if record.bundled:
        problem = (
            f"{str(model)!r} is a model bundle: it does not know which cases it was trained on"
        )
        raise EvaluationError(problem, hint="give the run that it was made from, or no --model")
    check_predicted_by(record, paths)
    if found.part in {keys.TEST, keys.NEW}:
        known = {same_case(case) for cases in record.trained_on.values() for case in cases}
        leaked = [case for case in found.patients.case_ids if same_case(case) in known]
        if leaked:
            problem = (
                f"{len(leaked)} of {len(found.patients)} {found.part} cases were training or "
                f"validation cases of run {str(model)!r} or of a run it came from: {listed(leaked)}"
            )
            raise EvaluationError(problem, hint="predict with that run again, and evaluate that")


def _caveats(
    found: Gathered, estimates: Mapping[str, Estimate], by_class: Mapping[str, ClassScores]
) -> Iterator[str]:
    """Warn of intervals that are too narrow."""
    repeated = found.test_to_train is not None
    named = {NAMES.get(name, name.replace("_", " ")): one for name, one in estimates.items()}
    for name, one in by_class.items():
        named |= {
            f"sensitivity of {name}": one.sensitivity,
            f"specificity of {name}": one.specificity,
        }
    flat = [name for name, one in named.items() if one.flat]
    if flat:
        why = "the folds do not differ" if repeated else "see that of the accuracy"
        yield f"the interval has no width, so it is not informative: {', '.join(flat)} ({why})"
    if not repeated:
        yield from _near_the_end(found.patients, estimates["auc"])


def _near_the_end(patients: Patients, auc: Estimate) -> Iterator[str]:
    """Warn if so few cases are ranked wrongly that the bootstrap draws vary too little."""
    places = range(len(patients.classes))
    fewest = min(patients.where(patients.labels == place).n_patients for place in places)
    if fewest * min(auc.value, 1 - auc.value) < FEW_WRONG and not auc.flat:
        cases = counted(fewest, "case")
        yield (
            f"the bootstrap interval of the AUC is too narrow: {cases} in the smallest class are "
            f"too few for an AUC of {number(auc.value)}"
        )


def _listed_paths(paths: Table) -> list[Path]:
    """Tables of one system."""
    return [Path(one) for one in ([paths] if isinstance(paths, (Path, str)) else paths)]


def _named(others: Sequence[Table] | Mapping[str, Table]) -> dict[str, list[Path]]:
    """Tables of the other systems, by distinct names."""
    if isinstance(others, Mapping):
        return {name: _listed_paths(one) for name, one in others.items()}
    tables = list(map(_listed_paths, others))
    return dict(zip(numbered(map(name_of, tables)), tables, strict=True))
