"""Inputs of an explanation: runs, cases and their genes, all checked before any work."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gimp_plugin.assembly.load import check_bags, load_run
from gimp_plugin.config import CohortSource, ExplainConfig
from gimp_plugin.config.explanation import MEAN, OTHER
from gimp_plugin.data.cases import Case
from gimp_plugin.data.study import Study, prepare, with_defaults
from gimp_plugin.errors import (
    CheckpointError,
    ConfigError,
    PairingError,
    did_you_mean,
    listed,
)
from gimp_plugin.keys import GENES
from gimp_plugin.models.gimp import GimpModel
from gimp_plugin.prediction.files import inherited
from gimp_plugin.prediction.halves import predictable
from gimp_plugin.prediction.predict import genes_of
from gimp_plugin.prediction.rows import parts_of_cases
from gimp_plugin.storage.atomic import sha256_file
from gimp_plugin.storage.runs import RunRecord
from gimp_plugin.storage.tables import Exclusion
from gimp_plugin.studies.explanation.references import references_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A run that is ready to explain.

    Parameters
    ----------
    record
        Metadata of the run.
    module
        Model of the run, without gradients of the weights.
    genes
        Standardised expression by `Case.gene_row`; None without genes.
    reference
        Start of the path of the genes for each class, shape (class, gene); None for the mean of the
        training cases, 0.
    """

    record: RunRecord
    module: GimpModel
    genes: Tensor | None
    reference: Tensor | None = None

    @property
    def sha256(self) -> str:
        """Hash of the weights."""
        return sha256_file(self.record.weights)

    @property
    def gene_reference(self) -> str:
        """Gene reference, one of `GENE_REFERENCES`; empty without genes."""
        if self.genes is None:
            return ""
        return MEAN if self.reference is None else OTHER

    @property
    def gene_rows(self) -> list[dict[str, str]]:
        """Rows of `genes.csv` for the genes that the model reads, in its order."""
        read = [row for row in self.record.gene_rows if row["order"]]
        return sorted(read, key=lambda row: int(row["order"]))

    def genes_of(self, case: Case) -> Tensor | None:
        """Genes of a case as the model reads them, shape (gene,); None without genes."""
        return self.genes[case.gene_row] if self.genes is not None and case.has_genes else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inputs:
    """Runs and cases.

    Parameters
    ----------
    models
        The run that is explained, followed by others to compare it with.
    study
        The study that the cases come from.
    cases
        The cases.
    parts
        Split of each case.
    exclusions
        What was left out, and why.
    """

    models: tuple[Model, ...]
    study: Study
    cases: tuple[Case, ...]
    parts: dict[str, str]
    exclusions: tuple[Exclusion, ...]

    @property
    def main(self) -> Model:
        """The run that is explained."""
        return self.models[0]

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self.main.record.classes


def read_inputs(
    runs: Sequence[Path],
    source: CohortSource,
    *,
    config: ExplainConfig,
    device: torch.device,
) -> Inputs:
    """Load runs and find the cases that the first run can predict.

    Parameters
    ----------
    runs
        Fine-tuned runs; the first is explained.
    source
        Where the cases are; fields that are None are taken from that run.
    config
        Settings, including which cases and which class to explain.
    device
        Device for the models.

    Returns
    -------
    The inputs; at least one case.

    Raises
    ------
    CheckpointError
        If a run is not fine-tuned or damaged, or the runs are of different classes.
    ConfigError
        If no source of cases is given, the class is unknown, or a run is given twice.
    PairingError
        If no case is left.
    """
    loaded = [_loaded(run) for run in runs]
    record = loaded[0][0]
    _check(loaded[0][0], [one for one, _ in loaded[1:]], config.target)
    if source.adata is None and source.labels is None and source.features is None:
        raise ConfigError("nothing says which cases to explain", hint="give --adata or --features")
    source = replace(with_defaults(source, of=inherited(record, source)), missing="keep")
    study = prepare(source, modalities=record.config.model.modalities, labelled=False)
    parts = parts_of_cases(record, study.case_ids)
    cases, left_out = predictable(study.cases, record, None)
    if config.splits:
        kept = [case for case in cases if parts[case.case_id] in config.splits]
        if not kept:
            found = sorted({parts[case.case_id] for case in cases})
            problem = f"none of {len(cases)} cases is of the split {' or '.join(config.splits)}"
            raise PairingError(problem, hint=f"the cases are {listed(found)}")
        cases = kept
    models = []
    for one, module in loaded:
        check_bags(one, feature_dim=study.feature_dim, encoder=study.encoder)
        genes = genes_of(one, study, cases, min_gene_coverage=config.min_gene_coverage)
        values = None if genes is None else genes[0].to(device)
        ready = module.to(device).requires_grad_(requires_grad=False)
        models.append(Model(record=one, module=ready, genes=values))
    if models[0].genes is not None and GENES not in config.skip:
        starts = references_of([one for one, _ in loaded], study.cohort, config)
        models = [
            replace(model, reference=None if own is None else torch.from_numpy(own).to(device))
            for model, own in zip(models, starts, strict=True)
        ]
    hashes = [model.sha256 for model in models]
    if len(set(hashes)) < len(hashes):
        raise ConfigError("a run is given twice", hint="give --model runs of other seeds")
    return Inputs(
        models=tuple(models),
        study=study,
        cases=tuple(cases),
        parts=parts,
        exclusions=(*study.exclusions, *left_out),
    )


def _loaded(run: Path) -> tuple[RunRecord, GimpModel]:
    """Load a fine-tuned run."""
    record, model = load_run(run)
    if record.kind != "finetune":
        problem = f"run {str(run)!r} is a {record.kind} run: it has no trained classifier"
        raise CheckpointError(problem, hint="fine-tune it first, with gimp finetune --from")
    if record.bundled:
        logger.warning("%s is a model bundle: cases that it was trained on also count as new", run)
    return record, model


def _check(record: RunRecord, others: Sequence[RunRecord], target: str) -> None:
    """Refuse runs with other classes or halves, and an unknown class."""
    for other in others:
        if (other.classes, other.config.model.modalities) != (
            record.classes,
            record.config.model.modalities,
        ):
            problem = (
                f"runs {str(record.path)!r} and {str(other.path)!r} differ in classes or halves"
            )
            raise CheckpointError(problem, hint="compare runs of one study, of several seeds")
    if target and target not in record.classes:
        problem = f"class {target!r} is unknown{did_you_mean(target, record.classes)}"
        raise ConfigError(problem, hint=f"the run has {listed(record.classes)}")
