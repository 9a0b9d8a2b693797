"""Environments: perturbed views of a sample, and partitions of the training samples.

Views act on the unimodal vectors (Mai and Han 2026, Sec. 4). `noise` is the paper's scheme;
it moves every feature alike, so it cannot single out a spurious one. `erase` and `swap` intervene
on whole modalities, each with its own rate: a prediction that rests on a modality whose link to
the label is spurious changes when that modality comes from another sample.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn.functional import one_hot

from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.learning.replicas import draw_normal, draw_uniform

ViewScheme = Callable[[Tensor, int, Tensor, Sequence[torch.Generator]], Tensor]


def noise_views(
    features: Tensor, count: int, rates: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """X^(e) = X + alpha_e * rate * eps with eps ~ N(0, I), alpha_e = alpha_1 * e (Eq. 3).

    Args:
        features: `(replica, modality, batch, features)`.
        count: K, number of views.
        rates: `(replica, modality)`, alpha_1 times the rate of the modality.
        generators: one source of randomness per replica.

    Returns:
        `(replica, modality, view, batch, features)`, views e = 1..K.
    """
    _, modalities, batch, size = features.shape
    noise = draw_normal(generators, (modalities, count, batch, size))
    strength = _rising(rates, count) * count
    return features[:, :, None] + strength[..., None, None] * noise


def erase_views(
    features: Tensor, count: int, rates: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """A modality's vector is zero with probability `rate * e / K` in view e (do(X_m = 0)).

    Arguments and result as `noise_views`, with rates in [0, 1].
    """
    erased = _chosen(
        features, count, rates, draw_uniform(generators, _sample_shape(features, count))
    )
    return features[:, :, None] * ~erased[..., None]


def swap_views(
    features: Tensor, count: int, rates: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """A modality's vector is another sample's with probability `rate * e / K` in view e.

    The intervention do(X_m = x') with x' from the batch, drawn for each modality apart: it breaks
    the modality's link with the label and keeps its own distribution. The selection is a product
    with a 0/1 matrix, whose gradient is repeatable on every device. Arguments and result as
    `noise_views`, with rates in [0, 1].
    """
    replicas, modalities, batch, size = features.shape
    shape = _sample_shape(features, count)
    draws = draw_uniform(generators, (2, *shape))
    chosen = _chosen(features, count, rates, draws[:, 0])
    shift = 1 + (draws[:, 1] * (batch - 1)).long()
    own = torch.arange(batch, device=features.device).expand_as(shift)
    source = torch.where(chosen, (own + shift) % batch, own)
    selection = one_hot(source.flatten(2, 3), batch).to(features.dtype)
    return (selection @ features).view(replicas, modalities, count, batch, size)


VIEWS: Mapping[str, ViewScheme] = {
    "noise": noise_views,
    "erase": erase_views,
    "swap": swap_views,
}


def partition(data: DevelopmentData, scheme: str, count: int, seed: int = 0) -> np.ndarray:
    """Groups the training samples into environments.

    Args:
        data: what a trial may see; only its training split is read.
        scheme: `none` (one group), `random` (the control: uniform groups), `kmeans` (clusters of
            the standardised features of all modalities) or a metadata column, whose values are
            merged into `count` groups of about equal size.
        count: number of groups.
        seed: of `random` and `kmeans`.

    Returns:
        `(n,)` int64 group of each training sample, in [0, count).

    Raises:
        InputError: unknown scheme, fewer values or samples than groups, or an empty group.
    """
    size = len(data.train.rows)
    if scheme == "none":
        return np.zeros(size, dtype=np.int64)
    if scheme == "random":
        return np.random.default_rng(seed).permutation(np.arange(size) % count)
    if scheme == "kmeans":
        return _clusters(data, count, seed)
    check_partition(data, scheme, count)
    return _merged(data.train.samples[scheme].to_numpy(), count)


def check_partition(data: DevelopmentData, scheme: str, count: int) -> None:
    """Raises InputError where `partition` would, without computing it (k-means may still)."""
    built_in = ("none", "random", "kmeans")
    if scheme in built_in:
        available, what = len(data.train.rows), "samples"
    elif scheme in data.environment_columns:
        available, what = data.train.samples[scheme].n_unique(), f"values of '{scheme}'"
    else:
        raise InputError(
            f"environments.partition must be one of "
            f"{', '.join((*built_in, *data.environment_columns))} for the data set "
            f"'{data.name}', but got '{scheme}'."
        )
    if count > available:
        raise InputError(
            f"environments.groups must be at most {available}, the number of {what} in the "
            f"training split, but got {count}."
        )


def pooled_features(data: DevelopmentData, rows: np.ndarray) -> np.ndarray:
    """Standardised time means of all modalities side by side, `(n, sum of D)` float32."""
    columns = []
    for modality in data.modalities.values():
        raw = modality.array if modality.pooled is None else modality.pooled
        columns.append((raw[rows].astype(np.float32) - modality.mean) / modality.std)
    return np.concatenate(columns, axis=1)


def _rising(rates: Tensor, count: int) -> Tensor:
    """`(replica, modality) -> (replica, modality, view)`: rate * e / K for e = 1..K."""
    steps = torch.arange(1, count + 1, device=rates.device, dtype=rates.dtype) / count
    return rates[..., None] * steps


def _sample_shape(features: Tensor, count: int) -> tuple[int, int, int]:
    return features.shape[1], count, features.shape[2]


def _chosen(features: Tensor, count: int, rates: Tensor, draws: Tensor) -> Tensor:
    return draws < _rising(rates, count)[..., None]


def _clusters(data: DevelopmentData, count: int, seed: int) -> np.ndarray:
    features = pooled_features(data, data.train.rows)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Number of distinct clusters")
        groups = KMeans(n_clusters=count, n_init=10, random_state=seed).fit_predict(features)
    found = len(np.unique(groups))
    if found < count:
        raise InputError(
            f"environments.groups must be at most {found}, the number of clusters that differ in "
            f"the training split, but got {count}."
        )
    return np.asarray(groups, dtype=np.int64)


def _merged(values: np.ndarray, count: int) -> np.ndarray:
    """Deals the values of a column, largest first, to the group that is smallest so far."""
    names, inverse, sizes = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    group_of = np.zeros(len(names), dtype=np.int64)
    filled = np.zeros(count, dtype=np.int64)
    for value in np.argsort(-sizes, kind="stable"):
        group_of[value] = int(filled.argmin())
        filled[group_of[value]] += sizes[value]
    return group_of[inverse]
