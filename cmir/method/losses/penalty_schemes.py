"""The penalties by name: what each takes of a batch, and what it remembers from step to step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor

from cmir.config import Section, TrialConfig
from cmir.extensions import penalty
from cmir.method.losses.adversaries import adversary_parts, confounded, dann
from cmir.method.losses.class_losses import Loss
from cmir.method.losses.constraints import prediction_errors
from cmir.method.losses.discrepancy import mmd
from cmir.method.losses.mixing import mixed, of_partners, partners, shares
from cmir.method.losses.penalties import coral, fishr, group_dro, irm, vrex
from cmir.method.networks.model import Network, Weights
from cmir.method.networks.replicas import Part, draw_normal

Penalised = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class PenaltyBatch:
    """What a penalty may look at in one training step.

    Attributes:
        errors: `(replica, batch)`, the prediction loss of each sample.
        scores: `(replica, batch)`, predictions in label units, or logits; of a task with names
            `(replica, batch, C)`.
        labels: `(replica, batch)`; of several labels `(replica, batch, C)`.
        features: X_m, the unimodal vectors, `(replica, modality, batch, d)`.
        invariant: Z_inv, `(replica, modality, batch, d)`.
        last_hidden: `(replica, batch, d')`, the inputs of the predictor's last layer.
        groups: `(replica, batch)`, the environment of each sample, in [0, count).
        count: number of environments of the partition; some may be absent from a batch.
        loss: the prediction loss.
        step: `loss.group_dro_step`, `(replica,)`.
        memory: `(replica, environment, numbers)`, what the penalty returned the step before.
        network: that is trained, and
        weights: all that is trained, by name, `(replica, ...)`, those of the penalty among them.
        generators: one source of randomness for each replica.
    """

    errors: Tensor
    scores: Tensor
    labels: Tensor
    features: Tensor
    invariant: Tensor
    last_hidden: Tensor
    groups: Tensor
    count: int
    loss: Loss
    step: Tensor
    memory: Tensor
    network: Network
    weights: Weights
    generators: Sequence[torch.Generator]

    @property
    def joined(self) -> Tensor:
        """Z_inv of all modalities side by side: `(replica, batch, modality * d)`."""
        return self.invariant.transpose(1, 2).flatten(2)


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


@penalty("mmd")
def _mmd(batch: PenaltyBatch) -> Penalised:
    return mmd(batch.joined, batch.groups, batch.count), batch.memory


def _adversary(network: Network, count: int) -> dict[str, Part]:
    inputs = len(network.sizes) * network.config.invariant_width
    return adversary_parts(inputs, network.config.hidden_size, count)


@penalty("dann", parts=_adversary)
def _dann(batch: PenaltyBatch) -> Penalised:
    return dann(batch.weights, batch.joined, batch.groups), batch.memory


class SalSettings(Section):
    """Of select-additive learning."""

    noise: float = Field(1.0, gt=0.0, description="strength, as multiples of what is selected")
    sparsity: float = Field(0.1, ge=0.0, description="lambda, in standard deviations")


@penalty("sal", memory=_no_average, is_share=True, settings=SalSettings)
def _sal(batch: PenaltyBatch, settings: SalSettings) -> Penalised:
    """What the error gains by noise along what each environment has of its own.

    The addition phase of SAL: the predictor reads z + h * eps with eps ~ N(0, noise^2 I).
    """
    selected, memory = confounded(
        batch.joined, batch.groups, batch.count, settings.sparsity, batch.memory
    )
    noise = draw_normal(batch.generators, selected.shape[1:])
    added = settings.noise * noise * selected
    replicas, modalities, size, _ = batch.invariant.shape
    noisy = batch.invariant + added.view(replicas, size, modalities, -1).transpose(1, 2)
    scores = batch.network.predict(batch.weights, noisy)
    errors = prediction_errors(scores, batch.labels, batch.loss)
    return (errors - batch.errors).mean(1), memory


class MixupSettings(Section):
    """Of Mixup across environments."""

    concentration: float = Field(0.2, gt=0.0, description="alpha of Beta(alpha, alpha)")


@penalty("mixup", is_share=True, settings=MixupSettings)
def _mixup(batch: PenaltyBatch, settings: MixupSettings) -> Penalised:
    """What the error of mixed samples exceeds that of the samples by.

    lambda l(f(x~), y_i) + (1 - lambda) l(f(x~), y_j), which for squared error differs from the
    error on the mixed label by what no weight changes.
    """
    partner = partners(batch.groups, batch.generators)
    share = shares(partner.shape[1], settings.concentration, batch.generators)
    features = mixed(batch.features, partner, share)
    encoded = batch.network.encode(batch.weights, features)
    scores = batch.network.predict(batch.weights, encoded)
    own = prediction_errors(scores, batch.labels, batch.loss)
    other = prediction_errors(scores, of_partners(batch.labels, partner), batch.loss)
    return (share * own + (1 - share) * other - batch.errors).mean(1), batch.memory
