"""The loop around `plain_cmir`: data from a dataset folder, epochs, metrics, the best weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.stacks.plain_cmir import Config, PlainCmir, check, loss_terms, total_loss

Floats = npt.NDArray[np.float64]
Batches = Iterable[list[Tensor]]
SMALLEST_GROUP = 8


@dataclass(frozen=True)
class PlainData:
    """Standardised vectors of all samples, `(N, D)` each, and the rows of the splits."""

    features: Mapping[str, Tensor]
    pooled: tuple[str, ...]
    labels: Tensor
    samples: pl.DataFrame
    rows: Mapping[str, npt.NDArray[np.int64]]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of features of each modality."""
        return {name: values.shape[1] for name, values in self.features.items()}


@lru_cache(maxsize=1)
def read(folder: str) -> PlainData:
    """A dataset folder whose sequences are pooled: what a linear layer and a mean make of them."""
    path = Path(folder)
    samples = pl.read_parquet(path / "samples.parquet")
    split = samples["split"].to_numpy()
    files = sorted(f for f in path.glob("*.npy") if not f.name.endswith(".pooled.npy"))
    pooled = tuple(f.stem for f in files if np.load(f, mmap_mode="r").ndim == 3)
    with np.load(path / "statistics.npz") as statistics:
        features = {
            f.stem: _standardised(
                f.with_suffix(".pooled.npy") if f.stem in pooled else f, statistics
            )
            for f in files
        }
    labels = torch.from_numpy(samples["label"].to_numpy().astype(np.float32))
    rows = {name: np.flatnonzero(split == name) for name in ("train", "id_val", "ood_val")}
    return PlainData(features, pooled, labels, samples, rows)


def groups_of(data: PlainData, scheme: str, count: int) -> npt.NDArray[np.int64]:
    """The environment of each training sample, `(n,)`."""
    rows = data.rows["train"]
    if scheme == "none":
        return np.zeros(len(rows), dtype=np.int64)
    if scheme == "random":
        return np.random.default_rng(0).permutation(np.arange(len(rows)) % count)
    if scheme == "kmeans":
        from sklearn.cluster import KMeans

        columns = np.concatenate([values[rows].numpy() for values in data.features.values()], 1)
        found = KMeans(count, n_init=10, random_state=0).fit_predict(columns.clip(-5, 5))
        return np.asarray(found, dtype=np.int64)
    return _dealt(data.samples[scheme].to_numpy()[rows], count)


def train(
    data: PlainData,
    config: Config,
    seed: int,
    epochs: int,
    with_loader: bool,
    weights: Path | None = None,
) -> Iterator[dict[str, Any]]:
    """One seed of one configuration.

    Args:
        data: of a regression task.
        config: dotted key to value.
        seed: of initialisation, order and views.
        epochs: all of them are trained.
        with_loader: batches come from a `DataLoader`, else from a permutation of the rows.
        weights: where the best epoch's weights go.

    Yields:
        metrics after each epoch; `objective` is the best `ood_val/mae` so far.
    """
    check(config)
    torch.manual_seed(seed)
    size, hidden = config["model.representation_size"], config["model.hidden_size"]
    model = PlainCmir(data.sizes, data.pooled, size, hidden)
    optimiser = torch.optim.AdamW(
        model.parameters(),
        lr=config["training.learning_rate"],
        weight_decay=config["training.weight_decay"],
    )
    tensors, batch_size = _training_tensors(data, config), config["training.batch_size"]
    batches = _loader(tensors, batch_size) if with_loader else _Slices(tensors, batch_size)
    best, kept = np.inf, model.state_dict()
    for epoch in range(1, epochs + 1):
        losses = _train_epoch(model, optimiser, batches, list(data.features), config)
        metrics = losses | evaluate(model, data)
        if metrics["ood_val/mae"] < best:
            best, kept = metrics["ood_val/mae"], copy.deepcopy(model.state_dict())
        yield {"epoch": epoch, "objective": best, **metrics}
    if weights is not None:
        torch.save(kept, weights)


def evaluate(model: PlainCmir, data: PlainData) -> dict[str, float]:
    """All metrics on both validation splits."""
    model.eval()
    metrics: dict[str, float] = {}
    for split in ("id_val", "ood_val"):
        rows = data.rows[split]
        with torch.no_grad():
            scores = model({name: values[rows] for name, values in data.features.items()})
        predicted, labels = scores.double().numpy(), data.labels[rows].double().numpy()
        found = regression_metrics(predicted, labels)
        found["worst_environment_mae"] = _worst(predicted, labels, data.samples[rows])
        metrics |= {f"{split}/{name}": value for name, value in found.items()}
    return metrics


def regression_metrics(predicted: Floats, labels: Floats) -> dict[str, float]:
    """MAE, correlation and the accuracies of the [-3, 3] scale."""
    clear = labels != 0
    return {
        "mae": float(np.abs(predicted - labels).mean()),
        "corr": float(np.corrcoef(predicted, labels)[0, 1]),
        "acc7": _agreement(predicted, labels, 3),
        "acc5": _agreement(predicted, labels, 2),
        "acc2_has0": float(((predicted >= 0) == (labels >= 0)).mean()),
        "acc2_non0": float(((predicted > 0) == (labels > 0))[clear].mean()),
        "f1_has0": _weighted_f1(predicted >= 0, labels >= 0),
        "f1_non0": _weighted_f1((predicted > 0)[clear], (labels > 0)[clear]),
    }


def _standardised(file: Path, statistics: Mapping[str, npt.NDArray[np.float32]]) -> Tensor:
    name = file.name.split(".")[0]
    values = np.load(file).astype(np.float32)
    return torch.from_numpy((values - statistics[f"{name}_mean"]) / statistics[f"{name}_std"])


def _dealt(values: npt.NDArray[Any], count: int) -> npt.NDArray[np.int64]:
    """Values of a column, largest first, each to the group that is smallest so far."""
    names, inverse, sizes = np.unique(values, return_inverse=True, return_counts=True)
    group, filled = np.zeros(len(names), dtype=np.int64), [0] * count
    for value in sorted(range(len(names)), key=lambda index: -sizes[index]):
        group[value] = filled.index(min(filled))
        filled[group[value]] += int(sizes[value])
    return group[inverse]


def _training_tensors(data: PlainData, config: Config) -> list[Tensor]:
    rows = data.rows["train"]
    scheme = config["environments.partition"]
    groups = groups_of(data, scheme, config.get("environments.groups", 4))
    return [
        *(values[rows] for values in data.features.values()),
        data.labels[rows],
        torch.from_numpy(groups),
    ]


def _loader(tensors: list[Tensor], batch_size: int) -> Batches:
    dataset = TensorDataset(*tensors)
    return DataLoader(dataset, batch_size=batch_size, shuffle=True, drop_last=True)


class _Slices:
    """Batches cut from a new permutation of the samples each time they are iterated over."""

    def __init__(self, tensors: list[Tensor], batch_size: int) -> None:
        self._tensors, self._batch_size = tensors, batch_size

    def __iter__(self) -> Iterator[list[Tensor]]:
        size, batch = len(self._tensors[0]), self._batch_size
        for chosen in torch.randperm(size)[: size // batch * batch].view(-1, batch):
            yield [values[chosen] for values in self._tensors]


def _train_epoch(
    model: PlainCmir,
    optimiser: torch.optim.Optimizer,
    batches: Batches,
    names: list[str],
    config: Config,
) -> dict[str, float]:
    """One pass; returns the mean of each unweighted term."""
    model.train()
    history: list[dict[str, Tensor]] = []
    for *vectors, labels, groups in batches:
        inputs = dict(zip(names, vectors, strict=True))
        terms = loss_terms(model, inputs, labels, groups, config)
        optimiser.zero_grad()
        total_loss(terms, config).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), config["training.gradient_clip"])
        optimiser.step()
        history.append({name: value.detach() for name, value in terms.items()})
    return {
        f"train/loss_{name}": float(torch.stack([terms[name] for terms in history]).mean())
        for name in history[0]
    }


def _agreement(predicted: Floats, labels: Floats, limit: int) -> float:
    same = np.round(predicted.clip(-limit, limit)) == np.round(labels.clip(-limit, limit))
    return float(same.mean())


def _weighted_f1(predicted: npt.NDArray[np.bool_], labels: npt.NDArray[np.bool_]) -> float:
    score = 0.0
    for value in (False, True):
        hits = ((predicted == value) & (labels == value)).sum()
        named = (predicted == value).sum() + (labels == value).sum()
        score += (labels == value).mean() * (2 * hits / named if named else 0.0)
    return float(score)


def _worst(predicted: Floats, labels: Floats, samples: pl.DataFrame) -> float:
    """Largest mean error of a speaker or video; those of fewer than 8 samples count as one."""
    column = next(c for c in ("speaker", "video", "split") if c in samples.columns)
    _, group, sizes = np.unique(samples[column], return_inverse=True, return_counts=True)
    group = np.where(sizes[group] < SMALLEST_GROUP, len(sizes), group)
    counts = np.bincount(group)
    totals = np.bincount(group, np.abs(predicted - labels))
    large = counts >= min(SMALLEST_GROUP, counts.max())
    return float((totals[large] / counts[large]).max())
