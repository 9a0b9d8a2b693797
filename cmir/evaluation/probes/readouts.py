"""How well something can be read out of the two parts of a model: by a linear map, by a network.

What a linear probe does not find may still be there, so a small network reads beside it: one
hidden layer, trained until rows that it was not fitted on say that it gets no better.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from threadpoolctl import threadpool_limits

from cmir.evaluation.probes.linear_probes import (
    Array,
    BySeed,
    Scale,
    accuracies,
    columns_of,
    linear_readout,
    r2,
)
from cmir.evaluation.probes.representations import Parts

Measure = Literal["r2", "accuracy"]
ByPart = Mapping[str, BySeed]
SETTINGS: Mapping[str, Any] = {
    "hidden_layer_sizes": (64,),
    "alpha": 1e-3,
    "max_iter": 100,
    "n_iter_no_change": 5,
}
# So many samples are enough for a network of this size, and keep a promotion from waiting for it.
MOST_OF_NETWORK = 1500


@dataclass(frozen=True, eq=False)
class Readout:
    """What probes read of one thing.

    Attributes:
        asked: what is read, in words.
        measure: `r2`, or `accuracy` where it is one of several classes.
        chance: what a constant reaches: 0, or the share of the largest class.
        linear: part (`invariant`, `spurious`, `both`) -> score of a linear probe `(seed,)`.
        network: the same of a network with one hidden layer.
    """

    asked: str
    measure: Measure
    chance: float
    linear: ByPart
    network: ByPart

    @property
    def best(self) -> ByPart:
        """The better of both probes, by part and seed."""
        return {part: np.fmax(self.linear[part], self.network[part]) for part in self.linear}


@dataclass(frozen=True, eq=False)
class Held:
    """Samples that a probe is scored on: their parts, and what is to be read out of them."""

    asked: str
    parts: Parts
    wanted: Array


def readouts(
    fitted: Parts, target: Array, held: Sequence[Held], measure: Measure, seed: int = 0
) -> list[Readout]:
    """Fits probes on one set of samples, for every part and seed, and scores them on others.

    Args:
        fitted: parts of the samples to fit on.
        target: of these, `(n,)`: numbers for `r2`, classes for `accuracy`.
        held: sets of other samples.
        measure: of the scores.
        seed: of the networks.

    Returns:
        one readout for each set of `held`.
    """
    scores = {
        kind: {
            part: np.array([score(one, target, tests, measure, seed) for one, *tests in by_seed])
            for part, by_seed in _by_part(fitted, held).items()
        }
        for kind, score in (("linear", _linear), ("network", _network))
    }
    return [
        Readout(
            one.asked,
            measure,
            _constant(one.wanted, measure),
            *({part: v[:, place] for part, v in scores[kind].items()} for kind in scores),
        )
        for place, one in enumerate(held)
    ]


Tests = Sequence[tuple[Array, Array]]


def _by_part(fitted: Parts, held: Sequence[Held]) -> dict[str, list[tuple[Any, ...]]]:
    """For each part, for each seed: what to fit on, then what to score on with its targets."""
    found = {}
    for part, values in fitted.by_name.items():
        tests = [[(v, one.wanted) for v in one.parts.by_name[part]] for one in held]
        found[part] = list(zip(values, *tests, strict=True))
    return found


def _linear(train: Array, target: Array, tests: Tests, measure: Measure, seed: int) -> list[float]:
    if measure == "accuracy":
        return accuracies(train, target, *tests)
    told = linear_readout(train, {"it": target}, *(values for values, _ in tests))
    return [r2(wanted, one["it"]) for one, (_, wanted) in zip(told, tests, strict=True)]


def _network(train: Array, target: Array, tests: Tests, measure: Measure, seed: int) -> list[float]:
    few = np.random.default_rng(seed).permutation(len(train))[:MOST_OF_NETWORK]
    train, target, scale = train[few], target[few], Scale.of(train[few])
    scaled = [(scale(values), wanted) for values, wanted in tests]
    read = _classes if measure == "accuracy" else _numbers
    # Products of this size gain nothing from a second thread, and wait for it where others run.
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)
        return read(scale(train), target, scaled, {**SETTINGS, "random_state": seed})


def _classes(train: Array, target: Array, tests: Tests, settings: Mapping[str, Any]) -> list[float]:
    # A class of one sample cannot be both fitted and held out.
    enough = bool(np.unique(target, return_counts=True)[1].min() > 1)
    probe = MLPClassifier(early_stopping=enough, **settings).fit(train, target)
    return [float(probe.score(values, wanted)) for values, wanted in tests]


def _numbers(train: Array, target: Array, tests: Tests, settings: Mapping[str, Any]) -> list[float]:
    mean, spread, ends = target.mean(), target.std() or 1.0, (target.min(), target.max())
    probe = MLPRegressor(early_stopping=True, **settings).fit(train, (target - mean) / spread)
    told = [(probe.predict(values) * spread + mean).clip(*ends) for values, _ in tests]
    return [r2(wanted, one) for one, (_, wanted) in zip(told, tests, strict=True)]


def _constant(wanted: Array, measure: Measure) -> float:
    if measure == "r2":
        return 0.0
    counts = np.unique(columns_of(wanted), axis=0, return_counts=True)[1]
    return float(counts.max() / len(wanted))
