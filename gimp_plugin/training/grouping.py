"""The order of the genes, by the grouping that a configuration names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.errors import GimpError, PluginError, is_resource
from gimp_plugin.plugins import imported, registry, split_name
from gimp_plugin.plugins.manager import in_one_line, is_ours

if TYPE_CHECKING:
    import pandas as pd

KIND = "gene-grouping"


def grouped(
    name: str,
    gene_ids: Sequence[str],
    *,
    seed: int,
    genes: pd.DataFrame,
    expression: NDArray[np.float32],
) -> NDArray[np.int64]:
    """Order genes by a registered grouping.

    Parameters
    ----------
    name
        Name of the grouping, with its argument.
    gene_ids, seed, genes, expression
        Its arguments; a plugin's grouping gets copies of the last two, which it may change.

    Returns
    -------
    The order: entry i is the index of the gene that is read at place i.

    Raises
    ------
    PluginError
        If a plugin's grouping fails, or does not return an order of these genes.
    """
    first, argument = split_name(name)
    component = registry().component(KIND, first)
    order_of = imported(component)
    if is_ours(component.origin):
        given = {"genes": genes, "expression": expression}
        return order_of(gene_ids, seed=seed, argument=argument, **given)
    who = f"{component.title} of plugin {component.origin}"
    given = {"genes": genes.copy(), "expression": expression.copy()}
    try:
        order = np.asarray(order_of(gene_ids, seed=seed, argument=argument, **given))
    except Exception as error:
        if isinstance(error, GimpError) or is_resource(error):
            raise
        hint = "it is called with (gene_ids, seed=, genes=, expression=, argument=)"
        raise PluginError(f"{who} failed: {in_one_line(error)}", hint=hint) from error
    n_genes = len(gene_ids)
    if order.dtype.kind not in "iu" or not np.array_equal(np.sort(order, None), range(n_genes)):
        problem = f"{who} gave no order of {n_genes} genes: each index from 0 must occur once"
        raise PluginError(problem, hint="gimp_plugin.testing checks a component before it is used")
    return order.astype(np.int64)
