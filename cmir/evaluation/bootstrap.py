"""Draws of a bootstrap over seeds and groups, a metric on every draw, and how far draws spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special, stats

from cmir.data.task import Task
from cmir.errors import InputError
from cmir.method.training.task_metrics import task_item_values, task_metrics
from cmir.metrics.metric_inputs import FloatArray

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Measure:
    """A metric of scores on labels, both as the task has them, on all items or on draws of them."""

    scores: FloatArray
    labels: FloatArray
    metric: str
    task: Task

    def by_seed(self) -> FloatArray:
        """The metric of each seed on all items, `(seed,)`."""
        return self._of(np.arange(len(self.labels)))

    def on_draws(self, counts: IntArray, unit: IntArray) -> FloatArray:
        """The metric of each seed on every draw, `(draw, seed)`; NaN where it is undefined.

        Args:
            counts: `(draw, unit)`, how often each unit is in the draw.
            unit: `(n,)`, the unit of each item.
        """
        values = task_item_values(self.scores, self.labels, self.metric, self.task)
        if values is not None:
            return weighted_means(values, counts, unit)
        items = np.arange(len(unit))
        return np.stack([self._of(np.repeat(items, row[unit])) for row in counts])

    def _of(self, chosen: IntArray) -> FloatArray:
        scores, labels = self.scores[:, chosen], self.labels[chosen]
        found = task_metrics(scores, labels, self.task, self.metric)
        if self.metric not in found:
            known = task_metrics(scores, labels, self.task)
            raise InputError(
                f"metric: must be one of {', '.join(known)} for this task ({self.task}), "
                f"but got '{self.metric}'."
            )
        return found[self.metric]


def draw_seeds(count: int, draws: int, rng: np.random.Generator) -> FloatArray:
    """Weight of each seed in every draw of `count - 1` seeds, `(draw, seed)`; rows sum to 1."""
    if count == 1:
        return np.ones((draws, 1))
    return _draw(count, draws, rng) / (count - 1)


def draw_groups(groups: IntArray, draws: int, items: bool, rng: np.random.Generator) -> IntArray:
    """How often each group is drawn, `(draw, group)`, from groups `(n,)` numbered from 0.

    With `items` how often each item is: a group that is drawn k times gives k times its number of
    items, drawn among them, `(draw, n)`.
    """
    sizes = np.bincount(groups)
    taken = _draw(len(sizes), draws, rng)
    if not items:
        return taken
    counts = np.empty((draws, len(groups)), np.int64)
    for group, size in enumerate(sizes):
        even = np.full(size, 1 / size)
        counts[:, groups == group] = rng.multinomial(taken[:, group] * size, even)
    return counts


@dataclass(frozen=True, eq=False)
class Spread:
    """How far a difference of two models may be from its estimate.

    Attributes:
        error: the standard error.
        degrees: of freedom of the standard error.
    """

    error: float
    degrees: float


def effective_number(groups: IntArray) -> float:
    """The number of equal groups that say as much as groups `(n,)` of unequal size.

    (sum_g n_g)^2 / sum_g n_g^2 (Kish 1965; of clusters Carter, Schnepel and Steigerwald 2017).

    Example:
        >>> effective_number(np.array([0, 0, 1, 1])), round(effective_number(np.arange(7) // 6), 2)
        (2.0, 1.32)
    """
    sizes = np.bincount(groups).astype(np.float64)
    return float(sizes.sum() ** 2 / (sizes**2).sum())


def crossed_spread(
    whole: tuple[FloatArray, FloatArray],
    drawn: tuple[FloatArray, FloatArray],
    groups: float,
    rng: np.random.Generator,
) -> Spread:
    """The standard error of two crossed levels: its square is V_seeds + V_groups - V_both.

    Args:
        whole: the metric of each seed of A and of B on all items, `(seed,)`.
        drawn: the same on draws of groups, `(draw, seed)`; draws where it is NaN do not count.
        groups: effective number of groups.
        rng: draws the seeds.

    Raises:
        InputError: the metric is undefined on every draw.
    """
    of_groups = drawn[0].mean(axis=1) - drawn[1].mean(axis=1)
    of_both = _with_drawn_seeds(drawn, rng)
    defined = ~np.isnan(of_groups)
    if not defined.any():
        raise InputError(
            "groups: the metric must be defined on some draw of groups, but is not on any of "
            f"{len(defined)}: each lacks a class. Give more groups, or other ones."
        )
    of_groups, of_both = of_groups[defined], of_both[defined]
    parts = [*_seed_variances(whole), (float(of_groups.var()), max(groups - 1, 1.0))]
    levels, total = sum(variance for variance, _ in parts), float(of_both.var())
    # Seeds and groups drawn together count what they have in common three times: once in each
    # level and once more between them. Once is right.
    shared = max(total - levels, 0.0)
    by_level = (sum(variance for variance, _ in parts[:-1]), parts[-1][0])
    variance = max(levels - shared, *by_level)
    return Spread(float(np.sqrt(variance)), pooled_degrees(parts))


def pooled_degrees(parts: list[tuple[float, float]]) -> float:
    """Degrees of freedom of the sum of variances that have their own each (Cochran and Cox 1950).

    Those with which Student's t reaches as far, in 95 % of cases, as the mean of the t of all
    levels, weighed by their variances: never farther from the truth than the weaker level says.
    """
    quantiles = stats.t.ppf(0.975, [degrees for _, degrees in parts])
    variances = np.array([variance for variance, _ in parts])
    if variances.sum() == 0 or len(parts) == 1:
        return float(parts[-1][1])
    return float(special.stdtridf(0.975, variances @ quantiles / variances.sum()))


def _draw(count: int, draws: int, rng: np.random.Generator) -> IntArray:
    return rng.multinomial(count - 1, np.full(count, 1 / count), size=draws)


def weighted_means(values: FloatArray, counts: IntArray, unit: IntArray) -> FloatArray:
    """Means over the items of each draw, NaN left out: values `(seed, n)` to `(draw, seed)`."""
    counted = ~np.isnan(values[0])
    units = counts.shape[1]
    sizes = np.bincount(unit, weights=counted, minlength=units)
    sums = [np.bincount(unit, weights=row, minlength=units) for row in np.where(counted, values, 0)]
    weights = counts.astype(np.float64)
    with np.errstate(invalid="ignore"):
        means: FloatArray = (weights @ np.stack(sums, axis=1)) / (weights @ sizes)[:, None]
    return means


def _with_drawn_seeds(drawn: tuple[FloatArray, FloatArray], rng: np.random.Generator) -> FloatArray:
    """A less B in every draw, the seeds drawn too; pairs of seeds stay together."""
    a, b = drawn
    weights = draw_seeds(a.shape[1], len(a), rng)
    others = weights if a.shape == b.shape else draw_seeds(b.shape[1], len(b), rng)
    difference: FloatArray = (weights * a).sum(axis=1) - (others * b).sum(axis=1)
    return difference


def _seed_variances(whole: tuple[FloatArray, FloatArray]) -> list[tuple[float, float]]:
    """Variance of the mean over seeds, with its degrees of freedom; one for each drawing."""
    a, b = whole
    samples = [a - b] if len(a) == len(b) else [a, b]
    return [(float(x.var(ddof=1) / len(x)), float(len(x) - 1)) for x in samples if len(x) > 1]
