"""Groupings that need only the gene ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import ConfigError


def without_argument(name: str, argument: str) -> None:
    """Refuse an argument for a grouping that takes none.

    Parameters
    ----------
    name
        Name of the grouping.
    argument
        The text after the colon.

    Raises
    ------
    ConfigError
        If there is an argument.
    """
    if argument:
        problem = f"gene grouping '{name}:{argument}': {name!r} takes no argument"
        raise ConfigError(problem, hint=f"give {name!r} alone")


def file_order(
    gene_ids: Sequence[str],
    *,
    argument: str = "",
    **context: object,  # noqa: ARG001  # what others need
) -> NDArray[np.int64]:
    """Keep the genes in the order of the training cohort."""
    without_argument("file-order", argument)
    return np.arange(len(gene_ids))


def random_order(
    gene_ids: Sequence[str],
    *,
    seed: int = 0,
    argument: str = "",
    **context: object,  # noqa: ARG001  # what others need
) -> NDArray[np.int64]:
    """Shuffle the genes, as a control to show whether another order matters.

    The order depends on the set of ids and the seed, not on the order of the file.

    Returns
    -------
    A permutation of the genes.
    """
    without_argument("random", argument)
    by_name = np.argsort(np.asarray(gene_ids, dtype=object), kind="stable")
    return by_name[np.random.default_rng(seed).permutation(len(gene_ids))]
