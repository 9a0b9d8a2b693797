"""Whether one model is better than another in its worst group: paired, over seeds and samples.

The groups are those of the split, each of them held fixed: the worst of other groups would be
another quantity. What would come out differently are the seeds and, within each group, the units
that happen to be in it: speakers of an environment, or samples of a speaker.
"""

from __future__ import annotations

import numpy as np

from cmir.data.task import Task
from cmir.evaluation.bootstrap import IntArray, crossed_spread, draw_groups
from cmir.evaluation.paired_tests import Difference, difference_of
from cmir.method.training.task_metrics import task_item_values
from cmir.metrics.metric_directions import direction
from cmir.metrics.metric_inputs import FloatArray


def worst_group_difference(
    a: FloatArray,
    b: FloatArray,
    labels: FloatArray,
    groups: IntArray,
    units: IntArray,
    task: Task,
    metric: str,
    draws: int = 2000,
) -> Difference:
    """A less B in the task's group metric in the group where each is worst, with its interval.

    Each draw takes n - 1 of the n units of every group, and both models are compared on the same
    draw; the rest is as in `paired_difference`. The level of the units has the degrees of freedom
    of the worst group with the fewest units.

    Args:
        a: scores of A, `(seed, n)`, with names `(seed, n, C)`; at least one for every sample.
        b: scores of B on the same samples.
        labels: `(n,)`, of several at once `(n, C)`.
        groups: `(n,)` from 0, the groups among which the worst is looked for.
        units: `(n,)` from 0, what is resampled; none lies in two groups.
        task: what the labels are.
        metric: name of the result.
        draws: number of resamplings.
    """
    values = [_values(scores, labels, task) for scores in (a, b)]
    is_error = direction(task.group_metric) == "min"
    rng = np.random.default_rng(0)
    counts = _draws(groups, units, draws, rng)
    whole = [by_group(own, np.ones((1, units.max() + 1)), groups, units)[0] for own in values]
    drawn = [by_group(own, counts, groups, units) for own in values]
    first, second = (_worst(means, is_error) for means in whole)
    sizes = _units_by_group(groups, units)
    number = min(sizes[place] for means in whole for place in _places(means, is_error))
    spread = crossed_spread(
        (first, second), (_worst(drawn[0], is_error), _worst(drawn[1], is_error)), number, rng
    )
    return difference_of(metric, (first, second), spread, len(sizes))


def units_within(groups: IntArray, clusters: IntArray) -> IntArray:
    """What is resampled in each group: its clusters where it has two or more, else its samples.

    Args:
        groups: `(n,)` from 0.
        clusters: `(n,)` from 0, such as speakers.

    Returns:
        `(n,)` from 0, no unit in two groups.
    """
    n = len(groups)
    both = np.unique(np.stack([groups, clusters], 1), axis=0, return_inverse=True)[1].reshape(n)
    number = np.array([len(np.unique(both[groups == group])) for group in range(groups.max() + 1)])
    single = number[groups] < 2
    mixed = np.where(single, both.max() + 1 + np.arange(n), both)
    return np.unique(mixed, return_inverse=True)[1].astype(np.int64)


def by_group(
    values: FloatArray, counts: FloatArray, groups: IntArray, units: IntArray
) -> FloatArray:
    """Means of values `(seed, n)` in each group on every draw: `(draw, seed, group)`.

    Args:
        values: of the samples.
        counts: `(draw, unit)`, how often each unit is in the draw.
        groups: `(n,)` from 0.
        units: `(n,)` from 0.
    """
    group_of_unit = np.zeros(units.max() + 1, np.int64)
    group_of_unit[units] = groups
    in_group = np.eye(groups.max() + 1)[group_of_unit]
    sizes = np.bincount(units)
    totals = np.stack([np.bincount(units, weights=row) for row in values])
    sums = np.einsum("du,su,ug->dsg", counts, totals, in_group, optimize=True)
    found: FloatArray = sums / (counts @ (sizes[:, None] * in_group))[:, None]
    return found


def _values(scores: FloatArray, labels: FloatArray, task: Task) -> FloatArray:
    values = task_item_values(scores, labels, task.group_metric, task)
    assert values is not None, "a group metric is a mean over samples"
    return values


def _draws(groups: IntArray, units: IntArray, draws: int, rng: np.random.Generator) -> FloatArray:
    """How often each unit is drawn, `(draw, unit)`; the only one of its group always is."""
    counts = np.ones((draws, units.max() + 1))
    for group in range(groups.max() + 1):
        own = np.unique(units[groups == group])
        if len(own) > 1:
            counts[:, own] = draw_groups(np.arange(len(own)), draws, False, rng)
    return counts


def _worst(means: FloatArray, is_error: bool) -> FloatArray:
    found: FloatArray = means.max(axis=-1) if is_error else means.min(axis=-1)
    return found


def _places(means: FloatArray, is_error: bool) -> IntArray:
    """The worst group of each seed."""
    return np.asarray(means.argmax(axis=-1) if is_error else means.argmin(axis=-1))


def _units_by_group(groups: IntArray, units: IntArray) -> list[int]:
    return [len(np.unique(units[groups == group])) for group in range(groups.max() + 1)]
