"""Two models on the same samples: the difference of a metric, and of the errors of each group."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from cmir.data import DevelopmentData, HeldoutData, SplitData
from cmir.data.task import Task
from cmir.evaluation.bootstrap_groups import resampled_groups
from cmir.evaluation.paired_tests import (
    Difference,
    minimum_detectable_effect,
    paired_difference,
)
from cmir.evaluation.worst_groups import units_within, worst_group_difference
from cmir.method.networks.predictions import predict
from cmir.method.training.language_features import features_with_language
from cmir.method.training.split_scores import (
    GROUP_COLUMNS,
    WORST,
    counted_samples,
    evaluation_groups,
)
from cmir.method.training.task_metrics import task_item_values
from cmir.metrics.metric_directions import direction
from cmir.serving.outputs import Scores
from cmir.serving.predictor import Ensemble

POOLED = "small groups"
# That any interval of a family misses, all of them together.
MISSED = 0.05


@dataclass(frozen=True)
class GroupChange:
    """How a model differs from another in one group of a split.

    Attributes:
        group: its name.
        samples: how many it has.
        own: mean absolute error, or accuracy, of the model; mean over its seeds.
        other: of the other model.
        gain: by how much the model is better, negative where it falls.
        low: lower end of the gain's interval, over seeds and the group's samples; 95 % for all
            groups together (Bonferroni).
        high: upper end.
        detectable: the smallest gain or loss that such a comparison finds in four of five cases.
    """

    group: str
    samples: int
    own: float
    other: float
    gain: float
    low: float
    high: float
    detectable: float = math.nan


def scores_of(
    ensemble: Ensemble, data: DevelopmentData | HeldoutData, splits: Mapping[str, SplitData]
) -> dict[str, Scores]:
    """Scores `(seed, n)` of each split, on data standardised as the ensemble's training data."""
    device = torch.device("cpu")
    features = features_with_language(data, ensemble.card.model, ensemble.language, device)
    named = ensemble.network.layout.unpack(ensemble.weights)
    return {
        name: predict(ensemble.network, named, features, split.rows, device)
        .numpy()
        .astype(np.float64)
        for name, split in splits.items()
    }


def difference(
    own: Scores,
    other: Scores,
    split: SplitData,
    metric: str,
    task: Task,
) -> Difference:
    """Own less other in a metric, paired, its interval over seeds and groups.

    Of a worst group it is over seeds and what is in each group: the groups are those of the split.
    """
    clusters = resampled_groups(split).codes
    if not metric.startswith(WORST):
        return paired_difference(own, other, split.labels, clusters, metric, task=task)
    chosen = counted_samples(split)
    groups = np.unique(evaluation_groups(split)[chosen], return_inverse=True)[1]
    return worst_group_difference(
        own[:, chosen],
        other[:, chosen],
        split.labels[chosen],
        groups,
        units_within(groups, clusters[chosen]),
        task,
        metric,
    )


def group_changes(own: Scores, other: Scores, split: SplitData, task: Task) -> list[GroupChange]:
    """The groups of a split that have at least two samples, the one that falls most first.

    Groups are those of `evaluation_groups`; where all samples are in one, it is that one.
    """
    codes, names = evaluation_groups(split), group_names(split)
    metric = task.group_metric
    sign = 1.0 if direction(metric) == "max" else -1.0
    found = []
    judged = [(code, name) for code, name in enumerate(names) if (codes == code).sum() > 1]
    missed = MISSED / max(len(judged), 1)
    for code, name in judged:
        chosen = codes == code
        a, b, labels = own[:, chosen], other[:, chosen], split.labels[chosen]
        samples = np.arange(len(labels))
        change = paired_difference(a, b, labels, samples, metric, task=task, level=1 - missed)
        detectable = minimum_detectable_effect(change, level=missed)
        ends = (
            min(sign * change.low, sign * change.high),
            max(sign * change.low, sign * change.high),
        )
        level = _mean_metric(b, labels, task)
        gain = sign * change.estimate
        found.append(
            GroupChange(name, len(labels), level + change.estimate, level, gain, *ends, detectable)
        )
    return sorted(found, key=lambda change: change.gain)


def group_names(split: SplitData) -> list[str]:
    """Names of the `evaluation_groups` in the order of their numbers."""
    codes = evaluation_groups(split)
    column = next((name for name in GROUP_COLUMNS if name in split.samples.columns), None)
    if column is None:
        return ["all"]
    values = split.samples[column].cast(str).to_numpy().astype(str)
    members = [np.unique(values[codes == code]) for code in range(codes.max() + 1)]
    return [str(names[0]) if len(names) == 1 else POOLED for names in members]


def _mean_metric(scores: Scores, labels: np.ndarray, task: Task) -> float:
    if task.is_named:
        values = task_item_values(scores, labels, task.group_metric, task)
        assert values is not None
        return float(values.mean())
    if task.kind == "binary":
        return float(((scores >= 0) == (labels > 0.5)).mean())
    return float(np.abs(scores - labels).mean())
