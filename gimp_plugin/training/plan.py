"""Turn what the user asked for into a training that is checked and ready to start."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import gimp_plugin
from gimp_plugin.assembly.build import components_of, of_plugins
from gimp_plugin.assembly.device import precision_of
from gimp_plugin.cohort.selection import variable_genes
from gimp_plugin.cohort.splitting.checks import check_ancestry, check_splits
from gimp_plugin.cohort.splitting.splits import Splits, draw_splits, read_splits, splits_from_column
from gimp_plugin.cohort.transform import GeneTransform
from gimp_plugin.config import CohortSource, GimpConfig, Runtime
from gimp_plugin.data.study import Study
from gimp_plugin.errors import ConfigError
from gimp_plugin.keys import TRAIN, VAL
from gimp_plugin.plugins import split_name
from gimp_plugin.storage.atomic import sha256_json
from gimp_plugin.storage.tables import Exclusion
from gimp_plugin.training.grouping import grouped
from gimp_plugin.training.material import Material
from gimp_plugin.training.unlabelled import labels_at_hand, outside_of, with_unlabelled

logger = logging.getLogger(__name__)

NO_PART = "in no part of the splits"
NOT_TRAINING = "no class, and not a training case"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A training that is checked and ready to start.

    Parameters
    ----------
    kind
        `pretrain` or `finetune`.
    config, source, runtime
        What the user asked for.
    study, splits, transform, classes
        What the inputs were turned into.
    trained_on
        Training and validation cases of this run and of every ancestor.
    start
        What the training starts from, by name and hash; empty if from nothing.
    """

    kind: str
    config: GimpConfig
    source: CohortSource
    runtime: Runtime
    study: Study
    splits: Splits
    transform: GeneTransform | None
    classes: tuple[str, ...]
    trained_on: Mapping[str, list[str]]
    start: Mapping[str, str]

    def identity(self) -> dict[str, Any]:
        """Give the content of `config.json`: everything that determines the bytes of the run."""
        parts = sorted(self.splits.parts.items())
        return {
            "kind": self.kind,
            "version": gimp_plugin.__version__,
            "config": self.config.to_dict(),
            "seed": self.runtime.seed,
            "precision": precision_of(self.runtime),
            "feature_dim": self.study.feature_dim,
            "encoder": self.study.encoder,
            "scale": "" if self.transform is None else self.transform.scale,
            "inputs": {
                **self.study.fingerprint(),
                "genes": "" if self.transform is None else sha256_json(self.transform.gene_ids),
                "splits": sha256_json(parts),
            },
            "start": dict(self.start),
            **({"unlabelled": self.n_unlabelled} if self.n_unlabelled else {}),
            **({"plugins": self.plugins()} if self.plugins() else {}),
        }

    def plugins(self) -> dict[str, str]:
        """Components that come from plugins, by kind; empty if there are none."""
        return of_plugins(components_of(self.config.model))

    def exclusions(self) -> tuple[Exclusion, ...]:
        """Give what was left out, including cases without a part."""
        bare = [name for name in self.study.case_ids if name not in self.splits.parts]
        labels = self.study.labels
        reasons = {name: NO_PART if name in labels else NOT_TRAINING for name in bare}
        unused = (Exclusion(name, "", "splits", reason) for name, reason in reasons.items())
        return (*self.study.exclusions, *unused)

    @property
    def n_unlabelled(self) -> int:
        """Number of training cases without a class."""
        return len({*self.study.unlabelled}.intersection(self.splits.of(TRAIN)))

    def material(self) -> Material:
        """Give the training and validation cases with their standardised genes."""
        cases = self.study.with_classes(self.classes)
        train, val = (
            tuple(one for one in cases if self.splits.parts.get(one.case_id) == part)
            for part in (TRAIN, VAL)
        )
        genes = None
        if self.transform is not None:
            genes = torch.from_numpy(self.transform.apply(self.study.cohort)[0])
        return Material(
            train=train,
            val=val,
            genes=genes,
            classes=self.classes,
            feature_dim=self.study.feature_dim,
        )


def splits_of(study: Study, source: CohortSource, *, seed: int) -> Splits:
    """Give the splits that the user asked for, of the cases that are used, checked.

    Parameters
    ----------
    study
        The cases.
    source
        `splits` and `fold` as the user gave them.
    seed
        Seed for splits that are drawn.

    Returns
    -------
    The part of each case; cases that a table does not name have none. A case without a class is in
    `train` if the table or column puts it there or the splits are drawn; else it has no part.

    Raises
    ------
    SplitError
        If parts overlap, or one is missing or lacks a class.
    ConfigError
        If there is a fold without splits, or there are several folds and none is given.
    """
    labels = labels_at_hand(study)
    if source.splits is None and source.fold is not None:
        problem = f"--fold {source.fold!r} was given without --splits, which it chooses from"
        raise ConfigError(problem, hint="give --splits, or leave --fold out to draw the splits")
    if source.splits is None:
        splits = draw_splits(labels, seed=seed)
        named = study.unlabelled
    elif source.splits.startswith("obs:"):
        column = source.splits.removeprefix("obs:")
        splits = splits_from_column(study.obs, column, source.fold, labels=labels, seed=seed)
        named = outside_of(splits.fold, study, column)
    else:
        table = read_splits(Path(source.splits), fold=source.fold)
        table = table.of_cases(cases_of_slides(study))
        splits, named = table.within(labels), table.within(study.unlabelled).of(TRAIN)
    return with_unlabelled(checked_splits(splits, labels), named, study)


def cases_of_slides(study: Study) -> dict[str, str]:
    """Case of each slide, because tables of splits made by other programs name slides."""
    known = set(study.case_ids)
    return {
        bag.slide_id: case.case_id
        for case in study.cases
        for bag in case.bags
        if bag.slide_id not in known
    }


def checked_splits(splits: Splits, labels: Mapping[str, str]) -> Splits:
    """Check splits against the labels, and warn of small classes."""
    for warning in check_splits(splits, labels):
        logger.warning("%s", warning)
    return splits


def check_leaks(splits: Splits, trained_on: Mapping[str, Sequence[str]]) -> None:
    """Refuse splits with val or test cases that an ancestor was trained on."""
    check_ancestry(splits, trained_on[TRAIN])


def with_this_run(
    splits: Splits, ancestors: Mapping[str, Sequence[str]] | None = None
) -> dict[str, list[str]]:
    """Training and validation cases of this run and its ancestors."""
    before = ancestors or {}
    return {part: sorted({*splits.of(part), *before.get(part, ())}) for part in (TRAIN, VAL)}


def fitted_transform(
    study: Study, splits: Splits, config: GimpConfig, *, seed: int
) -> GeneTransform | None:
    """Fit the gene transform on the training cases, with the genes selected and in order.

    Parameters
    ----------
    study
        The cases.
    splits
        Which cases are training cases; only these are used, including those without a class: no
        label is needed, and few cases would give poor means and standard deviations.
    config
        Selection and grouping of the genes.
    seed
        Seed for groupings that draw at random.

    Returns
    -------
    The transform; None for a model without genes.

    Raises
    ------
    CohortError
        If the selection or the grouping is not possible with this cohort.
    PluginError
        If a plugin's grouping fails, or does not return an order.
    """
    if not config.model.has_genes:
        return None
    cohort = study.cohort
    training = [case.case_id for case in study.cases if case.has_genes]
    training = [case_id for case_id in training if splits.parts.get(case_id) == TRAIN]
    transform, genes = GeneTransform.fit(cohort, training), cohort.genes
    if config.model.n_top_genes:
        chosen = variable_genes(cohort, training, n_top_genes=config.model.n_top_genes)
        transform, genes = transform.selected(chosen), genes.iloc[chosen]
    order = grouped(
        config.model.gene_grouping,
        transform.gene_ids,
        seed=seed,
        genes=genes,
        expression=transform.apply(cohort)[0][cohort.rows_of(training)],
    )
    return transform.permuted(order)


def without_folder(config: GimpConfig) -> GimpConfig:
    """Drop the folder from a grouping's file: only its content counts, which orders the genes."""
    name, argument = split_name(config.model.gene_grouping)
    if "/" not in argument:
        return config
    return config.replace({"model.gene_grouping": f"{name}:{Path(argument).name}"})


def source_to_dict(source: CohortSource) -> dict[str, Any]:
    """Convert the source to JSON types, with paths as the user gave them."""
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in asdict(source).items()
    }
