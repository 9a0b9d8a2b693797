"""Late fusion by stacking: a linear model over the scores of models of one modality each.

Stacked regression (Wolpert 1992; Breiman 1996) is fitted on validation samples of speakers whose
scores are not judged by it: the groups are dealt into folds, and each fold's fusion is fitted on
the others. Classes are stacked by their log-probabilities, all of all models for each class (Ting
and Witten 1999); of several labels each is fused by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression, Ridge

from cmir.data import SplitData
from cmir.data.task import Task
from cmir.evaluation.bootstrap_groups import resampled_groups

FOLDS = 5
# Of the ridge, per sample; scores of models are few, alike in scale and strongly related.
PENALTY = 1e-2
# Second-order steps: a few, where there are many more samples than scores.
SOLVER = "newton-cholesky"

Array = npt.NDArray[np.floating[Any]]
Scores = Mapping[str, Array]
# Inputs `(..., C, models)` to scores `(..., C)`; C is 1 where the task has no names.
Fusion = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class EachFusion:
    """weights `(C, models)` and offsets `(C,)`: label units, or logits, of the models' own."""

    weights: Array
    offsets: Array

    def __call__(self, inputs: Array) -> Array:
        """Inputs `(..., C, models)` to scores `(..., C)`, each from its own."""
        pairs = zip(self.weights, self.offsets, strict=True)
        own = [
            inputs[..., place, :] @ weights + offset
            for place, (weights, offset) in enumerate(pairs)
        ]
        return np.stack(own, axis=-1)


@dataclass(frozen=True, eq=False)
class ClassFusion:
    """weights `(C, C * models)` and offsets `(C,)`: logits of all log-probabilities."""

    weights: Array
    offsets: Array

    def __call__(self, inputs: Array) -> Array:
        """Log-probabilities `(..., C, models)` to logits `(..., C)`."""
        found: Array = _flat(inputs) @ self.weights.T + self.offsets
        return found


def inputs_of(scores: Sequence[Array], task: Task) -> Array:
    """Scores of models, each `(..., n)` or `(..., n, C)`, as inputs `(..., n, C, models)`."""
    columns = np.stack(scores, axis=-1).astype(np.float64)
    if task.kind == "classes":
        return np.asarray(log_softmax(columns, axis=-2))
    return columns if task.is_named else columns[..., None, :]


def fitted(inputs: Array, labels: Array, task: Task) -> Fusion:
    """The fusion of inputs `(n, C, models)`: a ridge of a scale, else logistic regressions."""
    if task.kind == "classes":
        return _class_fusion(inputs, labels.astype(np.int64))
    if task.kind == "regression":
        model = Ridge(alpha=PENALTY * len(labels)).fit(inputs[:, 0], labels)
        return EachFusion(model.coef_[None], np.array([model.intercept_]))
    holds = labels.reshape(len(labels), -1) > 0.5
    each = [_logistic(inputs[:, place], own) for place, own in enumerate(holds.T)]
    return EachFusion(np.stack([weights for weights, _ in each]), np.array([b for _, b in each]))


def stacked(
    models: Sequence[Scores], splits: Mapping[str, SplitData], task: Task
) -> dict[str, Array]:
    """The late fusion's scores on validation data, each sample by a fusion fitted without its fold.

    Args:
        models: scores of each modality's model, by split `(seed, n)` and under noise
            `noise_<split>` `(rate, seed, n)`; with names a last axis over them.
        splits: validation splits; the fusion is fitted on the clean scores of all.
        task: what is learned.

    Returns:
        the same keys and shapes.
    """
    folds = {name: resampled_groups(split).codes % FOLDS for name, split in splits.items()}
    inputs = {key: inputs_of([model[key] for model in models], task) for key in models[0]}
    found = {key: np.zeros(own.shape[:-1]) for key, own in inputs.items()}
    for fold in range(FOLDS):
        chosen = {name: codes == fold for name, codes in folds.items()}
        if not any(is_in.any() for is_in in chosen.values()):
            continue
        by_seed = fusions(models, splits, task, {name: ~is_in for name, is_in in chosen.items()})
        for key, own in inputs.items():
            rows = chosen[next(split for split in splits if key.endswith(split))]
            for seed, fusion in enumerate(by_seed):
                found[key][..., seed, rows, :] = fusion(own[..., seed, rows, :, :])
    return {key: _as_scores(values, task) for key, values in found.items()}


def fusions(
    models: Sequence[Scores],
    splits: Mapping[str, SplitData],
    task: Task,
    rows: Mapping[str, npt.NDArray[np.bool_]] | None = None,
) -> list[Fusion]:
    """A fusion for each seed, fitted on clean scores of some rows of the splits, or of all."""
    kept = rows or {name: np.ones(len(split), bool) for name, split in splits.items()}
    labels = np.concatenate([splits[name].labels[kept[name]] for name in splits])
    found = []
    for seed in range(len(models[0][next(iter(splits))])):
        scores = [
            np.concatenate([model[name][seed][kept[name]] for name in splits]) for model in models
        ]
        found.append(fitted(inputs_of(scores, task), labels, task))
    return found


def fused(by_seed: Sequence[Fusion], scores: Sequence[Array], task: Task) -> Array:
    """The fusion's scores of the models' `(..., seed, n)`, with names `(..., seed, n, C)`."""
    inputs = inputs_of(scores, task)
    own = [fusion(inputs[..., seed, :, :, :]) for seed, fusion in enumerate(by_seed)]
    return _as_scores(np.stack(own, axis=-3), task)


def _class_fusion(inputs: Array, labels: npt.NDArray[np.int64]) -> ClassFusion:
    """With one more sample, an average one that is shared by all classes, so that each occurs."""
    count, rows = inputs.shape[1], _flat(inputs)
    average = np.repeat(rows.mean(axis=0, keepdims=True), count, axis=0)
    weights = np.concatenate([np.ones(len(rows)), np.full(count, 1 / count)])
    model = LogisticRegression(C=1 / (PENALTY * len(rows)), solver=SOLVER).fit(
        np.concatenate([rows, average]), np.concatenate([labels, np.arange(count)]), weights
    )
    if count == 2:  # scikit-learn has the logit of the second class alone.
        nothing = np.zeros_like(model.coef_)
        return ClassFusion(
            np.concatenate([nothing, model.coef_]), np.concatenate([[0.0], model.intercept_])
        )
    return ClassFusion(model.coef_, model.intercept_)


def _logistic(inputs: Array, holds: npt.NDArray[np.bool_]) -> tuple[Array, float]:
    """Weights `(models,)` and offset; where all samples have the label or none, its rate alone."""
    if holds.all() or not holds.any():
        rate = (holds.sum() + 0.5) / (len(holds) + 1)
        return np.zeros(inputs.shape[1]), float(np.log(rate / (1 - rate)))
    model = LogisticRegression(C=1 / (PENALTY * len(holds)), solver=SOLVER).fit(inputs, holds)
    return model.coef_[0], float(model.intercept_[0])


def _flat(inputs: Array) -> Array:
    return inputs.reshape(*inputs.shape[:-2], -1)


def _as_scores(values: Array, task: Task) -> Array:
    return values if task.is_named else values[..., 0]
