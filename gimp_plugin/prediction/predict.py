"""From a run and cases to a table of probabilities."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gimp_plugin import keys
from gimp_plugin.assembly.device import precision_of
from gimp_plugin.assembly.load import check_bags, load_classifier, transform_of
from gimp_plugin.cohort.expression import IN_MEMORY, Cohort
from gimp_plugin.cohort.labels import known_classes
from gimp_plugin.config import CohortSource, Runtime
from gimp_plugin.config.checks import require_range
from gimp_plugin.config.sources import MIN_GENE_COVERAGE
from gimp_plugin.data.cases import Case
from gimp_plugin.data.study import Study, prepare, with_defaults
from gimp_plugin.errors import ConfigError, listed
from gimp_plugin.prediction.files import inherited, is_stale
from gimp_plugin.prediction.halves import check_modalities, predictable, shown
from gimp_plugin.prediction.rows import abstain, rows_of
from gimp_plugin.storage.atomic import clean_partials, sha256_file
from gimp_plugin.storage.locks import held
from gimp_plugin.storage.predictions import MODEL, SYSTEM, write_predictions
from gimp_plugin.storage.runs import RunRecord
from gimp_plugin.storage.systems import system_of
from gimp_plugin.storage.tables import Exclusion

if TYPE_CHECKING:
    import anndata

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PredictionResult:
    """Result of a prediction.

    Parameters
    ----------
    path
        The table of predictions.
    outcome
        `done`, or `nothing to do` when the table was made from the same inputs.
    n_cases
        Cases in the table.
    exclusions
        What was left out, and why.
    """

    path: Path
    outcome: str
    n_cases: int
    exclusions: tuple[Exclusion, ...]


def predict(  # noqa: PLR0913  # what the command takes, and an AnnData
    run: Path | str,
    source: CohortSource,
    *,
    output: Path | str,
    runtime: Runtime,
    adata: anndata.AnnData | None = None,
    missing: str = "keep",
    min_gene_coverage: float = MIN_GENE_COVERAGE,
    modalities: str | None = None,
    abstain_below: float = 0.0,
) -> PredictionResult:
    """Predict the class of every case, one case at a time, with all its patches.

    Each case is computed alone, so its prediction does not depend on other cases. A case that lacks
    a half is predicted from the other, if the run was trained for that. Probabilities are the
    softmax of logits / T, with the temperature T of the run.

    Parameters
    ----------
    run
        A fine-tuned run, or a bundle of one; with a bundle, every case is marked as new.
    source
        Where the cases are; fields that are None are taken from the run. The run's slide table
        belongs to its own features: other features need their own table, if any.
    output
        The table to write; `<output>.json` next to it records what it was made from.
    runtime
        Device and precision.
    adata
        Genes and labels of the cases in memory, instead of the file `source.adata`.
    missing
        What to do with cases that lack a half: `drop`, `keep` or `error`.
    min_gene_coverage
        Minimum share of the run's genes that the cohort must have.
    modalities
        Halves to predict every case from, `slides`, `genes` or `slides+genes`: any other half is
        hidden, and cases that lack one of these are left out. None uses what each case has.
    abstain_below
        Cases whose highest probability is lower get no class; with 0 every case gets one.

    Returns
    -------
    The result of the prediction.

    Raises
    ------
    ConfigError
        If neither a cohort, nor a table of labels, nor features are given, or a value is wrong.
    CheckpointError
        If the run is not fine-tuned, is damaged, was trained on other features, or cannot predict
        from the given halves.
    CohortError
        If the genes do not fit the run.
    PairingError
        If no case can be predicted.
    StaleOutputError
        If `output` was made from other inputs.
    """
    require_range("abstain_below", abstain_below, low=0.0, high=1.0, open_high=True)
    run, output = Path(run), Path(output)
    record, model = load_classifier(run)
    if record.bundled:
        logger.warning("%s is a model bundle: cases that it was trained on also count as new", run)
    check_modalities(record, modalities)
    study = _study(record, source, adata, missing=missing, modalities=modalities)
    check_bags(record, feature_dim=study.feature_dim, encoder=study.encoder)
    cases, left_out = predictable(study.cases, record, modalities)
    exclusions = (*study.exclusions, *left_out)
    genes = genes_of(record, study, cases, min_gene_coverage=min_gene_coverage)
    made_from = {
        MODEL: sha256_file(record.weights),
        "inputs": study.fingerprint(),
        "precision": precision_of(runtime),
        "excluded": [[one.case_id, one.slide_id, one.step, one.reason] for one in exclusions],
        **_not_as_usual(record, modalities=modalities, abstain_below=abstain_below),
    }
    with held(output.parent / f".{output.name}.lock"):
        clean_partials(output.parent)
        if not is_stale(output, made_from, overwrite=runtime.overwrite):
            logger.info("%s is complete and current: nothing to do", output)
            return PredictionResult(output, "nothing to do", len(cases), exclusions)
        rows = rows_of(record, model, study, cases, genes=genes, runtime=runtime)
        abstain(rows, record, below=abstain_below)
        noted = {**made_from, SYSTEM: system_of(record)}
        write_predictions(output, rows, classes=record.classes, noted=noted)
    return PredictionResult(output, "done", len(cases), exclusions)


def _study(
    record: RunRecord,
    source: CohortSource,
    adata: anndata.AnnData | None,
    *,
    missing: str,
    modalities: str | None,
) -> Study:
    """Cases of a file, or of an AnnData and its labels."""
    if adata is not None:
        if source.labels is not None:
            raise ConfigError("labels cannot be combined with an AnnData", hint="put them in obs")
        source = replace(source, adata=IN_MEMORY)
    if source.adata is None and source.labels is None and source.features is None:
        hint = "give --adata; --features or --slides alone predicts from slides"
        raise ConfigError("nothing says which cases to predict", hint=hint)
    source = replace(with_defaults(source, of=inherited(record, source)), missing=missing)
    looked_for = modalities if modalities and missing == "keep" else record.config.model.modalities
    if adata is None:
        study = prepare(source, modalities=looked_for, labelled=False)
    else:
        cohort = Cohort.from_anndata(adata, layer=source.layer, scale=source.scale)
        study = prepare(source, modalities=looked_for, labelled=False, cohort=cohort)
        study = replace(study, labels=known_classes(cohort.obs, source.label_key or keys.LABEL))
    return replace(study, cases=tuple(shown(case, modalities) for case in study.cases))


def genes_of(
    record: RunRecord, study: Study, cases: list[Case], *, min_gene_coverage: float
) -> tuple[torch.Tensor, float] | None:
    """Convert genes to the input of a run.

    Parameters
    ----------
    record
        The run.
    study
        Holds the expression.
    cases
        Cases to predict.
    min_gene_coverage
        Minimum share of the run's genes that the cohort must have.

    Returns
    -------
    Standardised expression by `Case.gene_row`, and the share of the genes that were found; None
    if the run has no genes or no case has any.
    """
    transform = transform_of(record)
    if transform is None or not any(case.has_genes for case in cases):
        return None
    values, coverage = transform.apply(study.cohort, min_coverage=min_gene_coverage)
    match, path = transform.match(study.cohort), str(study.cohort.path)
    if match.missing:
        text = "%d of the model's %d genes are not in %r and count as average: %s"
        n_genes = len(transform.gene_ids)
        logger.warning(text, len(match.missing), n_genes, path, listed(match.missing))
    if match.extra:
        logger.info("%r has %d genes that the model does not read", path, len(match.extra))
    return torch.from_numpy(values), coverage


def _not_as_usual(
    record: RunRecord, *, modalities: str | None, abstain_below: float
) -> dict[str, Any]:
    """Settings that affect the table and differ from the default, so older tables stay current."""
    values = {
        "temperature": record.temperature,
        "modalities": modalities,
        "abstain_below": abstain_below,
    }
    usual = {"temperature": 1.0, "modalities": None, "abstain_below": 0.0}
    return {name: value for name, value in values.items() if value != usual[name]}
