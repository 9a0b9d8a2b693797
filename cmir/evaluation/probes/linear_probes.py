"""Linear probes: how much of something can be read out of a representation by a linear map.

A probe sees a representation at one scale, that of its features together, and its penalty starts
at a ten-thousandth of their mean variance: directions with less than about a hundredth of the
mean spread do not count. Standardised feature by feature, a probe would blow up what training has
shrunk to a thousandth, and find a modality that no prediction uses any more.

What a probe finds need not be used: whether it is, only an intervention tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.metrics import r2_score

Array = npt.NDArray[np.floating[Any]]
Targets = Mapping[str, Array]
ByTarget = dict[str, float]
BySeed = npt.NDArray[np.float64]

# Penalties per training sample, in units of the mean variance of the features.
PENALTIES = np.logspace(-4, 2, 13)


def linear_readout(train: Array, targets: Targets, *held: Array) -> list[dict[str, Array]]:
    """What ridge regressions, fitted on one set of samples, say of the targets of others.

    Each column of a target gets the penalty with its smallest leave-one-out error. Answers are kept
    within the range of what was fitted: real features have outliers (on MOSI a few samples turned
    an R^2 of .74 into -.54), on which a linear map answers without bounds.

    Args:
        train: representations `(n, features)` to fit on.
        targets: by name, `(n,)` or `(n, columns)`.
        held: representations `(m, features)` of sets of other samples.

    Returns:
        for each set, the predictions `(m, columns)` by name.
    """
    wanted = [columns_of(values) for values in targets.values()]
    columns = np.concatenate(wanted, axis=1)
    scale = Scale.of(train)
    probe = RidgeCV(PENALTIES * len(train), alpha_per_target=columns.shape[1] > 1)
    probe.fit(scale(train), columns)
    ends = np.cumsum([values.shape[1] for values in wanted])[:-1]
    low, high = columns.min(axis=0), columns.max(axis=0)
    predicted = [columns_of(probe.predict(scale(values))).clip(low, high) for values in held]
    return [dict(zip(targets, np.split(p, ends, axis=1), strict=True)) for p in predicted]


def r2(wanted: Array, predicted: Array) -> float:
    """1 - sum of squared errors / sum of squares about the mean, over all columns of a target.

    1 is all, 0 nothing, below 0 worse than the mean. NaN where the target does not vary: there is
    nothing to tell.
    """
    columns = columns_of(wanted)
    if np.ptp(columns, axis=0).max() == 0:
        return float("nan")
    return float(r2_score(columns, columns_of(predicted), multioutput="variance_weighted"))


def explained(train: Array, targets: Targets, held: Array, held_targets: Targets) -> ByTarget:
    """R^2 by target of linear probes on samples `(m, features)` they were not fitted on."""
    (predicted,) = linear_readout(train, targets, held)
    return {name: r2(held_targets[name], values) for name, values in predicted.items()}


def accuracies(train: Array, classes: Array, *held: tuple[Array, Array]) -> list[float]:
    """Part of held samples that a linear classifier, fitted by ridge, tells right.

    Args:
        train: representations `(n, features)` to fit on.
        classes: two or more of them, `(n,)`.
        held: representations `(m, features)` and classes `(m,)` of sets of other samples.
    """
    scale = Scale.of(train)
    probe = RidgeClassifierCV(PENALTIES * len(train)).fit(scale(train), classes)
    return [float(probe.score(scale(values), wanted)) for values, wanted in held]


def columns_of(values: Array) -> Array:
    """`(n,)` or `(n, columns)` to `(n, columns)`."""
    return values.reshape(len(values), -1)


def by_seed(values: Sequence[Mapping[str, float]]) -> dict[str, BySeed]:
    """Values of each seed under the same names, to name -> `(seed,)`."""
    return {name: np.array([one[name] for one in values]) for name in values[0]}


@dataclass(frozen=True, eq=False)
class Scale:
    """Centres by feature and divides by the root of the mean variance; a dead part stays zero."""

    mean: Array
    spread: float

    @classmethod
    def of(cls, train: Array) -> Scale:
        """The scale of representations `(n, features)`."""
        spread = float(np.sqrt(train.var(axis=0, dtype=float).mean()))
        return cls(train.mean(axis=0, dtype=float), spread or 1.0)

    def __call__(self, values: Array) -> Array:
        """Representations `(m, features)` at this scale."""
        return (values - self.mean) / self.spread
