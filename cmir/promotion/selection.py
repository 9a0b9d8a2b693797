"""Which trials are worth training again: named rules over a sweep's records.

The rule makes the result (Gulrajani and Lopez-Paz 2021, "In Search of Lost Domain
Generalization"), so it has a name, and the registered model carries it. No rule sees held-out data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from cmir.data.task import Task
from cmir.errors import InputError, nearest
from cmir.method.training.split_scores import worst_metric
from cmir.metrics.metric_directions import direction
from cmir.runner.studies.records import TrialRecord

Rule = Callable[[str, Task], str]


def ood_val(objective: str, task: Task) -> str:
    """The objective's metric out of distribution: for shifts like the one that is expected."""
    return f"ood_val/{metric_of(objective)}"


def id_val(objective: str, task: Task) -> str:
    """The objective's metric in distribution: DomainBed's training-domain validation."""
    return f"id_val/{metric_of(objective)}"


def worst_environment(objective: str, task: Task) -> str:
    """The worst group out of distribution (Koh et al. 2021, WILDS): nobody is left behind."""
    return f"ood_val/{worst_metric(task)}"


RULES: Mapping[str, Rule] = {
    "ood_val": ood_val,
    "id_val": id_val,
    "worst_environment": worst_environment,
}


def rule_metric(rule: str, objective: str, task: Task) -> str:
    """The `split/metric` by which a rule ranks.

    Args:
        rule: a name in `RULES`.
        objective: of the sweep, such as `ood_val/mae`.
        task: what is learned.

    Raises:
        InputError: there is no such rule.

    Example:
        >>> rule_metric("worst_environment", "ood_val/corr", Task("regression"))
        'ood_val/worst_environment_mae'
    """
    if rule not in RULES:
        raise InputError(f"'{rule}' is no rule of selection.{nearest(rule, list(RULES))}")
    return RULES[rule](objective, task)


def select(records: Sequence[TrialRecord], rule: str, task: Task) -> list[TrialRecord]:
    """The finished trials of one sweep, best by the rule first; see `best_first`."""
    if not records:
        return []
    return best_first(records, rule_metric(rule, records[0].config.objective, task))


def best_first(records: Sequence[TrialRecord], metric: str) -> list[TrialRecord]:
    """The finished trials, best by `split/metric` first.

    Trials with equal values stay in the order of their numbers, those without one come last, and
    of trials with the same configuration only the first stays: trained again they are one.
    """
    sign = better_sign(metric)

    def place(record: TrialRecord) -> tuple[bool, float, int]:
        value = sign * record.ending.metrics.get(metric, math.nan)
        is_missing = math.isnan(value)
        return is_missing, 0.0 if is_missing else -value, record.number

    ordered = sorted((r for r in records if r.outcome == "finished"), key=place)
    first: dict[str, TrialRecord] = {}
    for record in ordered:
        first.setdefault(record.trial(seeds=(0,)).fingerprint, record)
    return list(first.values())


def better_sign(metric: str) -> float:
    """1 where a larger value of `split/metric` is better, else -1."""
    return 1.0 if direction(metric_of(metric)) == "max" else -1.0


def metric_of(key: str) -> str:
    """The metric's name in `split/metric`."""
    return key.partition("/")[2]
