"""The fitted gene transform: a log scale, then a z-score with the training statistics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.expression import Cohort
from gimp_plugin.cohort.gene_match import RULE, GeneMatch, match_genes
from gimp_plugin.cohort.names import other_names
from gimp_plugin.cohort.scales import (
    COUNTS,
    LINEAR,
    LINEAR_FLOOR,
    LOG_CEILING,
    is_whole,
    log_scale,
    row_blocks,
)
from gimp_plugin.config.sources import MIN_GENE_COVERAGE
from gimp_plugin.errors import CohortError, listed

STD_FLOOR = 1e-3
CLIP = 10.0
_HIGH_GENES = 10


@dataclass(frozen=True, eq=False, kw_only=True)
class GeneTransform:
    """Transform of genes to model inputs, fitted on the training cases.

    Parameters
    ----------
    gene_ids
        The model's genes, in its order.
    mean, std
        Mean and standard deviation of the training cases on the log scale, one value per gene;
        `std` is at least 1e-3.
    scale
        Scale of the training cohort.
    names
        Another name of each gene, for instance its symbol, then those of `unselected`; empty if
        none is known.
    unselected
        For training on counts: genes that the model does not read, but that count in the totals.
    clip
        Largest absolute value that the transform returns.
    """

    gene_ids: tuple[str, ...]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    scale: str
    names: tuple[str, ...] = ()
    unselected: tuple[str, ...] = ()
    clip: float = CLIP

    @classmethod
    def fit(cls, cohort: Cohort, case_ids: Iterable[str], *, clip: float = CLIP) -> Self:
        """Fit the mean and the (population) standard deviation of the training cases.

        The statistics depend neither on the order of the cases nor on any other case.

        Parameters
        ----------
        cohort
            The cohort.
        case_ids
            Its training cases, at least one.
        clip
            Largest absolute value that the transform will return.

        Returns
        -------
        The transform, its genes in the order of the cohort.

        Raises
        ------
        CohortError
            If there is no training case.
        """
        rows = cohort.rows_of(sorted(set(case_ids)))
        if not len(rows):
            raise CohortError("the gene transform needs at least one training case, got none")
        mean = _mean_log(cohort, rows, center=np.zeros(len(cohort.gene_ids)), power=1)
        variance = _mean_log(cohort, rows, center=mean, power=2)
        std = np.maximum(np.sqrt(variance), STD_FLOOR)
        return cls(
            gene_ids=cohort.gene_ids,
            mean=mean,
            std=std,
            scale=cohort.scale,
            names=tuple(next(iter(own), "") for own in other_names(cohort.genes)),
            clip=clip,
        )

    def selected(self, places: NDArray[np.int64]) -> Self:
        """Keep only some of the genes, for instance the most variable ones.

        Parameters
        ----------
        places
            Current places of the genes to keep, in their new order; none twice.

        Returns
        -------
        A transform that returns the same values for those genes.

        Raises
        ------
        CohortError
            If a place does not exist or occurs twice.
        """
        n_genes = len(self.gene_ids)
        inside = places.size and places.min() >= 0 and places.max() < n_genes
        if not inside or len(np.unique(places)) != len(places):
            raise CohortError(
                f"the selected genes are not distinct positions among {n_genes} genes"
            )
        kept = set(places.tolist())
        left = [place for place in range(n_genes) if place not in kept]
        left = left if self.scale == COUNTS else []
        order = [*places.tolist(), *left]
        names = (*(self.names[place] for place in order), *self.names[n_genes:])
        return replace(
            self,
            gene_ids=tuple(self.gene_ids[place] for place in places),
            mean=self.mean[places],
            std=self.std[places],
            names=names if self.names else (),
            unselected=(*(self.gene_ids[place] for place in left), *self.unselected),
        )

    def permuted(self, order: NDArray[np.int64]) -> Self:
        """Put all genes into another order, for instance that of a registered grouping.

        Parameters
        ----------
        order
            A permutation: entry i is the current place of the gene that moves to place i.

        Returns
        -------
        A transform that returns the same values in that order.

        Raises
        ------
        CohortError
            If `order` is not a permutation of the genes.
        """
        if not np.array_equal(np.sort(order), np.arange(len(self.gene_ids))):
            raise CohortError(f"the gene order is not a permutation of {len(self.gene_ids)} genes")
        return self.selected(order)

    def match(self, cohort: Cohort) -> GeneMatch:
        """Find the model's genes in a cohort: which are missing, which are extra."""
        return self._match(cohort, self.gene_ids)

    def apply(
        self, cohort: Cohort, *, min_coverage: float = MIN_GENE_COVERAGE
    ) -> tuple[NDArray[np.float32], float]:
        """Transform a cohort's genes to the inputs of the model.

        Genes are found by name (`gene_match`), so their order does not matter. A missing gene is
        0, the training mean. Genes unknown to the training are left out, also from the total of a
        case's counts.

        Parameters
        ----------
        cohort
            Any cohort on the scale of the training.
        min_coverage
            Least share of the model's genes that the cohort must have.

        Returns
        -------
        Standardised values within ±`clip`, shape (case, gene), the cases in the order of the
        cohort; and the share of the model's genes that were found.

        Raises
        ------
        CohortError
            If the scale is another, or too many genes are missing.
        """
        match = self.match(cohort)
        self._check_scale(cohort)
        _check_coverage(cohort, match, min_coverage, what=f"the model's {len(self.gene_ids)} genes")
        found = match.columns >= 0
        columns, mean, std = match.columns[found], self.mean[found], self.std[found]
        self._check_magnitude(cohort, columns, mean)
        counted = self._counted(cohort, columns, min_coverage)
        values = np.zeros((len(cohort.case_ids), len(self.gene_ids)), dtype=np.float32)
        for rows in row_blocks(cohort.values):
            block, totals = cohort.values[rows], None
            if self.scale == COUNTS:
                totals = block[:, counted].sum(axis=1, dtype=np.float64)
            logs = log_scale(block[:, columns], cohort.scale, totals=totals)
            values[rows, found] = np.clip((logs - mean) / std, -self.clip, self.clip)
        return values, match.coverage

    def _match(self, cohort: Cohort, wanted: tuple[str, ...]) -> GeneMatch:
        """Find the genes that come first in `names`."""
        names = self.names[: len(wanted)]
        return match_genes(
            wanted,
            cohort.gene_ids,
            wanted_names=[(name,) if name else () for name in names] or None,
            present_names=other_names(cohort.genes),
        )

    def _counted(
        self, cohort: Cohort, columns: NDArray[np.int64], min_coverage: float
    ) -> NDArray[np.int64]:
        """Columns of a cohort that make up the total of a case's counts."""
        if not self.unselected:
            return np.sort(columns)
        every = self._match(cohort, (*self.gene_ids, *self.unselected))
        what = f"the {len(every.columns)} genes that made up a case's total in training"
        _check_coverage(cohort, every, min_coverage, what=what)
        return np.union1d(columns, every.columns[every.columns >= 0])

    def _check_scale(self, cohort: Cohort) -> None:
        """Refuse a cohort on another scale than the training's."""
        if cohort.scale != self.scale:
            told = "guessed" if cohort.scale_guessed else "declared"
            problem = f"the model was trained on the scale {self.scale!r}, but {str(cohort.path)!r}"
            hint = "convert it to that scale, or give --scale if it already is on that scale"
            raise CohortError(f"{problem} is on {cohort.scale!r} ({told})", hint=hint)

    def _check_magnitude(
        self, cohort: Cohort, columns: NDArray[np.int64], mean: NDArray[np.float64]
    ) -> None:
        """Refuse log values declared as another scale, judging by the highest genes."""
        if self.scale == COUNTS:
            found = float(cohort.values[:, columns].max())
            if found > LOG_CEILING or is_whole(cohort.values[:, columns]):
                return
            told = "its values are not whole numbers and"
        else:
            high = np.expm1(mean) > LINEAR_FLOOR
            if self.scale not in LINEAR or high.sum() < _HIGH_GENES:
                return
            found = float(cohort.values[:, columns[high]].max())
            if found > LOG_CEILING:
                return
            told = f"the {int(high.sum())} genes with a training mean above {LINEAR_FLOOR:g}"
        problem = f"{str(cohort.path)!r} is declared as {self.scale!r}, but looks like 'log': "
        hint = "give the values before the logarithm"
        raise CohortError(f"{problem}{told} reach {found:g} at most", hint=hint)


def _check_coverage(cohort: Cohort, match: GeneMatch, min_coverage: float, *, what: str) -> None:
    """Refuse a cohort that lacks too many of the genes that are needed."""
    n_genes = len(match.columns)
    if match.coverage < min_coverage or len(match.missing) == n_genes:
        problem = (
            f"{str(cohort.path)!r} has {n_genes - len(match.missing)} of {what} "
            f"({match.coverage:.3f}, expected at least {min_coverage}); "
            f"missing: {listed(match.missing)}; its own: {listed(match.extra, limit=3) or '-'}"
        )
        hint = f"give a cohort with these genes, or lower --min-gene-coverage; {RULE}"
        raise CohortError(problem, hint=hint)


def _mean_log(
    cohort: Cohort, rows: NDArray[np.int64], *, center: NDArray[np.float64], power: int
) -> NDArray[np.float64]:
    """Mean over some cases of (log value - center) ** power, in double precision."""
    total = np.zeros(len(cohort.gene_ids))
    for row in rows:
        logs = log_scale(cohort.values[row : row + 1], cohort.scale)[0]
        total += (logs - center) ** power
    return total / len(rows)
