"""The penalties by name: what each takes of a batch, and what it remembers from step to step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cmir.config import TrialConfig
from cmir.extensions import penalty
from cmir.method.losses.class_losses import Loss
from cmir.method.losses.penalties import coral, fishr, group_dro, irm, vrex

Penalised = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class PenaltyBatch:
    """What a penalty may look at in one training step.

    Attributes:
        errors: `(replica, batch)`, the prediction loss of each sample.
        scores: `(replica, batch)`, predictions in label units, or logits; of a task with names
            `(replica, batch, C)`.
        labels: `(replica, batch)`; of several labels `(replica, batch, C)`.
        invariant: Z_inv, `(replica, modality, batch, d)`.
        last_hidden: `(replica, batch, d')`, the inputs of the predictor's last layer.
        groups: `(replica, batch)`, the environment of each sample, in [0, count).
        count: number of environments of the partition; some may be absent from a batch.
        loss: the prediction loss.
        step: `loss.group_dro_step`, `(replica,)`.
        memory: `(replica, environment, numbers)`, what the penalty returned the step before.
    """

    errors: Tensor
    scores: Tensor
    labels: Tensor
    invariant: Tensor
    last_hidden: Tensor
    groups: Tensor
    count: int
    loss: Loss
    step: Tensor
    memory: Tensor


@penalty("vrex")
def _vrex(batch: PenaltyBatch) -> Penalised:
    return vrex(batch.errors, batch.groups, batch.count), batch.memory


@penalty("irm")
def _irm(batch: PenaltyBatch) -> Penalised:
    value = irm(batch.scores, batch.labels, batch.groups, batch.count, batch.loss)
    return value, batch.memory


def _equal_weights(count: int, config: TrialConfig) -> Tensor:
    return torch.full((count, 1), 1 / count)


@penalty("group_dro", memory=_equal_weights, is_share=True)
def _group_dro(batch: PenaltyBatch) -> Penalised:
    """What the loss of GroupDRO adds to the mean error."""
    weights = batch.memory.squeeze(-1)
    worst, weights = group_dro(batch.errors, batch.groups, batch.count, weights, batch.step)
    return worst - batch.errors.mean(1), weights[..., None]


@penalty("coral")
def _coral(batch: PenaltyBatch) -> Penalised:
    return coral(batch.invariant, batch.groups, batch.count).sum(1), batch.memory


def _no_average(count: int, config: TrialConfig) -> Tensor:
    """The weight that the average has gathered; `fishr` puts its sums before it."""
    return torch.zeros(count, 1)


@penalty("fishr", memory=_no_average)
def _fishr(batch: PenaltyBatch) -> Penalised:
    return fishr(
        batch.scores,
        batch.labels,
        batch.last_hidden,
        batch.groups,
        batch.count,
        batch.loss,
        batch.memory,
    )
