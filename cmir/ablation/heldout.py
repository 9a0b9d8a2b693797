"""The one reading of held-out data: all arms together, after all are trained, counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from cmir.ablation.arm import Arm
from cmir.ablation.planning import AblationPlan
from cmir.ablation.scoring import Columns, Yardstick
from cmir.ablation.store import ArmEnding, ArmStore
from cmir.ablation.training import noise_metrics, split_scores
from cmir.errors import InputError
from cmir.learning.evaluation import split_metrics
from cmir.learning.features import load_features
from cmir.learning.model import network_for
from cmir.promotion.registry import Registry
from cmir.sweep.tracking import first_line

HELDOUT = ("id_test", "ood_test")


@dataclass(frozen=True)
class Reading:
    """What the held-out splits say of the arms.

    Attributes:
        splits: those that exist.
        columns: scores and differences by fingerprint.
        readings: how often held-out data has been read under the model's name, this time included.
        is_new: whether it was read now; else what an earlier run of the command read is shown.
    """

    splits: tuple[str, ...]
    columns: Mapping[str, Columns]
    readings: int
    is_new: bool


def heldout_splits(plan: AblationPlan) -> tuple[str, ...]:
    """Names of the held-out splits of the plan's data set, without reading them."""
    return tuple(name for name in HELDOUT if name in plan.dataset.sizes)


def read_heldout(
    plan: AblationPlan,
    arms: Mapping[str, Arm],
    endings: Mapping[str, ArmEnding],
    store: ArmStore,
    full: str,
    registry: Registry,
) -> Reading:
    """Counts one reading and scores all finished arms; what was read before is not read again.

    Args:
        plan: of the ablation.
        arms: by fingerprint.
        endings: by fingerprint.
        store: where weights are, and where the scores are kept.
        full: fingerprint of the full configuration, with which all are compared.
        registry: that counts, under the same name as promotion.

    Raises:
        InputError: the reading could not be counted; nothing was read.
    """
    # The differences are to the full configuration, which a longer sweep may change.
    kind = f"heldout-{plan.dataset.checksum[:12]}-{full}"
    finished = [name for name in arms if endings[name].outcome == "finished"]
    splits = heldout_splits(plan)
    known = {name: store.columns(name, kind) for name in finished}
    if all(found is not None for found in known.values()):
        columns = {name: found for name, found in known.items() if found is not None}
        return Reading(splits, columns, _asked(registry.readings), is_new=False)
    readings = _asked(registry.count_reading)
    columns = _scores(plan, {name: arms[name] for name in finished}, store, full)
    for name, found in columns.items():
        store.keep_columns(name, kind, found)
    return Reading(splits, columns, readings, is_new=True)


def _asked(count: Callable[[], int]) -> int:
    """What the registry answers; a reading that cannot be counted is not done."""
    try:
        return count()
    except Exception as error:  # MLflow, requests and SQLAlchemy each raise their own.
        raise InputError(
            f"--final: held-out data was not read, because MLflow could not count the reading: "
            f"{first_line(error)} All arms are kept: run the same command when it answers."
        ) from None


def _scores(
    plan: AblationPlan, arms: Mapping[str, Arm], store: ArmStore, full: str
) -> dict[str, Columns]:
    data = plan.dataset.heldout()
    yardstick = Yardstick(plan.metric, data.splits, data.task, data.label_range)
    scores = {}
    for name, arm in arms.items():
        features = load_features(data, arm.config.model, torch.device("cpu"))
        network = network_for(plan.data, arm.config.model)
        scores[name] = split_scores(network, store.weights(name), features, data.splits)
    found: dict[str, Columns] = {}
    for name, arrays in scores.items():
        by_seed = noise_metrics(arrays, data.splits, data.task, data.label_range)
        for split in data.splits.values():
            metrics = split_metrics(arrays[split.name], split, data.task, data.label_range)
            by_seed |= {key: values.tolist() for key, values in metrics.items()}
        found[name] = yardstick.scores(by_seed)
        if name != full and full in scores:
            found[name] |= yardstick.differences(arrays, scores[full])
    return found
