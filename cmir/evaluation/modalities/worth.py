"""What each modality is worth to a trained model, in known and in new groups.

Three numbers of a paired intervention on every sample: what the error grows by without the
modality (gain), how the label goes with what the modality does by itself (link), and how far
predictions move (moves). Of a spurious modality the link is lost in new groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from cmir.data import DevelopmentData, SplitData
from cmir.data.task import Task
from cmir.evaluation.bootstrap_groups import resampled_groups
from cmir.evaluation.modalities.estimates import Estimate, estimate_of
from cmir.evaluation.modalities.replaced_modalities import Intervened, Replaced
from cmir.evaluation.probes.representations import TrainedModel
from cmir.metrics.metric_inputs import FloatArray

VALIDATION = ("id_val", "ood_val")


@dataclass(frozen=True)
class Worth:
    """Of one modality to one model, in one split.

    Attributes:
        link: correlation of the label with what the modality by itself does to the prediction, the
            others averaged out: whatever they do in the split is not in it.
        gain: what the mean squared error grows by when the modality is averaged out, in shares
            of the error of a constant: above 0 where the model is better with it.
        moves: root mean square change of the predictions when it comes from one other sample, in
            their standard deviations: 0 where they do not follow it, about 1.4 where they follow
            nothing else.
    """

    link: Estimate
    gain: Estimate
    moves: Estimate


Worths = Mapping[str, Mapping[str, Worth]]


def worths(model: TrainedModel, data: DevelopmentData, seed: int = 0) -> Worths:
    """Validation split -> modality -> its worth; trains nothing and sees no other split.

    Labels with names are judged by the probabilities that the model gives: the error is then the
    Brier score, and a link is over all names together.

    Args:
        model: a trained model, whose epochs should not have been chosen on `ood_val`.
        data: that it was trained on.
        seed: of whose vectors are put in place.
    """
    random = np.random.default_rng(seed)
    constant = _constant_error(data)
    return {name: _worths(model, data, data.splits[name], constant, random) for name in VALIDATION}


def gains(before: FloatArray, without: Replaced, targets: FloatArray) -> FloatArray:
    """What the squared error of each sample grows by, `(seed, n)`, free of the draws' own noise.

    (y - f_m)^2 - (y - f)^2 with f_m the mean over draws, less the variance that f_m still has.

    Args:
        before: predictions f `(seed, n, C)`.
        without: the modality averaged out.
        targets: y `(n, C)`.
    """
    after = np.square(targets - without.mean) - without.variance
    grown: FloatArray = (after - np.square(targets - before)).sum(axis=-1)
    return grown


def links(alone: FloatArray, targets: FloatArray) -> FloatArray:
    """Values `(seed, n)` whose mean is the correlation, and whose spread is that of its error.

    r + u v - r (u^2 + v^2) / 2 with u and v standardised (the influence function of r); 0 where
    nothing varies.

    Args:
        alone: what a modality by itself does to predictions `(seed, n, C)`.
        targets: y `(n, C)`.
    """
    own, wanted = _centred(alone), _centred(targets[None])
    together = (own * wanted).sum(axis=-1)
    correlation = together.mean(axis=1, keepdims=True)
    squares = np.square(own).sum(axis=-1) + np.square(wanted).sum(axis=-1)
    values: FloatArray = correlation + together - correlation * squares / 2
    return values


def expected(scores: npt.ArrayLike, task: Task) -> FloatArray:
    """Scores `(seed, n)` or `(seed, n, C)` as numbers or probabilities, `(seed, n, C)`."""
    given = np.asarray(scores, np.float64)
    if task.kind == "classes":
        return np.asarray(special.softmax(given, axis=-1))
    wide = given if given.ndim > 2 else given[..., None]
    return wide if task.kind == "regression" else np.asarray(special.expit(wide))


def targets_of(labels: npt.ArrayLike, task: Task) -> FloatArray:
    """Labels as `expected` has predictions, `(n, C)`; classes as 0 and 1 for each."""
    if task.kind == "classes":
        return np.asarray(np.eye(task.outputs)[np.asarray(labels, np.int64)])
    values = np.asarray(labels, np.float64)
    return values if values.ndim > 1 else values[:, None]


def _worths(
    model: TrainedModel,
    data: DevelopmentData,
    split: SplitData,
    constant: float,
    random: np.random.Generator,
) -> dict[str, Worth]:
    invariant, _ = model.encode_by_modality(model.vectors(data, split.rows))
    before = expected(model.predicted(invariant), data.task)
    asked = Intervened(invariant, lambda z: expected(model.predicted(z), data.task), before)
    targets, codes = targets_of(split.labels, data.task), resampled_groups(split).codes
    variance = before.var(axis=1).sum(axis=-1)
    spread = np.where(variance > 0, variance, np.inf)[:, None]
    found = {}
    for place, modality in enumerate(model.network.sizes):
        without, alone = asked.without(place, random), asked.alone(place, random)
        found[modality] = Worth(
            link=estimate_of(links(alone, targets), codes),
            gain=estimate_of(gains(before, without, targets) / constant, codes),
            moves=_root(estimate_of(without.moved.sum(axis=-1) / spread, codes)),
        )
    return found


def _constant_error(data: DevelopmentData) -> float:
    """The squared error of the best constant on the training split: one unit for both splits."""
    targets = targets_of(data.train.labels, data.task)
    return float(np.square(targets - targets.mean(axis=0)).sum(axis=1).mean())


def _centred(values: FloatArray) -> FloatArray:
    """Values `(seed, n, C)` around their mean, of unit variance over all C together."""
    around = values - values.mean(axis=1, keepdims=True)
    spread = np.sqrt(np.square(around).sum(axis=-1).mean(axis=1))[:, None, None]
    return np.asarray(around / np.where(spread > 1e-9, spread, np.inf))


def _root(squared: Estimate) -> Estimate:
    """Of a mean square, its interval likewise."""
    value, low, high = np.sqrt(np.clip([squared.value, squared.low, squared.high], 0.0, None))
    error = squared.error / (2 * value) if value > 0 else 0.0
    return Estimate(
        float(value), float(low), float(high), float(error), squared.degrees, squared.groups
    )
