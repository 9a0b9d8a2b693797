"""One arm in a worker: train all seeds, score them clean and under noise, keep everything."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cmir.ablation.arm_store import ArmEnding, ArmStore
from cmir.config import TrialConfig
from cmir.data import SplitData
from cmir.errors import InputError
from cmir.evaluation.robustness.robustness_table import noisy_predictions
from cmir.method.networks.features import Features, load_features
from cmir.method.networks.model import Network, network_for
from cmir.method.training.fitting import fit
from cmir.method.training.reports import Diverged
from cmir.method.training.split_scores import LabelRange, predict, split_metrics
from cmir.plugins import load_plugins
from cmir.runner.worker import development_data, partitions_of

NOISE = "noise_"
VALIDATION = ("id_val", "ood_val")

Scores = dict[str, np.ndarray]


@dataclass(frozen=True)
class ArmTask:
    """What a worker needs; plain values, so that it travels.

    Attributes:
        trial: a `TrialConfig` as JSON.
        dataset: the folder.
        partitions: folder in which workers share the costly parts of partitions.
        store: where the arm is kept.
        code: where the numbers come from.
        plugins: modules that the configuration needs.
    """

    trial: str
    dataset: str
    partitions: str
    store: ArmStore
    code: Mapping[str, str]
    plugins: Sequence[str] = ()


def train_arm(task: ArmTask, device: str) -> ArmEnding:
    """Trains one arm and keeps it; a divergence is an ending like another.

    A configuration that does not fit the data is refused; that costs nothing and is not kept.
    """
    load_plugins(task.plugins, "worker")
    config = TrialConfig.model_validate_json(task.trial)
    data, partitions = development_data(task.dataset), partitions_of(task.dataset, task.partitions)
    started = time.perf_counter()
    try:
        *_, last = fit(data, config, device, partitions)
    except InputError as error:
        return ArmEnding("refused", str(error))
    except Diverged as fault:
        ending = ArmEnding("diverged", str(fault), config=config.flat(), code=task.code)
        task.store.keep(config.fingerprint, ending)
        return ending
    assert last.result is not None
    network = network_for(data, config.model)
    features = load_features(data, config.model, torch.device(device))
    splits = {name: data.splits[name] for name in VALIDATION}
    scores = split_scores(network, last.result.weights, features, splits, device)
    by_seed = {name: list(values) for name, values in last.result.by_seed.items()}
    ending = ArmEnding(
        "finished",
        by_seed=by_seed | noise_metrics(scores, splits, data.task, data.label_range),
        best_epochs=list(last.result.best_epochs),
        seconds=time.perf_counter() - started,
        config=config.flat(),
        code=task.code,
    )
    task.store.keep(config.fingerprint, ending, scores, last.result.weights)
    return ending


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
    scores: Mapping[str, np.ndarray],
    splits: Mapping[str, SplitData],
    task: str,
    label_range: LabelRange,
) -> dict[str, list[float]]:
    """`split/noise_metric` of each seed: the mean of the metric over the rates of Eq. 14."""
    found: dict[str, list[float]] = {}
    for name, split in splits.items():
        rates = [split_metrics(s, split, task, label_range) for s in scores[f"{NOISE}{name}"]]
        for key in rates[0]:
            mean = np.mean([metrics[key] for metrics in rates], axis=0)
            found[key.replace("/", f"/{NOISE}", 1)] = mean.tolist()
    return found
