"""The scores of every row of the table: of trained models, and of what is made of their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch

from cmir.ablation.arm_results import split_scores
from cmir.data import DevelopmentData, HeldoutData, SplitData
from cmir.method.networks.sized_network import network_for
from cmir.method.training.language_features import features_with_language
from cmir.method.training.reports import TrialResult
from cmir.rivals.late_fusion import fused, fusions, stacked
from cmir.rivals.target_statistics import aligned

CPU = torch.device("cpu")
LATE_FUSION = "late fusion"
CHAMPION = "champion"
ADAPTED = ", target statistics"

Scores = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Trained:
    """A row whose model was trained.

    Attributes:
        name: of the row.
        result: of its fresh seeds.
        scores: on validation data, see `split_scores`.
        is_unimodal: whether it enters the late fusion.
        is_adapted: whether it gets a row with the target's statistics as well.
    """

    name: str
    result: TrialResult
    scores: Scores
    is_unimodal: bool = False
    is_adapted: bool = False


def validation_rows(rows: Sequence[Trained], data: DevelopmentData) -> dict[str, Scores]:
    """Name of a row to its scores on validation data, derived rows among them.

    Args:
        rows: the champion first.
        data: that they were trained on.
    """
    splits = {name: data.splits[name] for name in ("id_val", "ood_val")}
    found: dict[str, Scores] = {}
    for row in rows:
        found[row.name] = row.scores
        if row.is_adapted:
            found[f"{row.name}{ADAPTED}"] = adapted_scores(row.result, data, data, splits)
    models = [row.scores for row in rows if row.is_unimodal]
    if len(models) > 1:
        found[LATE_FUSION] = stacked(models, splits, data.task)
    return found


def heldout_rows(
    rows: Sequence[Trained], data: DevelopmentData, heldout: HeldoutData
) -> dict[str, Scores]:
    """The same on the held-out splits; the late fusion is fitted on all validation data."""
    splits, found = heldout.splits, {}
    for row in rows:
        found[row.name] = _scores(row.result, data, heldout, splits)
        if row.is_adapted:
            adapted = adapted_scores(row.result, data, heldout, splits)
            found[f"{row.name}{ADAPTED}"] = adapted
    unimodal = [row for row in rows if row.is_unimodal]
    if len(unimodal) > 1:
        known = {name: data.splits[name] for name in ("id_val", "ood_val")}
        by_seed = fusions([row.scores for row in unimodal], known, data.task)
        own = [found[row.name] for row in unimodal]
        found[LATE_FUSION] = {
            key: fused(by_seed, [scores[key] for scores in own], data.task) for key in own[0]
        }
    return found


def adapted_scores(
    result: TrialResult,
    trained_on: DevelopmentData,
    data: DevelopmentData | HeldoutData,
    splits: Mapping[str, SplitData],
) -> Scores:
    """Scores with each split's own, unlabelled statistics in place of the training's."""
    found: Scores = {}
    for name, split in splits.items():
        found |= _scores(result, trained_on, aligned(data, split), {name: split})
    return found


def _scores(
    result: TrialResult,
    trained_on: DevelopmentData,
    data: DevelopmentData | HeldoutData,
    splits: Mapping[str, SplitData],
) -> Scores:
    network = network_for(trained_on, result.config.model)
    features = features_with_language(data, result.config.model, result.language, CPU)
    return split_scores(network, result.weights, features, splits)
