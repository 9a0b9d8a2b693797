"""`split/leak`: how well the label can be read from Z_spu, of samples that were not trained on."""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from cmir.data import DevelopmentData, SplitData
from cmir.data.group_folds import folds_of
from cmir.data.task import Task
from cmir.evaluation.bootstrap_groups import resampled_groups
from cmir.evaluation.probes.ground_truth import VALIDATION
from cmir.evaluation.probes.linear_probes import Array, BySeed, columns_of, linear_readout, r2
from cmir.evaluation.probes.representations import model_of
from cmir.method.training.reports import TrialResult

FOLDS = 5
# Enough for a reader of some hundred features.
MOST_READ = 4000


def label_leak(result: TrialResult, data: DevelopmentData) -> BySeed:
    """The share of the label that a linear map reads from Z_spu, by seed `(seed,)`, 0 to 1.

        leak = max(0, R^2(f_train), R^2(f_val)),
        R^2(f) = 1 - sum_i |y_i - f(Z_spu,i)|^2 / sum_i |y_i - mean(y)|^2

    over the samples i of both validation splits, none of which the network was trained on. f_train
    is a ridge regression (`linear_readout`) on training samples; f_val reads each sample with one
    on the validation samples outside of its fold. Folds hold whole groups, so that the label is not
    read by telling who speaks. Numbers are one column of y, several labels one each, classes an
    indicator each.

    Two readers, because each is blind where the other sees: on training samples nothing is left to
    learn where the label was erased on just those (`loss.label_erasure`), and a few hundred
    validation samples are too few for what is faint.

    At most 4000 samples are fitted on and read, drawn without replacement.

    Args:
        result: of a finished training.
        data: that it was trained on.
    """
    rows, labels, groups = validation_samples(data)
    model, fold = model_of(result, data), folds_of(groups, FOLDS)
    chosen = _drawn(len(data.train))
    learned = label_columns(data.train, data.task)[chosen]
    known = model.parts(data, data.train.rows[chosen]).spurious
    seeds = zip(known, model.parts(data, rows).spurious, strict=True)
    # Products of this size gain nothing from a second thread, and wait for it where others run.
    with threadpool_limits(1):
        return np.array([_leak(train, learned, read, labels, fold) for train, read in seeds])


def validation_samples(data: DevelopmentData) -> tuple[np.ndarray, Array, np.ndarray]:
    """Rows, label columns and groups of what is read: both validation splits, `(n, ...)` each."""
    splits = [data.splits[name] for name in VALIDATION]
    rows = np.concatenate([split.rows for split in splits])
    labels = np.concatenate([label_columns(split, data.task) for split in splits])
    groups = np.concatenate(_named_groups(splits))
    read = _drawn(len(rows))
    return rows[read], labels[read], groups[read]


def label_columns(split: SplitData, task: Task) -> Array:
    """Labels as numbers `(n, columns)`: classes as an indicator each."""
    if task.kind in ("binary", "classes"):
        indicators: Array = np.eye(max(2, len(task.names)))[split.labels.astype(int)]
        return indicators
    return columns_of(split.labels.astype(float))


def _named_groups(splits: list[SplitData]) -> list[np.ndarray]:
    """Groups of each split `(n,)`, the same one by the same name where a column names them."""
    columns = {resampled_groups(split).what for split in splits}
    if len(columns) == 1 and (column := columns.pop()) != "sample":
        return [split.named(column) for split in splits]
    return [split.rows for split in splits]


def _drawn(count: int) -> np.ndarray:
    return np.sort(np.random.default_rng(0).permutation(count)[:MOST_READ])


def _leak(known: Array, learned: Array, spurious: Array, labels: Array, fold: np.ndarray) -> float:
    (by_training,) = linear_readout(known, {"label": learned}, spurious)
    read = np.zeros_like(labels)
    for one in np.unique(fold):
        held = fold == one
        (told,) = linear_readout(spurious[~held], {"label": labels[~held]}, spurious[held])
        read[held] = told["label"]
    return max(0.0, r2(labels, by_training["label"]), r2(labels, read))
