"""Which trials are worth training again: named rules over a sweep's records.

The rule makes the result (Gulrajani and Lopez-Paz 2021, "In Search of Lost Domain
Generalization"), so it has a name, and the registered model carries it. No rule sees held-out data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from cmir.config import CV, is_cross_validated
from cmir.data.task import Task
from cmir.errors import InputError, nearest
from cmir.method.training.split_scores import worst_metric
from cmir.metrics.metric_directions import OF_ENDED_TRIALS, direction
from cmir.runner.studies.records import TrialRecord
from cmir.sweep.pairs import picks
from cmir.sweep.pairs.picks import PICKS, Point

# From the objectives of a sweep to the `split/metric` that the rule looks at, the first one shown.
Rule = Callable[[Sequence[str], Task], Sequence[str]]


def ood_val(objectives: Sequence[str], task: Task) -> Sequence[str]:
    """The objective's metric out of distribution: for shifts like the one that is expected."""
    return (f"ood_val/{metric_of(objectives[0])}",)


def id_val(objectives: Sequence[str], task: Task) -> Sequence[str]:
    """The objective's metric in distribution: DomainBed's training-domain validation."""
    return (f"id_val/{metric_of(objectives[0])}",)


def worst_environment(objectives: Sequence[str], task: Task) -> Sequence[str]:
    """The worst group out of distribution (Koh et al. 2021, WILDS): nobody is left behind."""
    return (f"ood_val/{worst_metric(task)}",)


def cv(objectives: Sequence[str], task: Task) -> Sequence[str]:
    """The objective's metric by cross-validation over training groups; needs cv/<metric>."""
    return (f"{CV}/{metric_of(objectives[0])}",)


def disagreement(objectives: Sequence[str], task: Task) -> Sequence[str]:
    """How little the seeds disagree on `ood_val`, without its labels; a constant never does."""
    return ("unlabelled/disagreement",)


def mean_rank(objectives: Sequence[str], task: Task) -> Sequence[str]:
    """The mean of two ranks, without labels of `ood_val`: in distribution, and by disagreement.

    With cv/<metric> as the objective its rank stands in for that in distribution.
    """
    split = CV if is_cross_validated(objectives[0]) else "id_val"
    return (f"{split}/{metric_of(objectives[0])}", "unlabelled/disagreement")


def within_error(objectives: Sequence[str], task: Task) -> Sequence[str]:
    """Of a pair: the best second objective within one standard error of the best first one."""
    return _pair("within_error", objectives)


def knee(objectives: Sequence[str], task: Task) -> Sequence[str]:
    """Of a pair: the bend of the front, furthest from the line between its ends."""
    return _pair("knee", objectives)


RULES: Mapping[str, Rule] = {
    "ood_val": ood_val,
    "id_val": id_val,
    "worst_environment": worst_environment,
    "cv": cv,
    "disagreement": disagreement,
    "mean_rank": mean_rank,
    "within_error": within_error,
    "knee": knee,
}


@dataclass(frozen=True)
class Scored:
    """The metrics of a training, `split/metric` and `_std`, and the number of its seeds."""

    metrics: Mapping[str, float]
    seeds: int


@dataclass(frozen=True)
class Ranking:
    """A rule for the trials of one sweep.

    Attributes:
        rule: its name in `RULES`.
        metrics: the `split/metric` that it looks at, the first one shown.
    """

    rule: str
    metrics: tuple[str, ...]

    @property
    def metric(self) -> str:
        """The `split/metric` that is shown."""
        return self.metrics[0]

    def places(self, trainings: Sequence[Scored]) -> list[int]:
        """Indices of the trainings, the best first; those without a value last, in their order."""
        if self.rule == "mean_rank":
            return _by_mean_rank(trainings, self.metrics)
        if self.rule not in PICKS:
            return _by_metric(trainings, self.metric)
        points = {i: Point.of(t.metrics, t.seeds, self.metrics) for i, t in enumerate(trainings)}
        known = {i: point for i, point in points.items() if point is not None}
        ordered = [list(known)[place] for place in PICKS[self.rule](list(known.values()))]
        return [*ordered, *(i for i in points if i not in known)]

    def best_first(self, records: Sequence[TrialRecord]) -> list[TrialRecord]:
        """The finished trials, the best first, each configuration once."""
        ended = sorted(
            (record for record in records if record.outcome == "finished"),
            key=lambda record: record.number,
        )
        scored = [Scored(record.ending.metrics, len(record.config.seeds)) for record in ended]
        return _each_once([ended[place] for place in self.places(scored)])


def ranking_of(rule: str, objectives: Sequence[str], task: Task) -> Ranking:
    """A rule for the trials of a sweep.

    Args:
        rule: a name in `RULES`; empty for the usual one: of a pair `within_error`, with cv/<metric>
            as the objective `cv`, else `ood_val`.
        objectives: of the sweep, such as `ood_val/mae`.
        task: what is learned.

    Raises:
        InputError: there is no such rule, or it needs two objectives.

    Example:
        >>> ranking_of("worst_environment", ["ood_val/corr"], Task("regression")).metric
        'ood_val/worst_environment_mae'
    """
    name = rule or _usual(objectives)
    if name not in RULES:
        raise InputError(f"'{rule}' is no rule of selection.{nearest(rule, list(RULES))}")
    return Ranking(name, tuple(RULES[name](objectives, task)))


def best_first(records: Sequence[TrialRecord], metric: str) -> list[TrialRecord]:
    """The finished trials, best by `split/metric` first.

    Trials with equal values stay in the order of their numbers, those without one come last, and
    of trials with the same configuration only the first stays: trained again they are one.
    """
    return Ranking(metric.partition("/")[0], (metric,)).best_first(records)


def better_sign(metric: str) -> float:
    """1 where a larger value of `split/metric` is better, else -1."""
    return 1.0 if direction(metric_of(metric)) == "max" else -1.0


def metric_of(key: str) -> str:
    """The metric's name in `split/metric`."""
    return key.partition("/")[2]


def _usual(objectives: Sequence[str]) -> str:
    if len(objectives) > 1:
        return picks.DEFAULT
    return CV if is_cross_validated(objectives[0]) else "ood_val"


def _pair(rule: str, objectives: Sequence[str]) -> Sequence[str]:
    if len(objectives) < 2:
        raise InputError(
            f"the rule '{rule}' needs a sweep with a pair of objectives, but this one has "
            f"{objectives[0]} alone: take another rule."
        )
    return objectives


def _by_metric(trainings: Sequence[Scored], metric: str) -> list[int]:
    sign = better_sign(metric)

    def place(index: int) -> tuple[bool, float]:
        value = sign * trainings[index].metrics.get(metric, math.nan)
        is_missing = math.isnan(value)
        return is_missing, 0.0 if is_missing else -value

    return sorted(range(len(trainings)), key=place)


def _by_mean_rank(trainings: Sequence[Scored], metrics: Sequence[str]) -> list[int]:
    """By the mean of the ranks in several metrics, equals sharing theirs; what lacks one last."""
    signs = [-better_sign(metric) for metric in metrics]
    losses = np.array(
        [
            [
                sign * one.metrics.get(metric, math.nan)
                for sign, metric in zip(signs, metrics, strict=True)
            ]
            for one in trainings
        ]
    ).reshape(-1, len(metrics))
    known = np.flatnonzero(np.isfinite(losses).all(axis=1))
    ranks = rankdata(losses[known], axis=0).mean(axis=1)
    ordered = known[np.argsort(ranks, kind="stable")].tolist()
    return [*ordered, *(i for i in range(len(trainings)) if i not in set(ordered))]


def check_measured(ranking: Ranking, records: Sequence[TrialRecord]) -> None:
    """Raises InputError where no finished trial has what a rule looks at."""
    ended = [record for record in records if record.outcome == "finished"]
    for metric in ranking.metrics:
        if ended and not any(metric in record.ending.metrics for record in ended):
            is_measure = metric in OF_ENDED_TRIALS
            wanted = f"measures: [{metric}]" if is_measure else f"objective: {metric}"
            raise InputError(
                f"the rule '{ranking.rule}' looks at {metric}, which no finished trial has: run "
                f"the sweep with `{wanted}` in its file, or take another rule."
            )


def _each_once(ordered: Sequence[TrialRecord]) -> list[TrialRecord]:
    first: dict[str, TrialRecord] = {}
    for record in ordered:
        first.setdefault(record.trial(seeds=(0,)).fingerprint, record)
    return list(first.values())
