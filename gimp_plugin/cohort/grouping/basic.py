"""Groupings that need nothing but the ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import ConfigError


def without_argument(name: str, argument: str) -> None:
    """Refuse an argument where a grouping takes none.

    Parameters
    ----------
    name
        Name of the grouping.
    argument
        What the user wrote behind the colon.

    Raises
    ------
    ConfigError
        If that is anything.
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
    """Keep the genes as they stand in the cohort of the training."""
    without_argument("file-order", argument)
    return np.arange(len(gene_ids))


def random_order(
    gene_ids: Sequence[str],
    *,
    seed: int = 0,
    argument: str = "",
    **context: object,  # noqa: ARG001  # what others need
) -> NDArray[np.int64]:
    """Shuffle the genes: the control that shows whether another order matters.

    The order depends on the set of the ids and the seed, not on how the file was sorted.

    Returns
    -------
    A permutation of the genes.
    """
    without_argument("random", argument)
    by_name = np.argsort(np.asarray(gene_ids, dtype=object), kind="stable")
    return by_name[np.random.default_rng(seed).permutation(len(gene_ids))]
