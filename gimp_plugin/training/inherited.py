"""What fine-tuning inherits from the run it starts from, and what must match it."""

from __future__ import annotations

import logging

from gimp_plugin.assembly.load import check_bags
from gimp_plugin.cohort.expression import Cohort
from gimp_plugin.cohort.splitting.splits import Splits
from gimp_plugin.cohort.transform import GeneTransform
from gimp_plugin.config import CohortSource, ModelConfig
from gimp_plugin.data.study import Study, with_defaults
from gimp_plugin.data.views import warn_of_other_views
from gimp_plugin.errors import CheckpointError, ConfigError, listed
from gimp_plugin.storage.runs import RunRecord
from gimp_plugin.training.plan import checked_splits, splits_of

logger = logging.getLogger(__name__)

NEW_IN_FINETUNING = {"fusion", "head", "head_dropout", "embedding_dropout", "trainer"}


def check_fits(study: Study, record: RunRecord) -> None:
    """Refuse cases that the starting run cannot read.

    Parameters
    ----------
    study
        The cases.
    record
        The run that fine-tuning starts from.

    Raises
    ------
    CheckpointError
        If the classes or bags are not those of that run.
    """
    classes = sorted({study.labels[case_id] for case_id in study.case_ids})
    if classes != list(record.classes):
        problem = (
            f"run {str(record.path)!r} was trained on the classes {listed(record.classes)}, "
            f"the cohort {str(study.cohort.path)!r} has {listed(classes)}"
        )
        raise CheckpointError(problem, hint="give the --label-key of that run, or another run")
    check_bags(record, feature_dim=study.feature_dim, encoder=study.encoder)
    warn_of_other_views(record, [bag for case in study.cases for bag in case.bags])


def warn_of_missing_genes(transform: GeneTransform | None, cohort: Cohort) -> None:
    """Warn of genes of the starting run that the cohort lacks: they count as average.

    Parameters
    ----------
    transform
        How the starting run reads genes; None without genes.
    cohort
        Genes of the cases.
    """
    missing = () if transform is None else transform.match(cohort).missing
    if transform is not None and missing:
        text = "%d of the run's %d genes are not in %r and count as average: %s"
        n_genes, path = len(transform.gene_ids), str(cohort.path)
        logger.warning(text, len(missing), n_genes, path, listed(missing))


def check_same_model(asked: ModelConfig, record: RunRecord) -> None:
    """Refuse model settings that differ from the starting run, except what fine-tuning adds.

    Parameters
    ----------
    asked
        The model of this run.
    record
        The run that fine-tuning starts from.

    Raises
    ------
    ConfigError
        If any other setting differs.
    """
    wanted, had = asked.to_dict(), record.config.model.to_dict()
    changed = [
        f"{key} {had[key]!r} -> {wanted[key]!r}"
        for key in had
        if had[key] != wanted[key] and key not in NEW_IN_FINETUNING
    ]
    if changed:
        problem = f"run {str(record.path)!r} has a different model: {', '.join(changed)}"
        raise ConfigError(problem, hint="leave these settings out, or start with --from genes")


def splits_after(study: Study, given: CohortSource, record: RunRecord, *, seed: int) -> Splits:
    """Give the splits of the starting run, unless the user gives others.

    Parameters
    ----------
    study
        The cases.
    given
        What the user gave.
    record
        The run that fine-tuning starts from.
    seed
        Seed for splits that are drawn.

    Returns
    -------
    The splits.

    Raises
    ------
    SplitError
        If they do not fit the cases.
    """
    if given.splits is not None or given.fold is not None:
        return splits_of(study, with_defaults(given, of=record.source), seed=seed)
    inherited = Splits(parts=record.parts, source=f"splits of {str(record.path)!r}")
    labels = {case_id: study.labels[case_id] for case_id in study.case_ids}
    return checked_splits(inherited.within(labels), labels)
