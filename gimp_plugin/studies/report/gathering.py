"""Inputs of a report: runs, each with its predictions and its explanation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gimp_plugin import keys
from gimp_plugin.cohort.audit import Audit, audit
from gimp_plugin.errors import CheckpointError, ConfigError, EvaluationError, MissingFileError
from gimp_plugin.evaluation import Evaluation, evaluate
from gimp_plugin.evaluation.gather import gather
from gimp_plugin.evaluation.patients import Patients
from gimp_plugin.storage.atomic import sha256_file
from gimp_plugin.storage.predictions import Predictions, note_of, read_predictions
from gimp_plugin.storage.run_files import read_object, read_provenance, read_rows
from gimp_plugin.storage.runs import CONFIG, PROVENANCE, SPLITS, RunRecord, read_run
from gimp_plugin.storage.tables import EXCLUSIONS
from gimp_plugin.studies.explanation.folder import explained_model


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Inputs and settings of a report.

    Parameters
    ----------
    runs
        Run folders.
    predictions
        Tables of these runs; several of one run are its seeds or folds, as for `evaluate`.
    others
        Tables of other systems on the same patients, by name: baselines, controls.
    explanations
        Folders that `explain` wrote for these runs.
    cohort
        Arguments of `audit`; without `adata` there is no audit.
    n_pictures
        Number of cases whose maps are shown.
    seed
        Seed of the intervals.
    """

    runs: tuple[Path, ...]
    predictions: tuple[Path, ...] = ()
    others: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    explanations: tuple[Path, ...] = ()
    cohort: Mapping[str, Any]
    n_pictures: int = 12
    seed: int = 0

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file and folder that a message may name."""
        tables = (path for other in self.others.values() for path in other)
        given = (value for value in self.cohort.values() if isinstance(value, Path))
        return (*self.runs, *self.predictions, *tables, *self.explanations, *given)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reported:
    """One run and what is known about it.

    Parameters
    ----------
    label
        Name of the run in the report.
    record
        Metadata of the run.
    config, provenance
        Content of these two files.
    exclusions
        Rows of the table of exclusions.
    tables
        Its predictions, for every part of the splits.
    evaluation, patients
        Evaluation of the predictions on test or new cases, and these; None without predictions.
    explanation
        Folder with its explanation, if any.
    audited
        The cohort's audit, if any.
    """

    label: str
    record: RunRecord
    config: dict[str, Any]
    provenance: dict[str, Any]
    exclusions: list[dict[str, str]]
    tables: tuple[Predictions, ...]
    evaluation: Evaluation | None
    patients: Patients | None
    explanation: Path | None
    audited: Audit | None


def reported(asked: Asked) -> list[Reported]:
    """Read everything, and assign predictions and explanations to their runs.

    Parameters
    ----------
    asked
        Inputs of the report.

    Returns
    -------
    One item per run, in the given order.

    Raises
    ------
    GimpError
        If something cannot be read, belongs to none of the runs, or cannot be evaluated.
    """
    records = [read_run(path) for path in asked.runs]
    models = [sha256_file(record.weights) for record in records]
    if len(set(models)) < len(models):
        raise ConfigError("a run is given twice", hint="give each run once")
    tables = _tables_of(models, asked.predictions)
    if asked.others and not all(tables.values()):
        problem = "--compare needs something to compare with: a run has no predictions"
        raise ConfigError(problem, hint="give those of each run with --predictions")
    explanations = _explanations_of(models, asked.explanations)
    found = []
    for place, (record, model) in enumerate(zip(records, models, strict=True)):
        alone = len(records) == 1
        name = record.path.absolute().name
        found.append(
            _one(
                asked,
                record,
                label=name if alone else f"{place + 1}. {name}",
                tables=tables[model],
                others=asked.others if alone else {},
                explanation=explanations.get(model),
            )
        )
    return found


def _one(
    asked: Asked,
    record: RunRecord,
    *,
    label: str,
    tables: Sequence[Path],
    others: Mapping[str, Sequence[Path]],
    explanation: Path | None,
) -> Reported:
    """Read one run and evaluate its predictions."""
    path, evaluation, patients = record.path, None, None
    if tables:
        evaluation = evaluate(tables, model=path, others=others, seed=asked.seed)
        patients = gather(tables, part=evaluation.part).patients
    left_out = path / EXCLUSIONS
    return Reported(
        label=label,
        record=record,
        config=read_object(path / CONFIG, {}),
        provenance=read_provenance(path / PROVENANCE),
        exclusions=read_rows(left_out, "step", "reason") if left_out.is_file() else [],
        tables=tuple(map(read_predictions, tables)),
        evaluation=evaluation,
        patients=patients,
        explanation=explanation,
        audited=_audit(asked, record),
    )


def _tables_of(models: Sequence[str], paths: Sequence[Path]) -> dict[str, list[Path]]:
    """Tables by the run that they name; a single run may have tables that name none."""
    found: dict[str, list[Path]] = {model: [] for model in models}
    for path in paths:
        if not path.is_file():
            raise MissingFileError(f"no predictions {str(path)!r}", hint="make them: gimp predict")
        said = note_of(path).get("model")
        if said is None and len(models) == 1:
            said = models[0]
        if said is None:
            problem = f"{str(path)!r} does not say which of the {len(models)} runs made it"
            hint = f"keep the file '{path.name}.json' that gimp predict wrote beside it"
            raise EvaluationError(problem, hint=hint)
        if said not in found:
            problem = f"{str(path)!r} was predicted by a run other than those given"
            raise EvaluationError(problem, hint="give the run that made it")
        found[said].append(path)
    return found


def _explanations_of(models: Sequence[str], folders: Sequence[Path]) -> dict[str, Path]:
    """Explanations by the run that they explain."""
    found: dict[str, Path] = {}
    for folder in folders:
        model = explained_model(folder)
        if model not in models:
            problem = f"{str(folder)!r} explains a run other than those given"
            raise CheckpointError(problem, hint="give the run that it was made from")
        if model in found:
            problem = f"{str(found[model])!r} and {str(folder)!r} explain the same run"
            raise ConfigError(problem, hint="give one of them")
        found[model] = folder
    return found


def _audit(asked: Asked, record: RunRecord) -> Audit | None:
    """Check the cohort for a run, with its splits and its genes."""
    given = dict(asked.cohort)
    if given.get("adata") is None:
        return None
    own = record.source.get("label_key")
    if given.get("label_key") is None and own not in {None, keys.LABEL}:
        given["label_key"] = own
    splits = record.path / SPLITS
    return audit(
        given.pop("adata"),
        splits=str(splits) if splits.is_file() else None,
        model=record.path if record.gene_rows else None,
        **given,
    )
