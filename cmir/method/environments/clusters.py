"""Clusters of samples by their features, over all samples or inside each bin of labels."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from cmir.data.task import Task
from cmir.errors import InputError

Array = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

LABEL_BINS = 5
# One sample of MOSI lies 36 standard deviations away and would be a cluster of its own.
FARTHEST = 5.0


def kmeans_environments(features: Array, count: int, seed: int) -> IntArray:
    """K-means clusters `(n,)` of standardised features `(n, features)`, clipped at +-5.

    Pitfall: clusters may follow the label; their diagnosis shows the mutual information.

    Raises:
        InputError: fewer distinct clusters than asked for.
    """
    return _clusters(np.clip(features, -FARTHEST, FARTHEST), count, seed, "the training split")


def label_kmeans_environments(
    features: Array, labels: Array, task: Task, count: int, seed: int
) -> IntArray:
    """K-means inside each bin of labels, clusters matched across the bins; `(n,)`.

    Bins are those of `label_bins`. A cluster is known by its centre relative to the mean of its
    bin; going up the bins, each bin's clusters are matched to the mean of those before by the
    assignment with the least sum of squared distances (Hungarian method). Every environment then
    has samples of every bin, and the label's own direction in the features makes none.

    Pitfalls: where the clusters of one bin are of other sizes than those of the next, environment
    and label stay dependent, the more so the more groups: on MOSI .035 nats at 4 groups and .147 at
    8, against .074 and .106 with `kmeans`. Look at the diagnosis. Equal sizes by force would
    remove this, but tear apart environments that are not of equal size. A feature whose link to
    the label changes its sign between environments is matched by its value, not by its link:
    environments then differ in that value alone.

    Raises:
        InputError: a bin with fewer samples, or fewer distinct clusters, than asked for.
    """
    near = np.clip(features, -FARTHEST, FARTHEST)
    bins, _ = label_bins(labels, task)
    groups = np.zeros(len(labels), dtype=np.int64)
    matched: list[Array] = []
    for number in range(int(bins.max()) + 1):
        rows = np.flatnonzero(bins == number)
        place = f"bin {number + 1} of {bins.max() + 1} of the training labels"
        found = _clusters(near[rows], count, seed, place)
        centres = np.stack([near[rows[found == k]].mean(0) for k in range(count)])
        centres -= near[rows].mean(0)
        match = _match(np.mean(matched, axis=0), centres) if matched else np.arange(count)
        groups[rows] = np.argsort(match)[found]
        matched.append(centres[match])
    return groups


def label_bins(labels: Array, task: Task) -> tuple[IntArray, Array]:
    """The bin of each label `(n,)`, and the lower edges of the second bin and those after.

    Binary and classes: the classes that occur. Several labels: the rarest that a sample has, or
    none; the labels rising from none to the most frequent. Regression: 5 bins by quantiles of these
    labels; fewer where one value is so frequent that quantiles coincide. No bin is empty.

    Example:
        >>> label_bins(np.array([0.0, 1.0, 1.0]), Task("binary"))[0].tolist()
        [0, 1, 1]
    """
    if task.kind == "multilabel":
        labels = _rarest(labels)
    if task.kind == "binary":
        edges = np.array([1.0])
    elif task.is_named:
        edges = np.unique(labels)[1:]
    else:
        inner = np.arange(1, LABEL_BINS) / LABEL_BINS
        # `higher` takes a value that occurs, which is what keeps every bin from being empty.
        edges = np.unique(np.quantile(labels, inner, method="higher"))
        edges = edges[edges > labels.min()]
    return np.searchsorted(edges, labels, side="right").astype(np.int64), edges


def _rarest(labels: Array) -> Array:
    """Of each row of labels `(n, C)` the rank of the rarest that holds, 0 where none does."""
    ranks = 1 + np.argsort(np.argsort(labels.sum(axis=0), kind="stable"))
    held = np.where(labels > 0, ranks, len(ranks) + 1).min(axis=1)
    return np.where(held > len(ranks), 0, held).astype(np.float64)


def _match(template: Array, centres: Array) -> IntArray:
    """For each row of the template `(count, features)` the row of `centres` that goes with it."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    return np.asarray(linear_sum_assignment(cdist(template, centres, "sqeuclidean"))[1])


def _clusters(features: Array, count: int, seed: int, place: str) -> IntArray:
    # Not for every worker: clusters are made once and cached, and the import takes half a second.
    from sklearn.cluster import KMeans

    found = min(len(features), count)
    if found == count:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Number of distinct clusters")
            groups = KMeans(n_clusters=count, n_init=10, random_state=seed).fit_predict(features)
        found = len(np.unique(groups))
    if found < count:
        raise InputError(
            f"environments.groups must be at most {found}, the number of clusters that differ in "
            f"{place}, but got {count}."
        )
    return np.asarray(groups, dtype=np.int64)
