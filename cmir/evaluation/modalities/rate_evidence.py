"""What a search has learned from a modality's rate: the more it is disturbed, the better or worse.

A search that disturbs each modality at a rate of its own (`erase`, `swap`) is a controlled
experiment on the modalities. Two looks at it: where the rates of the best trials lie among those
of all, and whether error falls with the rate while the other rates are held.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from cmir.metrics.metric_inputs import FloatArray

FEWEST_TRIALS = 10
FEWEST_BEST = 5
BEST_SHARE = 0.25


@dataclass(frozen=True)
class RankCorrelation:
    """Of a modality's rate and the error, 95 % interval, and p of none; below 0: error falls."""

    value: float
    low: float
    high: float
    p_value: float
    trials: int

    @property
    def p_below(self) -> float:
        """One-sided p value of "it is below zero"."""
        return self.p_value / 2 if self.value < 0 else 1 - self.p_value / 2

    @property
    def p_above(self) -> float:
        """One-sided p value of "it is above zero"."""
        return 1.0 - self.p_below


@dataclass(frozen=True)
class RateEvidence:
    """Of one modality.

    Attributes:
        best: rates of the best quarter of the trials, at least five, in the order of their rank.
        every: rates of all trials.
        new: correlation of the rate with the error in new groups, by ranks, the other rates held.
        known: the same in known groups; None where too few trials have one.
    """

    best: Sequence[float]
    every: Sequence[float]
    new: RankCorrelation
    known: RankCorrelation | None


def rate_evidence(
    rates: Mapping[str, FloatArray],
    new: FloatArray,
    known: FloatArray,
    held: Sequence[FloatArray] = (),
) -> dict[str, RateEvidence]:
    """What the trials say of each modality; empty where there are fewer than ten.

    Both looks compare trials with trials that the same sampler chose, not with even rates: a
    sampler that learns goes where it was good before, so that "high among the best" and "high
    among all" go together. What is `held` (the trials' order) takes out what a sampler and all
    else in it learned meanwhile.

    Args:
        rates: of each modality, `(trial,)`.
        new: loss in new groups `(trial,)`, lower is better; inf for a trial that was stopped.
        known: the same in known groups, NaN where a trial has none.
        held: what else is taken out of ranks, `(trial,)` each.
    """
    if len(new) < FEWEST_TRIALS:
        return {}
    best = np.argsort(new, kind="stable")[: _number_of_best(len(new))]
    found = {}
    for name, own in rates.items():
        others = [*(other for key, other in rates.items() if key != name), *held]
        correlation = rank_correlation(own, new, others)
        if correlation is not None:
            inside = _known(own, known, others)
            found[name] = RateEvidence(own[best].tolist(), own.tolist(), correlation, inside)
    return found


def rank_correlation(
    rates: FloatArray, losses: FloatArray, held: Sequence[FloatArray] = ()
) -> RankCorrelation | None:
    """Partial correlation of ranks (Spearman), interval by Fisher's z; None where nothing varies.

    The standard error of z is 1.03 / sqrt(n - 3 - k) with k variables held (Fieller, Hartley and
    Pearson 1957).

    Example:
        >>> rank_correlation(np.arange(12.0), -np.arange(12.0) ** 3).value
        -1.0
    """
    free = len(rates) - 3 - len(held)
    own, other = (_residual(values, held) for values in (rates, losses))
    size = float(np.linalg.norm(own) * np.linalg.norm(other))
    if free < 1 or size < 1e-9 * len(rates) ** 2:
        return None
    value = float(np.clip(own @ other / size, -1.0, 1.0))
    error = 1.03 / math.sqrt(free)
    middle = math.atanh(math.copysign(min(abs(value), 1 - 1e-9), value))
    low, high = np.tanh([middle - 1.96 * error, middle + 1.96 * error])
    p_value = float(2 * stats.norm.sf(abs(middle) / error))
    return RankCorrelation(round(value, 12), float(low), float(high), p_value, len(rates))


def _residual(values: FloatArray, held: Sequence[FloatArray]) -> FloatArray:
    """Ranks less what the ranks of what is held say of them."""
    ranks = stats.rankdata(values)
    design = np.column_stack([np.ones(len(ranks)), *(stats.rankdata(other) for other in held)])
    weights = np.linalg.lstsq(design, ranks, rcond=None)[0]
    return np.asarray(ranks - design @ weights)


def _known(
    own: FloatArray, known: FloatArray, others: Sequence[FloatArray]
) -> RankCorrelation | None:
    told = np.isfinite(known)
    if told.sum() < FEWEST_TRIALS:
        return None
    return rank_correlation(own[told], known[told], [other[told] for other in others])


def _number_of_best(trials: int) -> int:
    return min(max(FEWEST_BEST, math.ceil(BEST_SHARE * trials)), trials // 2)
