"""The diagnosis of a partition: what its environments hold, and whether chance would do as well."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import rel_entr

from cmir.errors import InputError
from cmir.method.environments.clusters import label_bins
from cmir.method.environments.reference import Reference

Array = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

# The mean loss of 8 samples is uncertain by a third of the losses' spread (1 / sqrt 8 = .35): what
# a penalty would equalise below that is noise.
SMALLEST = 8
RANDOM_PARTITIONS = 20
SHOWN_SIZES = 12


@dataclass(frozen=True)
class EnvironmentRow:
    """One environment of a partition.

    Attributes:
        size: number of training samples.
        labels: number of them in each bin of labels.
        label_mean: in the label's units; the share of the most frequent class, or the mean number
            of labels that hold.
        reference_loss: mean loss of the reference predictor, squared error or cross-entropy.
        irm_penalty: squared mean of the reference's d/ds loss(s f, y) at s = 1.
    """

    size: int
    labels: tuple[int, ...]
    label_mean: float
    reference_loss: float
    irm_penalty: float


@dataclass(frozen=True)
class Statistic:
    """A value of a partition, and its one-sided p-value against random ones of the same sizes.

    p = (1 + number of 20 random partitions with at least this value) / 21, so never below .048.
    """

    value: float
    p: float


@dataclass(frozen=True)
class Diagnosis:
    """What is known of a partition before it is used.

    `error` and `eiil` are made from the reference's mistakes: that its risks and penalties differ
    between their environments says nothing about the data.

    Attributes:
        scheme: as in `environments.partition`.
        label_edges: lower edges of the second bin of labels and those after.
        environments: one row each, by number.
        mutual_information: of environment and bin of the label, in nats.
        risk_variance: population variance over environments of the reference's mean loss (V-REx).
        irm_penalty: mean over environments of the reference's IRM penalty.
    """

    scheme: str
    label_edges: tuple[float, ...]
    environments: tuple[EnvironmentRow, ...]
    mutual_information: Statistic
    risk_variance: Statistic
    irm_penalty: Statistic

    @property
    def metrics(self) -> dict[str, float]:
        """The summary as `partition/<metric>`."""
        found = {
            "mutual_information": self.mutual_information,
            "reference_risk_variance": self.risk_variance,
            "irm_penalty": self.irm_penalty,
        }
        values = {f"partition/{name}": statistic.value for name, statistic in found.items()}
        chances = {f"partition/{name}_p": statistic.p for name, statistic in found.items()}
        smallest = min(row.size for row in self.environments)
        return values | chances | {"partition/smallest": float(smallest)}

    def as_json(self) -> dict[str, Any]:
        """The fields and the metrics as plain values."""
        return asdict(self) | {"metrics": self.metrics}


def check_sizes(scheme: str, groups: IntArray, count: int) -> None:
    """Refuses a partition `(n,)` into `count` environments if one has fewer than 8 samples.

    Raises:
        InputError: says which one, how large it is, and what to change.
    """
    sizes = np.bincount(groups, minlength=count)
    number = int(sizes.argmin())
    if sizes[number] >= SMALLEST:
        return
    wrong = {
        "error": "The reference predictor makes too few mistakes: choose another partition.",
        "eiil": "The reference predictor errs on one side only: choose another partition.",
        "oracle": "Add training samples of it, or choose another partition.",
    }
    raise InputError(
        f"environments.partition: each environment must have at least {SMALLEST} training samples, "
        f"but environment {number} of '{scheme}' has {sizes[number]} ({_shown(sizes)}). "
        f"{wrong.get(scheme, 'Lower environments.groups, or choose another partition.')}"
    )


def diagnose(scheme: str, groups: IntArray, reference: Reference, seed: int = 0) -> Diagnosis:
    """Describes a partition without an empty environment, and compares it with 20 random ones.

    Args:
        scheme: its name.
        groups: `(n,)` environment of each training sample, in [0, count).
        reference: of the same samples.
        seed: of the random partitions.
    """
    bins, edges = label_bins(reference.labels, reference.task)
    rng = np.random.default_rng(seed)
    every = np.stack([groups, *(rng.permutation(groups) for _ in range(RANDOM_PARTITIONS))])
    count = int(groups.max()) + 1
    risks = _means(every, reference.losses, count)
    penalties = np.square(_means(every, reference.scale_gradients, count))
    information = np.array([_mutual_information(one, bins) for one in every])
    histogram = np.zeros((count, int(bins.max()) + 1), dtype=np.int64)
    np.add.at(histogram, (groups, bins), 1)
    means = _means(every[:1], reference.label_values, count)[0]
    rows = [
        EnvironmentRow(
            size=int(histogram[number].sum()),
            labels=tuple(histogram[number].tolist()),
            label_mean=float(means[number]),
            reference_loss=float(risks[0, number]),
            irm_penalty=float(penalties[0, number]),
        )
        for number in range(count)
    ]
    return Diagnosis(
        scheme=scheme,
        label_edges=tuple(edges.tolist()),
        environments=tuple(rows),
        mutual_information=_against_chance(information),
        risk_variance=_against_chance(risks.var(axis=1)),
        irm_penalty=_against_chance(penalties.mean(axis=1)),
    )


def _shown(sizes: IntArray) -> str:
    if len(sizes) > SHOWN_SIZES:
        return f"{len(sizes)} sizes from {sizes.min()} to {sizes.max()}"
    return f"sizes {', '.join(map(str, sizes))}"


def _means(groups: IntArray, values: Array, count: int) -> Array:
    """Mean of the values `(n,)` in each environment of each partition `(partition, n)`."""
    places = groups + count * np.arange(len(groups))[:, None]
    size = count * len(groups)
    sums = np.bincount(places.ravel(), np.tile(values, len(groups)), size)
    return (sums / np.bincount(places.ravel(), minlength=size)).reshape(len(groups), count)


def _mutual_information(groups: IntArray, bins: IntArray) -> float:
    """Between environment and bin of labels, in nats; scikit-learn loads for half a second."""
    counts = np.zeros((int(groups.max()) + 1, int(bins.max()) + 1))
    np.add.at(counts, (groups, bins), 1.0)
    joint = counts / len(groups)
    return float(rel_entr(joint, np.outer(joint.sum(1), joint.sum(0))).sum())


def _against_chance(values: Array) -> Statistic:
    """The first value against the others; equal up to rounding counts as reached."""
    value = float(values[0])
    reached = int((values[1:] >= value - 1e-9 * abs(value)).sum())
    return Statistic(value, (1 + reached) / len(values))
