"""Late fusion by stacking: a linear model over the scores of models of one modality each.

Stacked regression (Wolpert 1992; Breiman 1996) is fitted on validation samples of speakers whose
scores are not judged by it: the groups are dealt into folds, and each fold's fusion is fitted on
the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression, Ridge

from cmir.data import SplitData
from cmir.data.task import Task
from cmir.evaluation.bootstrap_groups import resampled_groups

FOLDS = 5
# Of the ridge, per sample; scores of models are few, alike in scale and strongly related.
PENALTY = 1e-2

Array = npt.NDArray[np.floating[Any]]
Scores = Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class Fusion:
    """weights `(models,)` and an offset: label units, or logits, of the models' scores."""

    weights: Array
    offset: float

    def __call__(self, scores: Array) -> npt.NDArray[np.float64]:
        """Scores `(..., models)` to `(...)`."""
        found: npt.NDArray[np.float64] = scores.astype(np.float64) @ self.weights + self.offset
        return found


def fitted(scores: Array, labels: Array, task: Task) -> Fusion:
    """The fusion of scores `(n, models)`: a ridge, or a logistic regression of a binary task."""
    if task.kind == "binary":
        model = LogisticRegression(C=1 / (PENALTY * len(labels))).fit(scores, labels > 0.5)
        return Fusion(model.coef_[0], float(model.intercept_[0]))
    model = Ridge(alpha=PENALTY * len(labels)).fit(scores, labels)
    return Fusion(model.coef_, float(model.intercept_))


def stacked(
    models: Sequence[Scores], splits: Mapping[str, SplitData], task: Task
) -> dict[str, npt.NDArray[np.float64]]:
    """The late fusion's scores on validation data, each sample by a fusion fitted without its fold.

    Args:
        models: scores of each modality's model, by split `(seed, n)` and under noise
            `noise_<split>` `(rate, seed, n)`.
        splits: validation splits; the fusion is fitted on the clean scores of all.
        task: what is learned.

    Returns:
        the same keys and shapes.
    """
    folds = {name: resampled_groups(split).codes % FOLDS for name, split in splits.items()}
    found: dict[str, npt.NDArray[np.float64]] = {}
    for fold in range(FOLDS):
        chosen = {name: codes == fold for name, codes in folds.items()}
        if not any(is_in.any() for is_in in chosen.values()):
            continue
        kept = {name: ~is_in for name, is_in in chosen.items()}
        by_seed = fusions(models, splits, task, kept)
        for key in models[0]:
            name = next(split for split in splits if key.endswith(split))
            columns = np.stack([model[key] for model in models], axis=-1)
            place = found.setdefault(key, np.zeros(columns.shape[:-1]))
            for seed, fusion in enumerate(by_seed):
                part = columns[..., seed, :, :][..., chosen[name], :]
                place[..., seed, chosen[name]] = fusion(part)
    return found


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
        found.append(fitted(np.stack(scores, axis=-1), labels, task))
    return found
