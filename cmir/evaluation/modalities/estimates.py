"""A mean over samples with its uncertainty over the seeds and the groups that samples are of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from cmir.evaluation.bootstrap import (
    IntArray,
    crossed_spread,
    draw_groups,
    effective_number,
    pooled_degrees,
    weighted_means,
)
from cmir.metrics.metric_inputs import FloatArray

DRAWS = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean and how sure it is.

    Attributes:
        value: mean over samples and seeds.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        error: standard error over seeds and groups.
        degrees: of freedom of the standard error.
        groups: number of groups that were resampled.
    """

    value: float
    low: float
    high: float
    error: float
    degrees: float
    groups: int

    @property
    def p_above(self) -> float:
        """One-sided p value of "it is above zero": small where it surely is."""
        if self.error == 0:
            return float(np.heaviside(-self.value, 0.5))
        return float(stats.t.sf(self.value / self.error, self.degrees))

    @property
    def p_below(self) -> float:
        """One-sided p value of "it is below zero"."""
        return 1.0 - self.p_above

    def times(self, factor: float) -> Estimate:
        """In another unit; the factor is above zero."""
        value, low, high = (factor * one for one in (self.value, self.low, self.high))
        return Estimate(value, low, high, factor * self.error, self.degrees, self.groups)

    def less(self, share: float, other: Estimate) -> Estimate:
        """This one less so much of another one, which is of other samples."""
        parts = [(self.error**2, self.degrees), ((share * other.error) ** 2, other.degrees)]
        error, degrees = math.sqrt(sum(variance for variance, _ in parts)), pooled_degrees(parts)
        value, reach = self.value - share * other.value, _reach(error, degrees)
        groups = min(self.groups, other.groups)
        return Estimate(value, value - reach, value + reach, error, degrees, groups)


def estimate_of(values: FloatArray, groups: IntArray, seed: int = 0) -> Estimate:
    """The mean of values `(seed, n)`, its error as that of `paired_difference`.

    Args:
        values: of each seed and sample.
        groups: `(n,)` numbered from 0, each resampled as a whole.
        seed: of the resampling.

    Example:
        >>> found = estimate_of(np.ones((2, 6)), np.arange(6) // 2)
        >>> found.value, found.low, found.high, found.groups
        (1.0, 1.0, 1.0, 3)
    """
    random = np.random.default_rng(seed)
    drawn = weighted_means(values, draw_groups(groups, DRAWS, False, random), groups)
    whole = values.mean(axis=1)
    spread = crossed_spread(
        (whole, np.zeros_like(whole)),
        (drawn, np.zeros_like(drawn)),
        effective_number(groups),
        random,
    )
    value, reach = float(whole.mean()), _reach(spread.error, spread.degrees)
    number = int(groups.max()) + 1
    return Estimate(value, value - reach, value + reach, spread.error, spread.degrees, number)


def _reach(error: float, degrees: float) -> float:
    """Half of the 95 % interval, by Student's t."""
    return float(stats.t.ppf(0.975, degrees)) * error
