"""Partitions of one data set: which training samples make up an environment, computed once.

Schemes have names (`cmir.method.environments.partition_schemes`); a column of the data set's
samples is a partition too.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.config import DEFAULT_GROUPS, EnvironmentsConfig
from cmir.data import DevelopmentData
from cmir.errors import InputError, did_you_mean
from cmir.extensions import PARTITIONS, Settings
from cmir.method.environments.diagnosis import Diagnosis, check_sizes, diagnose
from cmir.method.environments.partition_cache import Ask, recalled
from cmir.method.environments.partition_schemes import Wanted
from cmir.method.environments.reference import Reference, train_reference

IntArray = npt.NDArray[np.int64]

# Part of what names a kept reference: raise it when the reference changes.
REVISION = 1
NO_SETTINGS: Settings = {}


class Partitions:
    """The partitions of one data set, each computed once, and the reference predictor they share.

    With a cache folder the costly parts (the reference's scores, clusters) are kept there, so that
    all trials and processes of a sweep share them; what the folder lacks is asked of who else may
    have it before it is computed. Only the training split is read.
    """

    def __init__(
        self, data: DevelopmentData, cache: Path | None = None, ask: Ask | None = None
    ) -> None:
        self._data, self._cache, self._ask = data, cache, ask
        self._reference: Reference | None = None
        self._groups: dict[tuple[Any, ...], IntArray] = {}
        self._diagnoses: dict[tuple[Any, ...], Diagnosis] = {}

    @property
    def reference(self) -> Reference:
        """The reference predictor; trained when first asked for.

        Raises:
            InputError: too few training samples.
        """
        if self._reference is None:
            data = self._data
            scores = self._recalled(self._key("reference"), lambda: train_reference(data).scores)
            labels = data.train.labels.astype(np.float64)
            self._reference = Reference(scores, labels, data.task)
        return self._reference

    def groups(
        self, scheme: str, count: int | None = None, settings: Settings = NO_SETTINGS
    ) -> IntArray:
        """The environment of each training sample, `(n,)`, none smaller than 8 samples.

        The number of environments is `groups.max() + 1`. Arguments as `partition`.

        Raises:
            InputError: as `partition`, or an environment is empty or tiny.
        """
        wanted = (scheme, count, repr(settings))
        if wanted not in self._groups:
            groups = self._compute(scheme, count, settings)
            if scheme != "none":
                least = 2 if _own_groups(scheme) else count or DEFAULT_GROUPS
                check_sizes(scheme, groups, least)
            self._groups[wanted] = groups
        return self._groups[wanted].copy()

    def prepare(
        self, scheme: str, count: int | None = None, settings: Settings = NO_SETTINGS
    ) -> None:
        """Sees to it that what a partition and its diagnosis cost to compute is kept.

        Raises:
            InputError: as `groups`.
        """
        if scheme != "none":
            self.groups(scheme, count, settings)
            _ = self.reference

    def diagnosis(
        self, scheme: str, count: int | None = None, settings: Settings = NO_SETTINGS
    ) -> Diagnosis | None:
        """What the partition is like, against random ones; None for `none`.

        Raises:
            InputError: as `groups`.
        """
        if scheme == "none":
            return None
        wanted = (scheme, count, repr(settings))
        if wanted not in self._diagnoses:
            groups = self.groups(scheme, count, settings)
            self._diagnoses[wanted] = diagnose(scheme, groups, self.reference)
        return self._diagnoses[wanted]

    def _compute(self, scheme: str, count: int | None, settings: Settings) -> IntArray:
        check_partition(self._data, scheme, count)
        wanted = Wanted(self._data, count or DEFAULT_GROUPS, 0, lambda: self.reference)
        entry = PARTITIONS.of(scheme)
        if entry is None or entry.revision is None:
            return _made(scheme, wanted, settings)
        own = entry.filled(settings)
        more = {"revision": entry.revision, **({"settings": own} if own else {})}
        key = self._key(scheme, count=wanted.count, **more)
        return self._recalled(key, lambda: _made(scheme, wanted, settings))

    def _recalled(self, key: dict[str, Any], compute: Callable[[], np.ndarray]) -> np.ndarray:
        return recalled(self._cache, key, compute, self._ask)

    def _key(self, what: str, **more: Any) -> dict[str, Any]:
        """What an array follows from; another library may settle on other clusters."""
        task = self._data.task
        kind = str(task) if task.is_named else task.kind
        facts = {"data": self._data.checksum, "task": kind, "revision": REVISION}
        return {"array": what, "library": version("scikit-learn"), **facts, **more}


def partition(
    data: DevelopmentData,
    scheme: str,
    count: int | None = None,
    seed: int = 0,
    settings: Settings = NO_SETTINGS,
) -> IntArray:
    """Groups the training samples into environments.

    Args:
        data: what a trial may see; only its training split is read.
        scheme: `none` (one group), a name in `cmir.extensions.PARTITIONS`, or a metadata column,
            whose values are merged into `count` groups of about equal size.
        count: number of groups, 4 if None; to be left out where the scheme has its own number.
        seed: of `random`, the clusters and the folds of the reference.
        settings: of schemes that have some of their own, by the scheme's name.

    Returns:
        `(n,)` int64 group of each training sample, in [0, number of groups).

    Raises:
        InputError: unknown scheme, fewer values or samples than groups, a number of groups for a
            scheme that has its own, or `oracle` without a ground truth.
    """
    check_partition(data, scheme, count)
    wanted = Wanted(data, count or DEFAULT_GROUPS, seed, lambda: train_reference(data, seed))
    return _made(scheme, wanted, settings)


def partition_of(environments: EnvironmentsConfig) -> tuple[str, int | None, Settings]:
    """The partition of a configuration, as `Partitions` takes it."""
    return environments.partition, environments.group_count, environments.partition_settings


def check_partition(data: DevelopmentData, scheme: str, count: int | None = None) -> None:
    """Raises InputError where `partition` would, without computing it (clusters may still)."""
    entry, own = PARTITIONS.of(scheme), _own_groups(scheme)
    if own and count is not None:
        raise InputError(
            f"environments.groups must be left out with the partition '{scheme}', which has "
            f"its own number of groups, but got {count}."
        )
    if entry is not None and entry.check is not None:
        entry.check(data)
    if own:
        return
    available, what = _available(data, scheme)
    if scheme != "none" and (count or DEFAULT_GROUPS) > available:
        raise InputError(
            f"environments.groups must be at most {available}, the number of {what} in the "
            f"training split, but got {count or DEFAULT_GROUPS}."
        )


def _available(data: DevelopmentData, scheme: str) -> tuple[int, str]:
    """The most groups that a scheme can make, and of what."""
    if scheme == "none" or scheme in PARTITIONS:
        return len(data.train.rows), "samples"
    if scheme in data.environment_columns:
        return data.train.samples[scheme].n_unique(), f"values of '{scheme}'"
    known = ("none", *PARTITIONS, *data.environment_columns)
    reason = data.why_no_environment(scheme)
    if reason is not None:
        raise InputError(
            f"environments.partition: the column '{scheme}' of the data set '{data.name}' cannot "
            f"be a partition: {reason}. Use one of {', '.join(known)}."
        )
    raise InputError(
        f"environments.partition must be one of {', '.join(known)} for the data set "
        f"'{data.name}', but got '{scheme}'.{did_you_mean(scheme, known)}"
    )


def _own_groups(scheme: str) -> bool:
    entry = PARTITIONS.of(scheme)
    return entry is not None and entry.groups is not None


def _made(scheme: str, wanted: Wanted, settings: Settings) -> IntArray:
    if scheme == "none":
        return np.zeros(wanted.size, dtype=np.int64)
    entry = PARTITIONS.of(scheme)
    if entry is None:
        return _merged(wanted.data.train.samples[scheme].to_numpy(), wanted.count)
    groups = np.asarray(entry.given(settings)(wanted))
    if groups.shape != (wanted.size,) or groups.dtype.kind not in "iub" or groups.min() < 0:
        raise InputError(
            f"environments.partition: '{scheme}' must give each of the {wanted.size} training "
            f"samples the number of its group, from 0 on, but gave {groups.dtype} of shape "
            f"{groups.shape}. Mend {entry.module}."
        )
    return groups.astype(np.int64)


def _merged(values: np.ndarray, count: int) -> IntArray:
    """Deals the values of a column, largest first, to the group that is smallest so far."""
    names, inverse, sizes = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    group_of = np.zeros(len(names), dtype=np.int64)
    filled = np.zeros(count, dtype=np.int64)
    for value in np.argsort(-sizes, kind="stable"):
        group_of[value] = int(filled.argmin())
        filled[group_of[value]] += sizes[value]
    return group_of[inverse]
