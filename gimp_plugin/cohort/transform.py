"""The fitted gene transform: the log scale, then a z-score with the training's statistics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.expression import Cohort
from gimp_plugin.cohort.gene_match import RULE, GeneMatch, match_genes
from gimp_plugin.cohort.scales import LINEAR, LINEAR_FLOOR, LOG_CEILING, log_scale, row_blocks
from gimp_plugin.errors import CheckpointError, CohortError, listed

STD_FLOOR = 1e-3
CLIP = 10.0
_HIGH_GENES = 10
COLUMNS = ("id", "order", "mean", "std", "group")


@dataclass(frozen=True, eq=False, kw_only=True)
class GeneTransform:
    """What a model needs to know to read the genes of a new case.

    Parameters
    ----------
    gene_ids
        The model's genes, in its order.
    mean, std
        Of the training cases on the log scale, one value a gene; `std` is at least 1e-3.
    scale
        Scale of the cohort that it was fitted on.
    clip
        Largest absolute value that the transform gives.
    """

    gene_ids: tuple[str, ...]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    scale: str
    clip: float = CLIP

    @classmethod
    def fit(cls, cohort: Cohort, case_ids: Iterable[str], *, clip: float = CLIP) -> Self:
        """Take mean and standard deviation (that of the population) of the training cases.

        The statistics depend neither on the order of the cases nor on any other case.

        Parameters
        ----------
        cohort
            The cohort.
        case_ids
            Its training cases, at least one.
        clip
            Largest absolute value that the transform will give.

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
        return cls(gene_ids=cohort.gene_ids, mean=mean, std=std, scale=cohort.scale, clip=clip)

    def permuted(self, order: NDArray[np.int64]) -> Self:
        """Put the genes into another order, for instance that of a registered grouping.

        Parameters
        ----------
        order
            A permutation: entry i is the present place of the gene that shall stand at place i.

        Returns
        -------
        A transform that gives the same values in that order.

        Raises
        ------
        CohortError
            If `order` is no permutation of the genes.
        """
        if not np.array_equal(np.sort(order), np.arange(len(self.gene_ids))):
            raise CohortError(f"the gene order is no permutation of {len(self.gene_ids)} genes")
        gene_ids = tuple(self.gene_ids[place] for place in order)
        return replace(self, gene_ids=gene_ids, mean=self.mean[order], std=self.std[order])

    def match(self, cohort: Cohort) -> GeneMatch:
        """Find the model's genes in a cohort: which are missing, which are extra."""
        return match_genes(self.gene_ids, cohort.gene_ids)

    def apply(
        self, cohort: Cohort, *, min_coverage: float = 0.95
    ) -> tuple[NDArray[np.float32], float]:
        """Give a cohort's genes as the model reads them.

        Genes are found by name, so their order in the cohort is of no account. A missing gene is
        0, which is the training mean; genes that the model does not know are left out.

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
        self._check_coverage(cohort, match, min_coverage)
        found = match.columns >= 0
        columns, mean, std = match.columns[found], self.mean[found], self.std[found]
        self._check_magnitude(cohort, columns, mean)
        values = np.zeros((len(cohort.case_ids), len(self.gene_ids)), dtype=np.float32)
        for rows in row_blocks(cohort.values):
            logs = log_scale(cohort.values[rows], cohort.scale)[:, columns]
            values[rows, found] = np.clip((logs - mean) / std, -self.clip, self.clip)
        return values, match.coverage

    def to_rows(self, *, groups: Sequence[int]) -> list[dict[str, Any]]:
        """Rows of `genes.csv`; numbers are written so that they read back bit for bit.

        Parameters
        ----------
        groups
            Group of each gene, in the order of the model.

        Returns
        -------
        One row a gene, with the keys of `COLUMNS`.
        """
        return [
            {"id": gene_id, "order": place, "mean": repr(mean), "std": repr(std), "group": group}
            for place, (gene_id, mean, std, group) in enumerate(
                zip(self.gene_ids, self.mean.tolist(), self.std.tolist(), groups, strict=True)
            )
        ]

    @classmethod
    def from_rows(
        cls, rows: Sequence[Mapping[str, Any]], *, scale: str, clip: float = CLIP
    ) -> Self:
        """Read what `to_rows` gave, from the rows of a `genes.csv`.

        Parameters
        ----------
        rows
            One row a gene, in any order.
        scale, clip
            As in the constructor; they stand in the run's configuration.

        Returns
        -------
        The transform.

        Raises
        ------
        CheckpointError
            If a column or a gene is missing or repeated, or a number is none.
        """
        try:
            ordered = sorted(rows, key=lambda row: int(row["order"]))
            places = [int(row["order"]) for row in ordered]
            gene_ids = tuple(str(row["id"]) for row in ordered)
            mean = np.array([float(row["mean"]) for row in ordered])
            std = np.array([float(row["std"]) for row in ordered])
        except (KeyError, ValueError, TypeError) as error:
            problem = f"the gene table of the run is damaged: {error!r}"
            raise CheckpointError(
                problem, hint=f"it has the columns {', '.join(COLUMNS)}"
            ) from error
        whole = places == list(range(len(places))) and len(set(gene_ids)) == len(gene_ids)
        if not (whole and places and np.isfinite(mean).all() and (std >= STD_FLOOR).all()):
            problem = "the gene table of the run is damaged: genes are missing, repeated or no"
            raise CheckpointError(f"{problem} numbers", hint="use an undamaged run")
        return cls(gene_ids=gene_ids, mean=mean, std=std, scale=scale, clip=clip)

    def _check_scale(self, cohort: Cohort) -> None:
        """Refuse a cohort on another scale than the training's."""
        if cohort.scale != self.scale:
            told = "guessed" if cohort.scale_guessed else "declared"
            problem = f"the model was trained on the scale {self.scale!r}, but {str(cohort.path)!r}"
            hint = "bring it to that scale, or give --scale if it is on it already"
            raise CohortError(f"{problem} is on {cohort.scale!r} ({told})", hint=hint)

    def _check_coverage(self, cohort: Cohort, match: GeneMatch, min_coverage: float) -> None:
        """Refuse a cohort that lacks too many of the model's genes."""
        if match.coverage < min_coverage or len(match.missing) == len(self.gene_ids):
            n_found = len(self.gene_ids) - len(match.missing)
            problem = (
                f"{str(cohort.path)!r} has {n_found} of the model's {len(self.gene_ids)} genes "
                f"({match.coverage:.3f}, expected at least {min_coverage}); "
                f"missing: {listed(match.missing)}; its own: {listed(match.extra, limit=3) or '-'}"
            )
            hint = f"give a cohort with these genes, or lower --min-gene-coverage; {RULE}"
            raise CohortError(problem, hint=hint)

    def _check_magnitude(
        self, cohort: Cohort, columns: NDArray[np.int64], mean: NDArray[np.float64]
    ) -> None:
        """Refuse log values under the name of a linear scale: the highest genes tell."""
        high = np.expm1(mean) > LINEAR_FLOOR
        if self.scale not in LINEAR or high.sum() < _HIGH_GENES:
            return
        found = float(cohort.values[:, columns[high]].max())
        if found <= LOG_CEILING:
            problem = (
                f"{str(cohort.path)!r} is said to be on {self.scale!r}, but looks like 'log': the "
                f"{int(high.sum())} genes with a training mean above {LINEAR_FLOOR:g} reach "
                f"{found:g} at most"
            )
            raise CohortError(problem, hint="give the values before the logarithm")


def _mean_log(
    cohort: Cohort, rows: NDArray[np.int64], *, center: NDArray[np.float64], power: int
) -> NDArray[np.float64]:
    """Mean over some cases of (log value - center) ** power, in double precision."""
    total = np.zeros(len(cohort.gene_ids))
    for row in rows:
        logs = log_scale(cohort.values[row : row + 1], cohort.scale)[0]
        total += (logs - center) ** power
    return total / len(rows)
