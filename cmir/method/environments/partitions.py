"""Partitions: which training samples make up an environment.

`random` is the control that every other scheme must beat. Columns and clusters take what the data
offers; `error` and `eiil` infer environments from the mistakes of a reference predictor; `oracle`
knows them, on synthetic data only.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from cmir.config import DEFAULT_GROUPS, OWN_GROUPS
from cmir.data import DevelopmentData
from cmir.data.synthetic.design import GROUND_TRUTH_ARRAYS
from cmir.errors import InputError
from cmir.method.environments.clusters import kmeans_environments, label_kmeans_environments
from cmir.method.environments.diagnosis import Diagnosis, check_sizes, diagnose
from cmir.method.environments.inferred_environments import INFERRED
from cmir.method.environments.partition_cache import recalled
from cmir.method.environments.reference import Reference, train_reference
from cmir.method.networks.features import pooled_features

IntArray = npt.NDArray[np.int64]

BUILT_IN = ("none", "random", "kmeans", "label_kmeans", *OWN_GROUPS)
COSTLY = ("kmeans", "label_kmeans")
# Part of what names a kept array: raise it when a scheme or the reference changes.
REVISION = 1


class Partitions:
    """The partitions of one data set, each computed once, and the reference predictor they share.

    With a cache folder the costly parts (the reference's scores, clusters) are kept there, so that
    all trials and processes of a sweep share them. Only the training split is read.
    """

    def __init__(self, data: DevelopmentData, cache: Path | None = None) -> None:
        self._data, self._cache = data, cache
        self._reference: Reference | None = None
        self._groups: dict[tuple[str, int | None], IntArray] = {}
        self._diagnoses: dict[tuple[str, int | None], Diagnosis] = {}

    @property
    def reference(self) -> Reference:
        """The reference predictor; trained when first asked for.

        Raises:
            InputError: too few training samples.
        """
        if self._reference is None:
            data = self._data
            scores = recalled(
                self._cache, self._key("reference"), lambda: train_reference(data).scores
            )
            labels = data.train.labels.astype(np.float64)
            self._reference = Reference(scores, labels, data.task)
        return self._reference

    def groups(self, scheme: str, count: int | None = None) -> IntArray:
        """The environment of each training sample, `(n,)`, none smaller than 8 samples.

        The number of environments is `groups.max() + 1`. Arguments as `partition`.

        Raises:
            InputError: as `partition`, or an environment is empty or tiny.
        """
        wanted = (scheme, count)
        if wanted not in self._groups:
            groups = self._compute(scheme, count)
            if scheme != "none":
                least = 2 if scheme in OWN_GROUPS else count or DEFAULT_GROUPS
                check_sizes(scheme, groups, least)
            self._groups[wanted] = groups
        return self._groups[wanted].copy()

    def diagnosis(self, scheme: str, count: int | None = None) -> Diagnosis | None:
        """What the partition is like, against random ones; None for `none`.

        Raises:
            InputError: as `groups`.
        """
        if scheme == "none":
            return None
        wanted = (scheme, count)
        if wanted not in self._diagnoses:
            groups = self.groups(scheme, count)
            self._diagnoses[wanted] = diagnose(scheme, groups, self.reference)
        return self._diagnoses[wanted]

    def _compute(self, scheme: str, count: int | None) -> IntArray:
        check_partition(self._data, scheme, count)
        if scheme in INFERRED:
            return INFERRED[scheme](self.reference)
        if scheme in COSTLY:
            key = self._key(scheme, count=count or DEFAULT_GROUPS)
            return recalled(self._cache, key, lambda: partition(self._data, scheme, count))
        return partition(self._data, scheme, count)

    def _key(self, what: str, **more: Any) -> dict[str, Any]:
        """What an array follows from; another library may settle on other clusters."""
        facts = {"data": self._data.checksum, "task": self._data.task, "revision": REVISION}
        return {"array": what, "library": version("scikit-learn"), **facts, **more}


def partition(
    data: DevelopmentData, scheme: str, count: int | None = None, seed: int = 0
) -> IntArray:
    """Groups the training samples into environments.

    Args:
        data: what a trial may see; only its training split is read.
        scheme: `none` (one group), `random` (the control: uniform groups), `kmeans` and
            `label_kmeans` (`cmir.method.environments.clusters`), `error` and `eiil`
            (`inferred_environments`), `oracle` (the true environments of synthetic
            data), or a metadata column, whose values are merged into `count` groups of about
            equal size.
        count: number of groups, 4 if None; to be left out where the scheme has its own number.
        seed: of `random`, the clusters and the folds of the reference.

    Returns:
        `(n,)` int64 group of each training sample, in [0, number of groups).

    Raises:
        InputError: unknown scheme, fewer values or samples than groups, a number of groups for a
            scheme that has its own, or `oracle` without a ground truth.
    """
    check_partition(data, scheme, count)
    size, groups = len(data.train.rows), count or DEFAULT_GROUPS
    if scheme == "none":
        return np.zeros(size, dtype=np.int64)
    if scheme == "random":
        return np.random.default_rng(seed).permutation(np.arange(size) % groups)
    if scheme == "oracle":
        return _true_environments(data)
    if scheme in INFERRED:
        return INFERRED[scheme](train_reference(data, seed))
    if scheme in COSTLY:
        features = pooled_features(data, data.train.rows)
        if scheme == "kmeans":
            return kmeans_environments(features, groups, seed)
        return label_kmeans_environments(features, data.train.labels, data.task, groups, seed)
    return _merged(data.train.samples[scheme].to_numpy(), groups)


def check_partition(data: DevelopmentData, scheme: str, count: int | None = None) -> None:
    """Raises InputError where `partition` would, without computing it (clusters may still)."""
    if scheme in OWN_GROUPS:
        if count is not None:
            raise InputError(
                f"environments.groups must be left out with the partition '{scheme}', which has "
                f"its own number of groups, but got {count}."
            )
        if scheme == "oracle" and not (data.path / GROUND_TRUTH_ARRAYS).is_file():
            raise InputError(
                f"environments.partition: 'oracle' needs the true environments, which only data "
                f"from the built-in generator has, but '{data.name}' has no {GROUND_TRUTH_ARRAYS}. "
                "Choose another partition."
            )
        return
    if scheme in BUILT_IN:
        available, what = len(data.train.rows), "samples"
    elif scheme in data.environment_columns:
        available, what = data.train.samples[scheme].n_unique(), f"values of '{scheme}'"
    else:
        raise InputError(
            f"environments.partition must be one of "
            f"{', '.join((*BUILT_IN, *data.environment_columns))} for the data set "
            f"'{data.name}', but got '{scheme}'."
        )
    if scheme != "none" and (count or DEFAULT_GROUPS) > available:
        raise InputError(
            f"environments.groups must be at most {available}, the number of {what} in the "
            f"training split, but got {count or DEFAULT_GROUPS}."
        )


def _true_environments(data: DevelopmentData) -> IntArray:
    """The environments of the training rows, numbered from 0."""
    file = data.path / GROUND_TRUTH_ARRAYS
    rows = len(next(iter(data.modalities.values())).array)
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            environments = content["environment"]
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise InputError(f"{file}: cannot be read: {error}. Generate the data again.") from None
    if environments.shape != (rows,):
        raise InputError(
            f"{file}: environment must have shape ({rows},), one for each sample, but has "
            f"{environments.shape}. Generate the data again."
        )
    return np.unique(environments[data.train.rows], return_inverse=True)[1].astype(np.int64)


def _merged(values: np.ndarray, count: int) -> IntArray:
    """Deals the values of a column, largest first, to the group that is smallest so far."""
    names, inverse, sizes = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    group_of = np.zeros(len(names), dtype=np.int64)
    filled = np.zeros(count, dtype=np.int64)
    for value in np.argsort(-sizes, kind="stable"):
        group_of[value] = int(filled.argmin())
        filled[group_of[value]] += sizes[value]
    return group_of[inverse]
