"""How strong a shift is: what a plain model of one modality loses by it.

A ridge model of each modality, and of the words, is fitted to the training split; its correlation
with the label is taken on `id_val` and on `ood_val`. For comparison the same samples are split anew
at random, with the same sizes and label histograms: what is lost there as well is no shift.
Held-out labels are not looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import Ridge

from cmir.data.dataset import DevelopmentData
from cmir.data.shifts.association import word_counter
from cmir.data.shifts.word_bias import label_bins

WORDS = "words"
RANDOM_SPLITS = 5
# Of standardised features, and of words that a text holds or does not.
PENALTY, WORD_PENALTY = 100.0, 10.0

FloatArray = npt.NDArray[np.floating[Any]]
Rows = npt.NDArray[np.int64]
Fit = Callable[[Rows, Rows], FloatArray]


@dataclass(frozen=True)
class Strength:
    """Correlation with the label of a ridge model of one modality; of several names their mean.

    Attributes:
        inside: on `id_val`.
        outside: on `ood_val`.
        random: on the `ood_val` of each label-matched random split of the same samples.
    """

    inside: float
    outside: float
    random: tuple[float, ...]


def shift_strength(data: DevelopmentData) -> dict[str, Strength]:
    """The strength of the shift for each modality, and for the words where there are texts."""
    stacked = [split.labels for split in data.splits.values()]
    labels = np.concatenate(stacked).astype(np.float64)
    names = np.repeat(list(data.splits), [len(split) for split in data.splits.values()])
    limits = (labels.min(), labels.max()) if data.task.kind == "regression" else None
    bins = label_bins(labels, data.task.label_range or limits)
    if data.task.kind == "classes":
        labels = np.eye(len(data.task.names))[labels.astype(np.int64)]
    splits = [names, *(_redrawn(names, bins, seed) for seed in range(RANDOM_SPLITS))]
    fits = {name: feature_fit(vectors, labels) for name, vectors in split_vectors(data).items()}
    texts = _texts(data)
    if texts and any(word.strip() for word in texts):
        fits[WORDS] = _word_fit(texts, labels)
    return {name: _strength(fit, splits, labels) for name, fit in fits.items()}


def _strength(fit: Fit, splits: Sequence[npt.NDArray[np.str_]], labels: FloatArray) -> Strength:
    def score(names: npt.NDArray[np.str_], split: str) -> float:
        rows = np.flatnonzero(names == split)
        return _correlation(fit(np.flatnonzero(names == "train"), rows), labels[rows])

    own, *random = splits
    return Strength(
        score(own, "id_val"), score(own, "ood_val"), tuple(score(n, "ood_val") for n in random)
    )


def _redrawn(names: npt.NDArray[np.str_], bins: Rows, seed: int) -> npt.NDArray[np.str_]:
    """The names dealt anew within each label bin: same sizes, same label histograms."""
    rng = np.random.default_rng([seed, 2024])
    dealt = names.copy()
    for value in np.unique(bins):
        rows = np.flatnonzero(bins == value)
        dealt[rows] = names[rng.permutation(rows)]
    return dealt


def split_vectors(data: DevelopmentData) -> dict[str, FloatArray]:
    """Vectors of each modality, pooled over steps, of the samples of all splits one by one."""
    rows = np.concatenate([split.rows for split in data.splits.values()])
    found = {}
    for name, modality in data.modalities.items():
        values = modality.array if modality.pooled is None else modality.pooled
        found[name] = np.asarray(values[rows], np.float32)
    return found


def _texts(data: DevelopmentData) -> list[str]:
    tables = [split.samples for split in data.splits.values()]
    if "raw_text" not in tables[0].columns:
        return []
    return [text or "" for table in tables for text in table["raw_text"].to_list()]


def feature_fit(vectors: FloatArray, labels: FloatArray) -> Fit:
    """What a ridge model fitted on some rows predicts on others; features standardised by those."""

    def predict(train: Rows, rows: Rows) -> FloatArray:
        mean, std = vectors[train].mean(axis=0), vectors[train].std(axis=0)
        # Of few samples some features are constant, and some values are far out.
        scaled = np.clip((vectors - mean) / np.where(std > 0, std, 1), -10, 10)
        predicted: FloatArray = _ridge(PENALTY, scaled, labels, train).predict(scaled[rows])
        return predicted

    return predict


def _word_fit(texts: Sequence[str], labels: FloatArray) -> Fit:
    def predict(train: Rows, rows: Rows) -> FloatArray:
        counter = word_counter(texts).fit([texts[row] for row in train])
        words = counter.transform(texts)
        predicted: FloatArray = _ridge(WORD_PENALTY, words, labels, train).predict(words[rows])
        return predicted

    return predict


def _ridge(penalty: float, inputs: FloatArray, labels: FloatArray, train: Rows) -> Ridge:
    return Ridge(penalty).fit(inputs[train], labels[train])


def _correlation(predicted: FloatArray, labels: FloatArray) -> float:
    """Pearson's r, of columns its mean over those that vary; 0 where either is constant."""
    if labels.ndim == 2:
        varied = [c for c in range(labels.shape[1]) if len(labels) and np.ptp(labels[:, c]) > 0]
        found = [_correlation(predicted[:, column], labels[:, column]) for column in varied]
        return float(np.mean(found)) if found else 0.0
    if len(labels) < 2 or np.ptp(predicted) == 0 or np.ptp(labels) == 0:
        return 0.0
    return float(np.corrcoef(predicted, labels)[0, 1])
