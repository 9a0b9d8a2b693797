"""What the training of an arm gave: its numbers by seed, clean and under noise, and its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmir.data import DevelopmentData, SplitData
from cmir.data.task import Task
from cmir.evaluation.robustness.robustness_table import noisy_predictions
from cmir.method.networks.features import Features
from cmir.method.networks.model import Network
from cmir.method.networks.predictions import predict
from cmir.method.networks.sized_network import network_for
from cmir.method.training.language_features import features_with_language
from cmir.method.training.reports import TrialResult
from cmir.method.training.split_scores import split_metrics
from cmir.runner.paths import Paths
from cmir.runner.studies.records import TrialRecord
from cmir.runner.weights import load_result, load_scores

NOISE = "noise_"
VALIDATION = ("id_val", "ood_val")

Outcome = Literal["finished", "diverged", "refused", "failed"]
Scores = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class ArmResult:
    """How the training of an arm ended.

    Attributes:
        outcome: finished; diverged (a non-finite loss); refused (it does not fit the data and was
            not trained); failed (an exception, or a dead process), which the next call tries again.
        reason: why it did not finish.
        by_seed: `split/metric` and `split/noise_metric` to one value per seed.
        record: of the training, None where it was refused.
        file: with its weights and scores, None where it did not finish.
    """

    outcome: Outcome
    reason: str = ""
    by_seed: Mapping[str, Sequence[float]] = field(default_factory=dict)
    record: TrialRecord | None = None
    file: Path | None = None

    @property
    def scores(self) -> Scores:
        """Of a finished arm: `split` `(seed, n)`, `noise_split` `(rate, seed, n)`."""
        assert self.file is not None
        return load_scores(self.file)

    def trained(self, cache: Path) -> TrialResult:
        """What the training of a finished arm has left; see `load_result`."""
        assert self.record is not None
        assert self.file is not None
        return load_result(self.record, self.file, cache)


def results_of(
    records: Iterable[TrialRecord], study: str, paths: Paths, data: DevelopmentData
) -> dict[str, ArmResult]:
    """Fingerprint to the result of its newest training.

    Args:
        records: of the study of an ablation.
        study: its name.
        paths: where the weights are.
        data: that they were trained on.
    """
    return {
        record.config.fingerprint: _result(record, paths.weights_of(study, record.number), data)
        for record in records
    }


def _result(record: TrialRecord, file: Path, data: DevelopmentData) -> ArmResult:
    if record.outcome != "finished":
        outcome: Outcome = "diverged" if record.outcome == "diverged" else "failed"
        return ArmResult(outcome, record.ending.reason, record=record)
    splits = {name: data.splits[name] for name in VALIDATION}
    noisy = noise_metrics(load_scores(file), splits, data.task)
    return ArmResult("finished", "", {**record.ending.by_seed, **noisy}, record, file)


def validation_scores(data: DevelopmentData, result: TrialResult, device: str) -> Scores:
    """Scores of a finished training on both validation splits, clean and under noise.

    Args:
        data: that it was trained on.
        result: of the training.
        device: to score on.

    Returns:
        see `split_scores`.
    """
    network = network_for(data, result.config.model)
    place, model = torch.device(device), result.config.model
    features = features_with_language(data, model, result.language, place)
    splits = {name: data.splits[name] for name in VALIDATION}
    return split_scores(network, result.weights, features, splits, device)


def split_scores(
    network: Network,
    weights: Tensor,
    features: Features,
    splits: Mapping[str, SplitData],
    device: str = "cpu",
) -> Scores:
    """Clean scores `split` `(seed, n)` and those under noise `noise_split` `(rate, seed, n)`."""
    place = torch.device(device)
    named = network.layout.unpack(weights.to(place))
    found: Scores = {}
    for name, split in splits.items():
        clean = predict(network, named, features, split.rows, place)
        noisy = noisy_predictions(network, named, features, split.rows, place)
        found[name], found[f"{NOISE}{name}"] = clean.cpu().numpy(), noisy.cpu().numpy()
    return found


def noise_metrics(
    scores: Mapping[str, npt.NDArray[Any]],
    splits: Mapping[str, SplitData],
    task: Task,
) -> dict[str, list[float]]:
    """`split/noise_metric` of each seed: the mean of the metric over the rates of Eq. 14."""
    found: dict[str, list[float]] = {}
    for name, split in splits.items():
        rates = [split_metrics(s, split, task) for s in scores[f"{NOISE}{name}"]]
        for key in rates[0]:
            mean = np.mean([metrics[key] for metrics in rates], axis=0)
            found[key.replace("/", f"/{NOISE}", 1)] = mean.tolist()
    return found
