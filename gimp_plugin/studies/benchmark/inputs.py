"""Inputs of every method of a comparison: cases, folds and genes, made once and written."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from gimp_plugin import keys
from gimp_plugin.cohort.expression import Cohort
from gimp_plugin.cohort.ids import same_case
from gimp_plugin.cohort.labels import text_of
from gimp_plugin.cohort.scales import COUNTS, log_scale, row_blocks
from gimp_plugin.cohort.splitting.splits import Splits, read_folds, splits_text
from gimp_plugin.cohort.writing import write_cohort
from gimp_plugin.config import CohortSource
from gimp_plugin.data.cases import Case
from gimp_plugin.data.study import Study, prepare, with_defaults
from gimp_plugin.errors import CohortError, SplitError, counted, listed
from gimp_plugin.keys import TRAIN
from gimp_plugin.storage.bags import read_features
from gimp_plugin.storage.tables import csv_text
from gimp_plugin.studies.benchmark.folder import (
    COHORT,
    LABEL_TABLES,
    SLIDES,
    SPLITS,
    write_if_new,
)
from gimp_plugin.studies.benchmark.protocol import GENES, LABELS, Regime
from gimp_plugin.training.plan import splits_of

CHUNK = 8192


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Cases with both halves, and the part of each in every fold.

    Parameters
    ----------
    source
        Where a method finds the cases.
    study
        The cases; with `genes:K` its cohort has only K genes.
    folds
        Every fold of the splits; with `labels:K` the other training cases have no part.
    hidden
        With `labels:K+unlabelled`, these other cases by fold, whose labels are hidden there.
    """

    source: CohortSource
    study: Study
    folds: tuple[Splits, ...]
    hidden: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, sorted."""
        return tuple(sorted({self.study.labels[case_id] for case_id in self.study.case_ids}))

    def fold(self, name: str) -> Splits:
        """Splits of a fold."""
        return next(one for one in self.folds if one.fold == name)

    def source_of(self, name: str) -> CohortSource:
        """Where a method finds the cases of a fold."""
        source = replace(self.source, fold=name)
        if not self.hidden:
            return source
        table = Path(source.splits or "").parent / labels_file(name)
        return replace(source, labels=table, case_key=keys.CASE_ID, label_key=keys.LABEL)

    def study_of(self, name: str) -> Study:
        """Give the cases, without the labels that are hidden in a fold."""
        hidden = {*self.hidden.get(name, ())}
        labels = self.study.labels
        kept = {case_id: label for case_id, label in labels.items() if case_id not in hidden}
        return replace(self.study, labels=kept)

    @cached_property
    def bag_means(self) -> NDArray[np.float64]:
        """Mean of the features over all patches of each case, in the order of the cases."""
        return np.stack([_bag_mean(case) for case in self.study.cases])


def look(source: CohortSource, regime: Regime, *, seed: int) -> Inputs:
    """Read a cohort and determine its folds; nothing is written.

    Parameters
    ----------
    source
        Where the cohort is. Cases that lack slides or genes are left out, because systems are
        compared on the same patients.
    regime
        What the methods may learn from.
    seed
        Seed of everything drawn: val and splits if not given, cases and genes of the regime.

    Returns
    -------
    The inputs; `source` is the user's.

    Raises
    ------
    GimpError
        If the cohort, the bags or the splits are not valid, a fold has no test case or shares some
        with another (except for repeated partitions), or the regime asks for more than there is.
    """
    source = replace(with_defaults(source), missing="drop")
    study = prepare(source)
    folds = [
        splits_of(study, replace(source, fold=name), seed=seed)
        for name in _fold_names(study, source)
    ]
    whole, hidden = folds, {}
    if regime.kind == LABELS:
        folds = [_few_labels(one, study, n_each=regime.count, seed=seed) for one in folds]
    if regime.unlabelled:
        hidden = {
            few.fold: tuple(sorted(all_.parts.keys() - few.parts.keys()))
            for few, all_ in zip(folds, whole, strict=True)
        }
    _check_tests(folds)
    if regime.kind == GENES:
        cohort = _few_genes(study.cohort, n_genes=regime.count, seed=seed)
        study = replace(study, cohort=cohort)
    return Inputs(source=source, study=study, folds=tuple(folds), hidden=hidden)


def write(inputs: Inputs, output: Path, *, regime: Regime) -> Inputs:
    """Write the folds; with `genes:K` also the cohort; with hidden labels also the visible ones.

    Parameters
    ----------
    inputs
        Result of `look`.
    output
        Folder of the comparison.
    regime
        What the methods may learn from.

    Returns
    -------
    The inputs, with a `source` that names the written files.
    """
    named = [
        replace(one, parts={**one.parts, **dict.fromkeys(inputs.hidden.get(one.fold, ()), TRAIN)})
        for one in inputs.folds
    ]
    write_if_new(output / SPLITS, splits_text(named))
    source = replace(inputs.source, splits=str(output / SPLITS))
    if inputs.hidden:
        source = replace(source, slide_table=_written_slides(inputs, output), unlabelled="use")
        _write_labels(inputs, output)
    if regime.kind == GENES:
        cohort = inputs.study.cohort
        if not (output / COHORT).exists():  # an existing one is whole and of this comparison
            write_cohort(
                output / COHORT,
                cohort.values,
                obs=cohort.obs,
                var=cohort.genes,
                scale=cohort.scale,
            )
        source = replace(source, adata=output / COHORT, layer=None, scale=None)
    return replace(inputs, source=source)


def labels_file(fold: str) -> str:
    """Name of the table with the labels of a fold, within the folder of the comparison."""
    return f"{LABEL_TABLES}/fold-{quote(fold, safe='')}.csv"


def _write_labels(inputs: Inputs, output: Path) -> None:
    """Write the labels of each fold, except those that are hidden there."""
    (output / LABEL_TABLES).mkdir(exist_ok=True)
    for one in inputs.folds:
        labels = inputs.study_of(one.fold).labels
        rows = [
            {keys.CASE_ID: case_id, keys.LABEL: labels[case_id]}
            for case_id in sorted(inputs.study.case_ids)
            if case_id in labels
        ]
        text = csv_text(rows, columns=[keys.CASE_ID, keys.LABEL])
        write_if_new(output / labels_file(one.fold), text)


def _written_slides(inputs: Inputs, output: Path) -> Path:
    """Write the case of each slide, in case only the user's table of labels, not read, has it."""
    rows = [
        {keys.SLIDE_ID: bag.slide_id, keys.CASE_ID: case.case_id}
        for case in inputs.study.cases
        for bag in case.bags
    ]
    write_if_new(output / SLIDES, csv_text(rows, columns=[keys.SLIDE_ID, keys.CASE_ID]))
    return output / SLIDES


def _fold_names(study: Study, source: CohortSource) -> Sequence[str | None]:
    """Names of all folds; None for splits that are drawn."""
    if source.splits is None:
        return [None]
    if not source.splits.startswith("obs:"):
        return [one.fold for one in read_folds(Path(source.splits))]
    column = source.splits.removeprefix("obs:")
    if column not in study.obs:
        return [None]  # `splits_of` refuses it
    cells = study.obs.loc[list(study.case_ids), column]
    return sorted({text_of(cell) for cell in cells.dropna()})


def _check_tests(folds: Sequence[Splits]) -> None:
    """Refuse folds without a test case, or that share some, except for repeated partitions."""
    for splits in folds:
        if not splits.of(keys.TEST):
            raise SplitError(f"{splits.source} has no test case", hint="give splits with a test")
    patients = [{part: set(map(same_case, one.of(part))) for part in keys.PARTS} for one in folds]
    for (one, first), (other, second) in combinations(zip(folds, patients, strict=True), 2):
        shared = sorted(first[keys.TEST] & second[keys.TEST])
        moved = first[keys.TEST] & (second[keys.TRAIN] | second[keys.VAL])
        if shared and not moved:
            told = counted(len(shared), "patient is a test case", "patients are test cases")
            problem = f"{told} of folds {one.fold!r} and {other.fold!r}, but none tested in the "
            problem += f"first is a training case of the second: {listed(shared)}"
            hint = "only folds of repeated partitions share test cases: see gimp split --repeats"
            raise SplitError(problem, hint=hint)


def _few_labels(splits: Splits, study: Study, *, n_each: int, seed: int) -> Splits:
    """Keep some training cases of each class; a smaller number gives a subset of these."""
    kept: set[str] = set()
    training = splits.of(keys.TRAIN)
    for name in sorted({study.labels[case_id] for case_id in training}):
        members = sorted(case_id for case_id in training if study.labels[case_id] == name)
        if len(members) < n_each:
            problem = f"{splits.source}: class {name!r} has {len(members)} training cases"
            raise SplitError(f"{problem}, regime labels:{n_each} needs {n_each}")
        rng = np.random.default_rng([seed, *(zlib.crc32(x.encode()) for x in (splits.fold, name))])
        kept |= {members[place] for place in rng.permutation(len(members))[:n_each]}
    parts = {
        case_id: part
        for case_id, part in splits.parts.items()
        if part != keys.TRAIN or case_id in kept
    }
    return replace(splits, parts=parts)


def _few_genes(cohort: Cohort, *, n_genes: int, seed: int) -> Cohort:
    """Keep some random genes; counts are first log-scaled by the totals of all genes."""
    if n_genes > len(cohort.gene_ids):
        problem = f"{str(cohort.path)!r} has {len(cohort.gene_ids)} genes"
        raise CohortError(f"{problem}, regime genes:{n_genes} needs {n_genes}")
    chosen = np.random.default_rng(seed).choice(len(cohort.gene_ids), n_genes, replace=False)
    values, scale = cohort.values[:, chosen], cohort.scale
    if scale == COUNTS:
        blocks = (log_scale(cohort.values[rows], COUNTS) for rows in row_blocks(cohort.values))
        values, scale = np.concatenate([block[:, chosen] for block in blocks]), "log1p"
    return replace(
        cohort,
        gene_ids=tuple(cohort.gene_ids[place] for place in chosen),
        values=values,
        scale=scale,
        genes=cohort.genes.iloc[chosen],
    )


def _bag_mean(case: Case) -> NDArray[np.float64]:
    """Mean over all patches of all slides of a case."""
    return sum(part.sum(axis=0, dtype=np.float64) for part in _chunks(case)) / case.n_patches


def _chunks(case: Case) -> Iterator[NDArray[np.floating]]:
    """Features of a case, some patches at a time."""
    for bag in case.bags:
        for start in range(0, bag.n_patches, CHUNK):
            yield read_features(bag, start, min(start + CHUNK, bag.n_patches))
