"""Whether one model is better than another: paired, with the seeds and the groups of the data.

Two things would come out differently if an experiment were done again: the seeds of the training,
and the speakers (films, rooms) that happen to be in the test set. Both are resampled. Samples of
one speaker are no independent evidence, so a group is resampled as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from cmir.data.task import SENTIMENT, Task
from cmir.errors import InputError
from cmir.evaluation.bootstrap import (
    IntArray,
    Measure,
    Spread,
    crossed_spread,
    draw_groups,
    effective_number,
)
from cmir.metrics.metric_directions import Direction, direction
from cmir.metrics.metric_inputs import FloatArray, checked_labels, checked_numbers, checked_pair


@dataclass(frozen=True)
class Difference:
    """How much model A differs from model B in a metric, and how sure that is.

    Attributes:
        metric: its name.
        estimate: mean over the seeds of A less that of B, in the metric's own units.
        low: lower end of the interval.
        high: upper end of the interval.
        standard_error: over seeds and groups.
        degrees: of freedom of the standard error (Cochran and Cox 1950).
        p_better: probability that A is better than B; which sign that is depends on the metric.
        p_value: two-sided, of the hypothesis that there is no difference.
        groups: number of groups; fewer than about 10 make every statement on new groups weak.
        seeds: number of seeds of A and of B.
    """

    metric: str
    estimate: float
    low: float
    high: float
    standard_error: float
    degrees: float
    p_better: float
    p_value: float
    groups: int
    seeds: tuple[int, int]


def paired_difference(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    labels: npt.ArrayLike,
    groups: npt.ArrayLike,
    metric: str,
    *,
    task: Task = SENTIMENT,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    items: bool = False,
) -> Difference:
    """Compares two models on the same samples by a bootstrap over seeds and groups.

    Each draw takes seeds and, crossed with them, groups, and compares both models on the same
    draw. The interval is the estimate +- t standard errors of the draws, for three reasons:

    - From n seeds or groups a draw takes n - 1, which makes the variance unbiased where n would
      give (n - 1)/n of it (Rao and Wu 1988).
    - What seeds and groups have in common (a seed's noise on single items) is counted three times
      by drawing both (Owen 2007); the variance is V_seeds + V_groups - V_both (Cameron, Gelbach and
      Miller 2011), and never below the larger of the first two.
    - Percentiles of draws from 3 seeds or 9 groups are too near; Student's t has the degrees of
      freedom of both levels, each weighed by its variance (Cochran and Cox 1950), and of groups of
      unequal size those of as many equal ones as say as much (`effective_number`).

    Pitfall: where one level matters alone and nobody knows which, the interval is wider than it
    need be: with 3 to 5 seeds and 5 to 20 groups the 95 % interval holds the truth in 93 to 99 % of
    cases, by `experiments/bootstrap_coverage.py`.

    Args:
        a: scores of A, `(seed, n)`: label units, or logits of a binary task; with names
            `(seed, n, C)`.
        b: scores of B on the same samples. With as many seeds as A, row s of both is one pair;
            otherwise their seeds are drawn apart. A model of one row has no seed level: the result
            then speaks of those very weights.
        labels: `(n,)`, of several at once `(n, C)`.
        groups: `(n,)` whole numbers, such as speakers; `arange(n)` where each sample is its own.
        metric: a name of `cmir.metrics.field_metrics` that the task has.
        task: what the labels are.
        draws: number of resamplings.
        level: of the interval.
        seed: of the resampling.
        items: resample the items within each drawn group as well. This counts the noise of the
            items twice, as the groups' means already carry it (Davison and Hinkley 1997, Sec. 3.8):
            intervals are wider than they need be, never narrower.

    Raises:
        InputError: shapes that do not fit, unknown metric, or fewer than two groups.

    >>> labels = np.linspace(-3, 3, 40)
    >>> good, bad = labels[None] + 0.1, labels[None] - 0.5
    >>> found = paired_difference(good, bad, labels, np.arange(40) // 4, "mae")
    >>> round(found.estimate, 3), found.p_better, found.groups
    (-0.4, 1.0, 10)
    """
    first, actual = _checked(a, labels, "a", task)
    second, _ = _checked(b, labels, "b", task)
    codes, number = _checked_groups(groups, len(actual))
    measure = Measure(np.concatenate([first, second]), actual, metric, task)
    seeds = (len(first), len(second))
    whole = _halves(measure.by_seed(), seeds)
    rng = np.random.default_rng(seed)
    counts = draw_groups(codes, draws, items, rng)
    drawn_by_seed = measure.on_draws(counts, np.arange(len(codes)) if items else codes)
    both = _halves(drawn_by_seed, seeds)
    spread = crossed_spread(whole, both, effective_number(codes), rng)
    return difference_of(metric, whole, spread, number, level)


def difference_of(
    metric: str,
    whole: tuple[FloatArray, FloatArray],
    spread: Spread,
    groups: int,
    level: float = 0.95,
) -> Difference:
    """The difference of two models, from the metric of each seed `(seed,)` and its spread."""
    estimate = float(whole[0].mean() - whole[1].mean())
    reach = float(stats.t.ppf(0.5 + level / 2, spread.degrees)) * spread.error
    p_better = _chance_better(estimate, spread, direction(metric))
    return Difference(
        metric=metric,
        estimate=estimate,
        low=estimate - reach,
        high=estimate + reach,
        standard_error=spread.error,
        degrees=spread.degrees,
        p_better=p_better,
        p_value=2 * min(p_better, _chance_better(-estimate, spread, direction(metric))),
        groups=groups,
        seeds=(len(whole[0]), len(whole[1])),
    )


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """P values of several metrics, corrected so that one false alarm among all is rare (Holm 1979).

    The k-th smallest of m is multiplied by m - k + 1, and none is below a smaller one. No
    assumption on how the metrics depend on each other.

    Raises:
        InputError: a value outside [0, 1].

    >>> holm({"mae": 0.01, "corr": 0.04, "acc7": 0.03})
    {'mae': 0.03, 'corr': 0.06, 'acc7': 0.06}
    """
    for name, value in p_values.items():
        if not 0 <= value <= 1:
            raise InputError(f"p_values: {name} must lie between 0 and 1, but got {value}.")
    smallest_first = sorted(p_values, key=lambda name: p_values[name])
    corrected: dict[str, float] = {}
    highest = 0.0
    for place, name in enumerate(smallest_first):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[name]))
        corrected[name] = highest
    return {name: corrected[name] for name in p_values}


def minimum_detectable_effect(
    difference: Difference, *, power: float = 0.8, level: float = 0.05
) -> float:
    """The true difference that a comparison like this one would find with probability `power`.

    (t_{1 - level/2} + t_power) times the standard error (Bloom 1995), in the metric's units. A
    difference that is smaller than this and not significant is no evidence of equality.
    """
    quantiles = stats.t.ppf([1 - level / 2, power], difference.degrees)
    return float(quantiles.sum() * difference.standard_error)


def _checked(
    scores: npt.ArrayLike, labels: npt.ArrayLike, name: str, task: Task
) -> tuple[FloatArray, FloatArray]:
    if task.kind == "classes":
        return checked_numbers(scores, labels)
    if task.kind == "multilabel":
        logits, positive = checked_labels(scores, labels)
        return logits, positive.astype(np.float64)
    return checked_pair(scores, labels, name)


def _checked_groups(groups: npt.ArrayLike, count: int) -> tuple[IntArray, int]:
    """Groups numbered from 0, `(n,)`, and how many there are."""
    given = np.asarray(groups)
    if given.shape != (count,):
        raise InputError(
            f"groups: must have one entry for each of the {count} samples, but got shape "
            f"{given.shape}."
        )
    names, codes = np.unique(given, return_inverse=True)
    if len(names) < 2:
        raise InputError(
            "groups: must hold at least two groups, but all samples are in one: nothing can be "
            "said of other groups. Give each sample its own group to speak of other samples."
        )
    return codes.astype(np.int64), len(names)


def _halves(values: FloatArray, seeds: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """The part of A and that of B along the last axis."""
    return values[..., : seeds[0]], values[..., seeds[0] :]


def _chance_better(estimate: float, spread: Spread, better: Direction) -> float:
    """Student's t at the gain of A over B in standard errors; one half where nothing differs."""
    gain = -estimate if better == "min" else estimate
    if spread.error == 0:
        return float(np.heaviside(gain, 0.5))
    return float(stats.t.cdf(gain / spread.error, spread.degrees))
