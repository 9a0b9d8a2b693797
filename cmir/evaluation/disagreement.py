"""`unlabelled/disagreement`: how far the seeds of a training disagree where no label is known."""

from __future__ import annotations

import numpy as np

from cmir.data import DevelopmentData
from cmir.data.task import Task
from cmir.evaluation.probes.linear_probes import BySeed
from cmir.evaluation.probes.representations import model_of
from cmir.method.training.reports import TrialResult


def disagreement(result: TrialResult, data: DevelopmentData) -> BySeed:
    """The mean distance of each seed's predictions to those of the others, `(seed,)`.

        d_s = 1 / (S - 1) sum_{t != s} mean_i distance(f_s(x_i), f_t(x_i))

    over the inputs x_i of `ood_val`, whose labels are not looked at. The distance is that of two
    numbers in standard deviations of the training labels, and of decisions 1 where they differ and
    0 where not; of several labels the mean over them. Jiang et al. 2022 ("Assessing generalization
    of SGD via disagreement") find it equal to the error where the seeds together are calibrated;
    models that are wrong alike do not disagree, a constant least of all.

    Args:
        result: of a finished training of at least two seeds.
        data: that it was trained on.
    """
    scores = model_of(result, data).predictions(data, data.ood_val.rows)
    told = _comparable(scores, data.task)
    spread = float(data.train.labels.std()) if data.task.kind == "regression" else 1.0
    apart = np.abs(told[:, None] - told[None]).reshape(len(told), len(told), -1).mean(axis=2)
    return np.asarray(apart.sum(axis=1) / (len(told) - 1) / (spread or 1.0))


def _comparable(scores: np.ndarray, task: Task) -> np.ndarray:
    """Numbers as they are, decisions as indicators of which two that differ are 1 apart."""
    if task.kind == "regression":
        return scores.astype(float)
    if task.kind == "classes":
        # Two indicators differ in both classes.
        count = scores.shape[-1]
        return np.asarray(np.eye(count)[scores.argmax(axis=-1)] * count / 2)
    return (scores > 0).astype(float)
