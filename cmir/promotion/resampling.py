"""Draws of a bootstrap over seeds and groups, and a metric of each seed on every draw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cmir.errors import InputError
from cmir.learning.item_values import item_values
from cmir.learning.metric_inputs import FloatArray
from cmir.learning.metrics import (
    classification_metrics_by_replica,
    regression_metrics_by_replica,
)

IntArray = npt.NDArray[np.int64]
LabelRange = tuple[float, float] | None


@dataclass(frozen=True, eq=False)
class Measure:
    """A metric of scores `(seed, n)` on labels `(n,)`, on all items or on draws of them."""

    scores: FloatArray
    labels: FloatArray
    metric: str
    task: str
    label_range: LabelRange

    def by_seed(self) -> FloatArray:
        """The metric of each seed on all items, `(seed,)`."""
        return self._of(np.arange(len(self.labels)))

    def on_draws(self, counts: IntArray, unit: IntArray) -> FloatArray:
        """The metric of each seed on every draw, `(draw, seed)`; NaN where it is undefined.

        Args:
            counts: `(draw, unit)`, how often each unit is in the draw.
            unit: `(n,)`, the unit of each item.
        """
        values = item_values(
            self.scores, self.labels, self.metric, task=self.task, label_range=self.label_range
        )
        if values is not None:
            return _weighted_means(values, counts, unit)
        items = np.arange(len(unit))
        return np.stack([self._of(np.repeat(items, row[unit])) for row in counts])

    def _of(self, chosen: IntArray) -> FloatArray:
        scores, labels = self.scores[:, chosen], self.labels[chosen]
        if self.task == "binary":
            found = classification_metrics_by_replica(scores, labels)
        else:
            found = regression_metrics_by_replica(scores, labels, label_range=self.label_range)
        if self.metric not in found:
            raise InputError(
                f"metric: must be one of {', '.join(found)} for a {self.task} task with labels in "
                f"{self.label_range}, but got '{self.metric}'."
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


def _draw(count: int, draws: int, rng: np.random.Generator) -> IntArray:
    return rng.multinomial(count - 1, np.full(count, 1 / count), size=draws)


def _weighted_means(values: FloatArray, counts: IntArray, unit: IntArray) -> FloatArray:
    """Means over the items of each draw, NaN left out: values `(seed, n)` to `(draw, seed)`."""
    counted = ~np.isnan(values[0])
    units = counts.shape[1]
    sizes = np.bincount(unit, weights=counted, minlength=units)
    sums = [np.bincount(unit, weights=row, minlength=units) for row in np.where(counted, values, 0)]
    weights = counts.astype(np.float64)
    with np.errstate(invalid="ignore"):
        means: FloatArray = (weights @ np.stack(sums, axis=1)) / (weights @ sizes)[:, None]
    return means
