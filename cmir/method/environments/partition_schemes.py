"""The partitions by name, but for the columns of a data set: what each makes environments of.

`random` is the control that every other scheme must beat. Clusters take what the data offers;
`error` and `eiil` infer environments from the mistakes of a reference predictor; `oracle` knows
them, on synthetic data only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from cmir.data import DevelopmentData
from cmir.data.synthetic.design import GROUND_TRUTH_ARRAYS
from cmir.errors import InputError
from cmir.extensions import partition
from cmir.method.environments.clusters import kmeans_environments, label_kmeans_environments
from cmir.method.environments.inferred_environments import eiil_environments, error_environments
from cmir.method.environments.reference import Reference
from cmir.method.networks.features import pooled_features

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Wanted:
    """What a partition is made of.

    Attributes:
        data: what a trial may see; a partition reads its training split alone.
        count: number of groups to make, unless the scheme has its own.
        seed: of all random numbers.
        reference_of: trains the reference predictor, or remembers it.
    """

    data: DevelopmentData
    count: int
    seed: int
    reference_of: Callable[[], Reference]

    @property
    def reference(self) -> Reference:
        """The reference predictor: what a plain linear model gets right and wrong."""
        return self.reference_of()

    @property
    def size(self) -> int:
        """Number of training samples."""
        return len(self.data.train.rows)


@partition("random")
def _random(wanted: Wanted) -> IntArray:
    numbers = np.arange(wanted.size) % wanted.count
    return np.random.default_rng(wanted.seed).permutation(numbers)


@partition("kmeans", revision=1)
def _kmeans(wanted: Wanted) -> IntArray:
    features = pooled_features(wanted.data, wanted.data.train.rows)
    return kmeans_environments(features, wanted.count, wanted.seed)


@partition("label_kmeans", revision=1)
def _label_kmeans(wanted: Wanted) -> IntArray:
    data = wanted.data
    features = pooled_features(data, data.train.rows)
    return label_kmeans_environments(
        features, data.train.labels, data.task, wanted.count, wanted.seed
    )


def _two(data: DevelopmentData) -> int:
    return 2


@partition("error", groups=_two)
def _error(wanted: Wanted) -> IntArray:
    return error_environments(wanted.reference)


@partition("eiil", groups=_two)
def _eiil(wanted: Wanted) -> IntArray:
    return eiil_environments(wanted.reference)


def _true_number(data: DevelopmentData) -> int:
    return data.train.samples["environment"].n_unique()


def _check_truth(data: DevelopmentData) -> None:
    if not (data.path / GROUND_TRUTH_ARRAYS).is_file():
        raise InputError(
            f"environments.partition: 'oracle' needs the true environments, which only data "
            f"from the built-in generator has, but '{data.name}' has no {GROUND_TRUTH_ARRAYS}. "
            "Choose another partition."
        )


@partition("oracle", groups=_true_number, check=_check_truth)
def _oracle(wanted: Wanted) -> IntArray:
    """The environments of the training rows, numbered from 0."""
    data = wanted.data
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
