"""Grouping by co-expression: genes that rise and fall together in the training cases."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gimp_plugin.cohort.grouping.basic import without_argument
from gimp_plugin.errors import CohortError

N_COMPONENTS = 50
TREE_SIZE = 2000
CLUSTER_SIZE = 250
_ROWS = 4096

Points = NDArray[np.float32]


def coexpression_order(
    gene_ids: Sequence[str],
    *,
    expression: NDArray[np.float32] | None,
    seed: int = 0,
    argument: str = "",
    **context: object,  # noqa: ARG001  # what others need
) -> NDArray[np.int64]:
    """Put correlated genes side by side, in the order of the leaves of a hierarchical clustering.

    Each gene is a point, its centred profile over the training cases scaled to length 1, so that
    the squared distance of two genes is 2 (1 - their correlation). The points are reduced to their
    leading principal components. Up to 2,000 genes are clustered at once (Ward). More are first
    divided by k-means; the clusters are ordered by clustering their centres, and each is then
    clustered separately. The order depends on the set of ids, the values and the seed, not on the
    order of the file. Genes that do not vary come last, by id.

    Parameters
    ----------
    gene_ids
        The genes.
    expression
        Standardised values of the training cases, shape (case, gene).
    seed
        Seed of k-means.
    argument
        Must be empty.

    Returns
    -------
    A permutation of the genes.

    Raises
    ------
    CohortError
        If there are fewer than 3 training cases.
    """
    without_argument("coexpression", argument)
    n_cases = 0 if expression is None else len(expression)
    if expression is None or n_cases < 3:
        problem = f"the gene grouping 'coexpression' needs 3 training cases, got {n_cases}"
        raise CohortError(problem, hint="choose another --gene-grouping")
    by_name = np.argsort(np.asarray(gene_ids, dtype=object), kind="stable")
    profiles, varies = _profiles(expression, by_name)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # the sums of k-means depend on the order of the threads
        order = _order(_reduced(profiles[varies]), seed)
    moving, still = np.flatnonzero(varies), np.flatnonzero(~varies)
    return by_name[np.concatenate([moving[order], still])]


def _profiles(
    expression: NDArray[np.float32], by_name: NDArray[np.int64]
) -> tuple[Points, NDArray[np.bool_]]:
    """Centred profiles of length 1, shape (gene, case), and which of them vary."""
    profiles = np.ascontiguousarray(expression.T[by_name], dtype=np.float32)
    varies = np.empty(len(profiles), dtype=bool)
    for rows in _blocks(len(profiles)):
        block = profiles[rows].astype(np.float64)
        block -= block.mean(axis=1, keepdims=True)
        length = np.linalg.norm(block, axis=1, keepdims=True)
        varies[rows] = length[:, 0] > 1e-6
        profiles[rows] = block / np.where(length > 1e-6, length, 1.0)
    return profiles, varies


def _reduced(profiles: Points) -> Points:
    """Coordinates on the leading principal components."""
    from sklearn.decomposition import PCA

    n_components = min(N_COMPONENTS, *profiles.shape)
    if n_components < 2:
        return profiles
    return PCA(n_components, svd_solver="covariance_eigh").fit_transform(profiles)


def _order(points: Points, seed: int) -> NDArray[np.int64]:
    """Order the points so that neighbours are close."""
    if len(points) <= TREE_SIZE:
        return _leaves(points)
    labels, centres = _clusters(points, seed)
    members = [np.flatnonzero(labels == label) for label in range(len(centres))]
    if max(map(len, members)) == len(points):  # all points are equal
        return np.arange(len(points))
    parts = [members[cluster] for cluster in _order(centres, seed) if len(members[cluster])]
    return np.concatenate([part[_order(points[part], seed)] for part in parts])


def _leaves(points: Points) -> NDArray[np.int64]:
    """Leaves of Ward's hierarchical clustering, branches turned to bring close points together."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    if len(points) < 3:
        return np.arange(len(points))
    tree = linkage(points, "ward", optimal_ordering=len(points) <= CLUSTER_SIZE * 2)
    return leaves_list(tree).astype(np.int64)


def _clusters(points: Points, seed: int) -> tuple[NDArray[np.int32], Points]:
    """k-means: the cluster of each point, and the centres."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    n_clusters = -(-len(points) // CLUSTER_SIZE)
    kmeans = KMeans(n_clusters, n_init=1, max_iter=50, random_state=seed)
    with warnings.catch_warnings():  # genes expressed by one case only coincide
        warnings.simplefilter("ignore", ConvergenceWarning)
        kmeans.fit(points)
    return kmeans.labels_, kmeans.cluster_centers_


def _blocks(n_rows: int) -> Iterator[slice]:
    """Yield slices that divide the rows into blocks."""
    return (slice(start, start + _ROWS) for start in range(0, n_rows, _ROWS))
