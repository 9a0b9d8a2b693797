"""Losses over names: softmax cross-entropy of classes, binary cross-entropy of several labels.

Scores are logits with a last axis over the C names, `(replica, ..., batch, C)`. Errors have no such
axis, so that whatever weighs, averages or compares errors of samples works on them unchanged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from cmir.config import LossConfig, PredictionLoss
from cmir.data.task import Task


@dataclass(frozen=True, eq=False)
class ClassLoss:
    """Eq. 2 of Mai and Han 2026 for names, with weights and smoothing.

    Attributes:
        kind: `cross_entropy` of classes, labels `(replica, ..., batch)` their numbers;
            `label_bce` of several labels, `(replica, ..., batch, C)` of 0 and 1, averaged over C.
        weights: `(C,)`; of classes the weight of a sample by its class, of several labels that of a
            label where it holds. None: 1 each.
        smoothing: share of every target that is spread evenly over the classes, or over yes and no
            (Szegedy et al. 2016, Sec. 7).
    """

    kind: Literal["cross_entropy", "label_bce"]
    weights: Tensor | None = None
    smoothing: float = 0.0

    def errors(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The error of each sample, `(replica, ..., batch)`.

        Args:
            scores: `(replica, ..., batch, C)`.
            labels: broadcastable to them, of classes without the last axis.

        Example:
            >>> loss = ClassLoss("cross_entropy")
            >>> loss.errors(torch.zeros(1, 1, 4), torch.tensor([[2.0]])).exp()
            tensor([[4.]])
        """
        targets, weights = self._targets(scores, labels), self._weights(scores, labels)
        if self.kind == "cross_entropy":
            errors = -(targets * scores.log_softmax(-1)).sum(-1)
            return errors if weights is None else weights * errors
        each = functional.binary_cross_entropy_with_logits(scores, targets, reduction="none")
        return (each if weights is None else weights * each).mean(-1)

    def slopes(self, scores: Tensor, labels: Tensor) -> Tensor:
        """d error / d score of each sample, in the shape of the scores: w (p - target)."""
        targets, weights = self._targets(scores, labels), self._weights(scores, labels)
        slopes = probabilities(scores, self.kind) - targets
        if self.kind == "label_bce":
            return (slopes if weights is None else weights * slopes) / scores.shape[-1]
        return slopes if weights is None else weights[..., None] * slopes

    def _targets(self, scores: Tensor, labels: Tensor) -> Tensor:
        if self.kind == "label_bce":
            even = 0.5
            targets = labels.expand_as(scores)
        else:
            even = 1 / scores.shape[-1]
            numbers = labels.expand(scores.shape[:-1]).long()
            targets = functional.one_hot(numbers, scores.shape[-1]).to(scores.dtype)
        return targets if self.smoothing == 0 else targets + self.smoothing * (even - targets)

    def _weights(self, scores: Tensor, labels: Tensor) -> Tensor | None:
        """Of classes `(replica, ..., batch)`, of several labels in the shape of the scores."""
        if self.weights is None:
            return None
        own = self.weights.to(scores)
        if self.kind == "label_bce":
            return 1 + labels.expand_as(scores) * (own - 1)
        return own[labels.expand(scores.shape[:-1]).long()]


Loss = PredictionLoss | ClassLoss


def class_loss(loss: Loss) -> ClassLoss | None:
    """The loss over names that is meant; None where scores are one number for each sample."""
    if isinstance(loss, ClassLoss):
        return loss
    return ClassLoss(loss) if loss in ("cross_entropy", "label_bce") else None


def probabilities(scores: Tensor, kind: str) -> Tensor:
    """Of each name, in the shape of the scores: softmax of classes, sigmoids of several labels."""
    return scores.softmax(-1) if kind == "cross_entropy" else scores.sigmoid()


def divergence(scores: Tensor, others: Tensor, kind: str) -> Tensor:
    """Kullback-Leibler divergence of two predictions, the mean of both directions.

    For classes sum_c (p_c - q_c)(f_c - g_c) / 2 with logits f and g, whose normalisers cancel as
    p and q both sum to 1; for several labels the sum over the Bernoulli variables of the same.

    Args:
        scores: f, `(..., C)`.
        others: g, in the same shape.
        kind: of the loss.

    Returns:
        `(...)`.
    """
    chances = probabilities(scores, kind) - probabilities(others, kind)
    return (chances * (scores - others)).sum(-1) / 2


def label_contrasts(labels: Tensor, loss: Loss, names: int) -> Tensor:
    """Labels as centred columns whose products with features give shares of their variance.

    A number becomes one column of variance 1; classes get (1[y = c] - p_c) / sqrt(p_c) each with
    p_c the share of the class in the batch; of several labels each is a number, over sqrt(C).

    Args:
        labels: `(..., batch)`, of several labels `(..., batch, C)`.
        loss: tells what they are.
        names: C.

    Returns:
        `(..., batch, q)` with q = 1 or C.
    """
    kind = named.kind if (named := class_loss(loss)) else None
    if kind == "cross_entropy":
        columns = functional.one_hot(labels.long(), names).to(torch.get_default_dtype())
        share = columns.mean(-2, keepdim=True)
        return (columns - share) * share.clamp(min=1e-12).rsqrt()
    columns = labels if kind == "label_bce" else labels[..., None]
    centred = columns - columns.mean(-2, keepdim=True)
    deviation = centred.square().mean(-2, keepdim=True).clamp(min=1e-12).sqrt()
    scale: Tensor = deviation * math.sqrt(columns.shape[-1])
    return centred / scale


def loss_of(kind: PredictionLoss, config: LossConfig, task: Task, labels: npt.ArrayLike) -> Loss:
    """The prediction loss of a training, with the weights of the classes where they are asked for.

    Args:
        kind: resolved.
        config: `class_weights` and `label_smoothing`.
        task: what is learned.
        labels: of the training samples.
    """
    if kind not in ("cross_entropy", "label_bce"):
        return kind
    weights = None
    if config.class_weights == "balanced":
        weights = torch.from_numpy(balanced_weights(labels, task))
    return ClassLoss(kind, weights, config.label_smoothing)


def balanced_weights(labels: npt.ArrayLike, task: Task) -> npt.NDArray[np.float32]:
    """Weights `(C,)` that let every name count alike.

    Of classes n / (C n_c), so that their mean over the samples is 1 where every class occurs; 0
    where one does not. Of several labels n_without / n_with, for the samples that have it.

    Example:
        >>> balanced_weights([0, 0, 0, 1], Task("classes", names=("a", "b")))
        array([0.6666667, 2.       ], dtype=float32)
    """
    values = np.asarray(labels, np.float64)
    if task.kind == "multilabel":
        held = values.sum(axis=0)
        return np.asarray((len(values) - held) / np.maximum(held, 1), np.float32)
    counts = np.bincount(values.astype(np.int64), minlength=len(task.names))
    share = len(values) / (len(task.names) * np.maximum(counts, 1))
    return np.asarray(np.where(counts > 0, share, 0.0), np.float32)
