"""Features that tell the label in every training group and in no new one.

That is how features look that were themselves trained on the labels of the training groups: a
linear model tells the label in training groups that it was not fitted on, because the features have
seen their labels, and in new groups it does not. Cross-validation over training groups cannot see
the fault: it holds out groups, not the features' own training. Only groups that the features have
not met can, here those of `ood_val`. Where new groups are no fair draw, the gap may be theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.data.dataset import DevelopmentData, SplitData
from cmir.data.group_folds import folds_of
from cmir.data.shifts.strength import Fit, Rows, feature_fit, split_vectors

COLUMNS = ("speaker", "video", "source")
FEWEST_GROUPS, FOLDS, DRAWS = 5, 5, 2000
# The lower end of the interval, and how large a share of the label it must reach.
LEVEL, MARGIN = 0.01, 0.1
# Elsewhere `ood_val` differs by design.
BY_GROUPS = ("held_out", "given")

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class LabelGap:
    """Of one modality: how much of the label a ridge model of it explains.

    Attributes:
        within: R^2 in training groups, each predicted by a model fitted on others.
        new: R^2 in the groups of `ood_val`, by a model fitted on all of training.
        low: the first percentile of their difference, groups resampled.
    """

    within: float
    new: float
    low: float


def label_gaps(data: DevelopmentData) -> dict[str, LabelGap]:
    """The gap of each modality; empty without a column of at least five new groups and old ones.

    R^2 is about the mean of the training labels, 1 - sum |y - f(x)|^2 / sum |y - mean|^2.
    """
    column = _column(data)
    if column is None:
        return {}
    known, new = (split.named(column) for split in (data.train, data.ood_val))
    labels = np.concatenate([_columns(split, data) for split in data.splits.values()])
    names = np.repeat(list(data.splits), [len(split) for split in data.splits.values()])
    rows = np.flatnonzero(names == "train"), np.flatnonzero(names == "ood_val")
    found = {}
    for name, vectors in split_vectors(data).items():
        told = _told(feature_fit(vectors, labels), *rows, folds_of(known, FOLDS))
        middle = labels[rows[0]].mean(axis=0)
        within, outside = (
            _by_group(labels[own], one.reshape(len(own), -1), middle, groups)
            for own, one, groups in zip(rows, told, (known, new), strict=True)
        )
        found[name] = _gap(within, outside)
    return found


def _told(fit: Fit, train: Rows, new: Rows, fold: Rows) -> tuple[FloatArray, FloatArray]:
    """Predictions of training rows, each by a model of other folds, and of new ones by all."""
    outside = fit(train, new)
    within = np.empty((len(train), *outside.shape[1:]))
    for one in np.unique(fold):
        within[fold == one] = fit(train[fold != one], train[fold == one])
    return within, outside


def warn_of_label_gaps(data: DevelopmentData, shift: Mapping[str, Any]) -> list[str]:
    """A sentence for each modality whose gap is surely large, where `ood_val` is made of groups."""
    if str(shift.get("scheme", "")).partition(":")[0] not in BY_GROUPS:
        return []
    return [
        f"{name}: a linear model explains {gap.within:.0%} of the label's variance in training "
        f"groups that it was not fitted on, and {max(0.0, gap.new):.0%} in the new ones of "
        "ood_val: these features may have been made with the labels of the training groups, "
        "which cross-validation over those groups cannot see (select by ood_val), or the new "
        "groups differ in more than in being new"
        for name, gap in label_gaps(data).items()
        if gap.low > MARGIN
    ]


def _column(data: DevelopmentData) -> str | None:
    """The first column of which training and `ood_val` have enough groups, and none in common."""
    for column in COLUMNS:
        if all(column in split.samples.columns for split in (data.train, data.ood_val)):
            known, new = (set(split.named(column)) for split in (data.train, data.ood_val))
            if min(len(known), len(new)) >= FEWEST_GROUPS and not known & new:
                return column
    return None


def _columns(split: SplitData, data: DevelopmentData) -> FloatArray:
    labels: FloatArray = split.labels.astype(float)
    if data.task.kind == "classes":
        return np.asarray(np.eye(len(data.task.names))[labels.astype(int)])
    return labels.reshape(len(labels), -1)


def _by_group(
    wanted: FloatArray, told: FloatArray, middle: FloatArray, groups: npt.NDArray[np.str_]
) -> FloatArray:
    """Sums of squared errors, of the model and of the mean, `(group, 2)`."""
    codes = np.unique(groups, return_inverse=True)[1]
    errors = (np.square(wanted - told).sum(axis=1), np.square(wanted - middle).sum(axis=1))
    return np.stack([np.bincount(codes, one) for one in errors], axis=1)


def _gap(within: FloatArray, new: FloatArray) -> LabelGap:
    random = np.random.default_rng(0)
    redrawn = _explained(_resampled(within, random)) - _explained(_resampled(new, random))
    low = float(np.quantile(redrawn, LEVEL))
    return LabelGap(float(_explained(within.sum(0))), float(_explained(new.sum(0))), low)


def _resampled(sums: FloatArray, random: np.random.Generator) -> FloatArray:
    """Sums `(draw, 2)` over one group less than there are: so many keep the spread of the mean."""
    count = len(sums)
    return np.asarray(random.multinomial(count - 1, np.full(count, 1 / count), DRAWS) @ sums)


def _explained(sums: FloatArray) -> FloatArray:
    return np.asarray(1 - sums[..., 0] / np.where(sums[..., 1] > 0, sums[..., 1], np.inf))
