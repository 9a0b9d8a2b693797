"""How a model's scores change when its inputs are corrupted: one call, one table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import Tensor

from cmir.data import DevelopmentData, HeldoutData, SplitData
from cmir.data.task import Task
from cmir.errors import InputError
from cmir.evaluation.reliability import (
    SHARE,
    expected_calibration_error,
    tenth_percentile_accuracy,
    tenth_percentile_mae,
)
from cmir.evaluation.robustness.corruption_inputs import Scale, Subject, subjects
from cmir.evaluation.robustness.corruptions import CORRUPTIONS, NOISE_RATES, blend, gaussian_noise
from cmir.method.networks.features import Features, reads_vectors
from cmir.method.networks.model import Network, Weights
from cmir.method.training.language_features import Language, steps_with_language
from cmir.method.training.split_scores import ByReplica, evaluation_groups, split_metrics
from cmir.method.training.task_metrics import by_group

CPU = torch.device("cpu")
CLEAN = "clean"
CURVE = ("corruption", "where", "modality", "split", "metric")
SCHEMA: dict[str, type[pl.DataType] | pl.DataType] = {
    "corruption": pl.String,
    "where": pl.String,
    "modality": pl.String,
    "severity": pl.Float64,
    "split": pl.String,
    "metric": pl.String,
    "values": pl.List(pl.Float64),
    "mean": pl.Float64,
    "std": pl.Float64,
}


class Corruption(NamedTuple):
    """The first columns of a row: what was done to the samples."""

    corruption: str
    where: str
    modality: str
    severity: float


def noisy_predictions(
    network: Network,
    weights: Weights,
    features: Features,
    rows: np.ndarray,
    device: torch.device,
    rates: Sequence[float] = NOISE_RATES,
    seed: int = 0,
) -> Tensor:
    """Predictions under X' = (1 - NR) X + NR eps, eps ~ N(0, I), on every X_m (Eq. 14).

    Every replica and every rate sees the same noise, so that models are compared on it in pairs.

    Args:
        network: the shape of the networks.
        weights: by name, `(replica, ...)`.
        features: of all modalities, by row.
        rows: `(n,)`, rows into the features. The noise of a sample depends on its place in them.
        device: where features and weights are.
        rates: NR, each in [0, 1]; 0 is the clean prediction.
        seed: of the noise.

    Returns:
        `(rate, replica, n)` scores in label units, or logits; with names `(rate, replica, n, C)`.

    Raises:
        InputError: no rates, or a rate outside [0, 1].
    """
    if not rates or not all(0 <= rate <= 1 for rate in rates):
        raise InputError(f"rates: must be numbers from 0 to 1, at least one, but got {rates}.")
    strength = torch.tensor(rates, device=device)[:, None, None]
    blocks = []
    with torch.no_grad():
        for subject in subjects(network, weights, features, rows, device, seed):
            clean = subject.vectors[:, :, None]
            noise = gaussian_noise(subject)[:, None]
            corrupted = blend(clean, noise, strength)
            scores = subject.predict(corrupted.flatten(2, 3))
            by_rate = scores.view(len(scores), len(rates), -1, *scores.shape[2:])
            blocks.append(by_rate.transpose(0, 1))
    return torch.cat(blocks, dim=2)


def evaluate_robustness(
    network: Network,
    weights: Weights,
    data: DevelopmentData | HeldoutData,
    *,
    splits: Sequence[str] = ("id_val", "ood_val"),
    corruptions: Sequence[str] = tuple(CORRUPTIONS),
    device: torch.device = CPU,
    seed: int = 0,
    combine: Callable[[np.ndarray], np.ndarray] | None = None,
    language: Language | None = None,
    scales: Mapping[str, Scale] | None = None,
) -> pl.DataFrame:
    """Every metric of every replica under every corruption, severity and split.

    Args:
        network: the shape of the networks.
        weights: by name, `(replica, ...)`, on the device.
        data: development or held-out data, with the standardisation that the weights know.
        splits: names of its splits.
        corruptions: names of `cmir.evaluation.robustness.corruptions.CORRUPTIONS`.
        device: where to compute.
        seed: of all random numbers; the same corruption for all models whose d is equal, and on
            `features` for all models.
        combine: what is measured in place of the replicas' scores `(replica, n)`, such as their
            average `(1, n)`.
        language: the language models that take the place of a modality's features.
        scales: what standardises the vectors of each of them.

    Returns:
        one row for each corruption, where (`none`, `vectors`, `features`), modality, severity,
        split and metric, with `values` of the replicas, their `mean` and sample deviation `std`.
        The clean rows have the corruption `clean`. Metrics are those of `split_metrics`, a
        tenth percentile over `evaluation_groups`, and of a binary task `ece`.

    Raises:
        InputError: an unknown corruption or split, data without a modality of the network or with
            other features, or predictions that are not finite.
    """
    _check_names("corruptions", corruptions, CORRUPTIONS)
    _check_names("splits", splits, data.splits)
    language = language or {}
    _check_modalities(network, data, language)
    features = steps_with_language(data, network.sizes, language, device)
    rows: list[dict[str, Any]] = []
    for name in splits:
        split = data.splits[name]
        with torch.no_grad():
            blocks = [
                _predicted(subject, corruptions)
                for subject in subjects(
                    network, weights, features, split.rows, device, seed, scales
                )
            ]
        for corruption in blocks[0]:
            scores = np.concatenate([block[corruption] for block in blocks], axis=1)
            measured = scores if combine is None else combine(scores)
            rows += _rows(corruption, measured, split, data)
    return pl.DataFrame(rows, schema=SCHEMA)


def curve_summary(table: pl.DataFrame) -> pl.DataFrame:
    """Each curve of `evaluate_robustness` in two numbers; a missing modality is no curve.

    Returns:
        one row for each corruption, where, modality, split and metric, with mean and sample
        deviation over the replicas of `area`, the area under the curve from the clean state to
        the largest severity divided by that severity (its mean height, by trapezoids), and of
        `average`, the mean over the severities above 0 (for `gaussian` on vectors the paper's noise
        average, rates .1 to .7).
    """
    corrupted = table.filter(pl.col("corruption") != CLEAN).sort("severity", maintain_order=True)
    curves = corrupted.group_by(CURVE, maintain_order=True).agg("severity", "values")
    clean = table.filter(pl.col("corruption") == CLEAN).select(
        "split", "metric", clean=pl.col("values")
    )
    joined = curves.join(clean, on=["split", "metric"], maintain_order="left")
    has_shape = pl.col("severity").list.len() > 1
    return pl.DataFrame([_summed(row) for row in joined.filter(has_shape).iter_rows(named=True)])


def _summed(row: Mapping[str, Any]) -> dict[str, Any]:
    heights = np.array([row["clean"], *row["values"]])
    severity = np.array([0.0, *row["severity"]])
    area = np.trapezoid(heights, severity, axis=0) / severity[-1]
    average = heights[1:].mean(axis=0)
    named = {name: row[name] for name in CURVE}
    return named | _moments(area, "area", "area_std") | _moments(average, "average", "average_std")


def _predicted(subject: Subject, corruptions: Sequence[str]) -> dict[Corruption, np.ndarray]:
    """Scores `(replica, n)` of a block, clean and under every corruption."""
    found = {Corruption(CLEAN, "none", "none", 0.0): subject.predict(subject.vectors)}
    for name in corruptions:
        for corrupted in CORRUPTIONS[name](subject):
            corruption = Corruption(name, corrupted.where, corrupted.modality, corrupted.severity)
            found[corruption] = subject.predict(corrupted.vectors)
    return {corruption: scores.cpu().numpy() for corruption, scores in found.items()}


def _rows(
    corruption: Corruption,
    scores: np.ndarray,
    split: SplitData,
    data: DevelopmentData | HeldoutData,
) -> list[dict[str, Any]]:
    metrics = split_metrics(scores, split, data.task)
    metrics |= _reliability(scores, split, data.task)
    return [
        corruption._asdict()
        | {"split": split.name, "metric": name.partition("/")[2], "values": values.tolist()}
        | _moments(values, "mean", "std")
        for name, values in metrics.items()
    ]


def _reliability(scores: np.ndarray, split: SplitData, task: Task) -> ByReplica:
    groups = evaluation_groups(split)
    if task.is_named:
        tail = np.quantile(by_group(scores, split.labels, groups, task), SHARE, axis=1)
        return {f"{split.name}/tenth_percentile_{task.group_metric}": tail}
    if task.kind != "binary":
        tail = tenth_percentile_mae(scores, split.labels, groups)
        return {f"{split.name}/tenth_percentile_mae": tail}
    return {
        f"{split.name}/tenth_percentile_accuracy": tenth_percentile_accuracy(
            scores, split.labels, groups
        ),
        f"{split.name}/ece": expected_calibration_error(scores, split.labels),
    }


def _moments(values: np.ndarray, mean: str, std: str) -> dict[str, float]:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {mean: float(np.mean(values)), std: spread}


def _check_modalities(
    network: Network, data: DevelopmentData | HeldoutData, language: Collection[str]
) -> None:
    for name, size in network.sizes.items():
        if name in language:
            continue
        found = data.modalities.get(name)
        wants_vectors = reads_vectors(network.kinds[name])
        if found is None or found.size != size or (found.steps is None) != wants_vectors:
            shape = "vectors" if wants_vectors else "sequences"
            came = "none" if found is None else f"an array of shape {found.array.shape}"
            raise InputError(
                f"data: '{data.name}' must have {shape} of {size} features as '{name}', which the "
                f"model was trained on, but has {came}. Evaluate on data of the same kind."
            )


def _check_names(what: str, names: Sequence[str], known: Collection[str]) -> None:
    for name in names:
        if name not in known:
            raise InputError(f"{what}: must be among {', '.join(known)}, but got '{name}'.")
