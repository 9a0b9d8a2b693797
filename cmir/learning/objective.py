"""One training step's objective: the terms of Eq. 9 and the risk variance, per replica."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from cmir.config import TrialConfig
from cmir.learning.environments import VIEWS
from cmir.learning.features import Inputs
from cmir.learning.losses import (
    decorrelation,
    invariance,
    prediction_errors,
    reconstruction,
    risk_variance,
)
from cmir.learning.model import Network, Weights

PredictionLoss = Literal["mse", "mae", "bce"]
CONSTRAINTS = ("invariance", "mutual_information", "reconstruction", "risk_variance")


@dataclass(frozen=True)
class ReplicaSettings:
    """What may differ between the replicas of a stack; tensors with a leading replica axis.

    Attributes:
        invariance: lambda_1 `(replica,)`; the next two are lambda_2 and lambda_3.
        off_diagonal: alpha of Eq. 6, `(replica,)`.
        risk_variance: beta of V-REx, `(replica,)`.
        rates: `(replica, modality)`: alpha_1 * rate for noise, the rate for erase and swap.
    """

    invariance: Tensor
    mutual_information: Tensor
    reconstruction: Tensor
    off_diagonal: Tensor
    risk_variance: Tensor
    rates: Tensor

    def at(self, replicas: Tensor) -> ReplicaSettings:
        """The settings of the chosen replicas."""
        return replace(self, **{f.name: getattr(self, f.name)[replicas] for f in fields(self)})

    def active(self) -> tuple[str, ...]:
        """The constraints whose weight is above zero in some replica."""
        return tuple(name for name in CONSTRAINTS if bool((getattr(self, name) > 0).any()))


def replica_settings(
    configs: Sequence[TrialConfig], modalities: Sequence[str], device: torch.device
) -> ReplicaSettings:
    """Settings of a stack whose replica r follows `configs[r]`."""
    losses = {
        name: torch.tensor([getattr(config.loss, name) for config in configs], device=device)
        for name in (*CONSTRAINTS, "off_diagonal")
    }
    rates = [[_rate(config, modality) for modality in modalities] for config in configs]
    return ReplicaSettings(**losses, rates=torch.tensor(rates, device=device))


@dataclass(frozen=True)
class Batch:
    """The samples of one step: labels and groups are `(replica, batch)`."""

    inputs: Mapping[str, Inputs]
    labels: Tensor
    groups: Tensor


@dataclass(frozen=True)
class Objective:
    """The terms of a configuration's loss on a batch.

    Attributes:
        network: whose weights are trained.
        config: gives the structural settings: views, readings, prediction loss.
        loss: the prediction loss, resolved.
        environments: number of groups of the partition.
    """

    network: Network
    config: TrialConfig
    loss: PredictionLoss
    environments: int = 1

    def terms(
        self,
        weights: Weights,
        batch: Batch,
        settings: ReplicaSettings,
        generators: Sequence[torch.Generator],
        wanted: Sequence[str],
    ) -> dict[str, Tensor]:
        """The unweighted terms, each `(replica,)`: `prediction` and the wanted constraints.

        The clean samples run through their own chain of products, whatever else is wanted, so
        that a constraint of weight zero changes no bit of the training.
        """
        network, loss = self.network, self.config.loss
        features = network.unimodal(weights, batch.inputs)
        hidden = network.hidden(weights, features)
        invariant = network.invariant(weights, hidden)
        errors = prediction_errors(network.predict(weights, invariant), batch.labels, self.loss)
        terms: dict[str, Tensor] = {}
        if self._needs_views(wanted):
            views = self._views(weights, features, settings, generators)
            if loss.prediction_views == "all":
                errors = self._mean_over_views(weights, views, errors, batch.labels)
            if "invariance" in wanted:
                every = torch.cat([invariant[:, :, None], views], dim=2)
                terms["invariance"] = invariance(every, loss.reduction).sum(1)
        elif "invariance" in wanted:
            terms["invariance"] = errors.new_zeros(errors.shape[0])
        if "mutual_information" in wanted or "reconstruction" in wanted:
            spurious = network.spurious(weights, hidden)
        if "mutual_information" in wanted:
            alpha = settings.off_diagonal[:, None]
            terms["mutual_information"] = decorrelation(
                invariant, spurious, alpha, loss.normalise, loss.reduction
            ).sum(1)
        if "reconstruction" in wanted:
            rebuilt = network.reconstruct(weights, invariant, spurious)
            terms["reconstruction"] = reconstruction(features, rebuilt, loss.reduction).sum(1)
        if "risk_variance" in wanted:
            terms["risk_variance"] = risk_variance(errors, batch.groups, self.environments)
        return {"prediction": errors.mean(1), **terms}

    def _needs_views(self, wanted: Sequence[str]) -> bool:
        used = "invariance" in wanted or self.config.loss.prediction_views == "all"
        return used and self.config.environments.views > 0

    def _views(
        self,
        weights: Weights,
        features: Tensor,
        settings: ReplicaSettings,
        generators: Sequence[torch.Generator],
    ) -> Tensor:
        """Z_inv of the K perturbed copies: `(replica, modality, view, batch, d)`."""
        environments = self.config.environments
        scheme = VIEWS[environments.view]
        perturbed = scheme(features, environments.views, settings.rates, generators)
        hidden = self.network.hidden(weights, perturbed.flatten(2, 3))
        return self.network.invariant(weights, hidden).view(perturbed.shape)

    def _mean_over_views(
        self, weights: Weights, views: Tensor, clean: Tensor, labels: Tensor
    ) -> Tensor:
        """Errors `(replica, batch)` averaged over the clean sample and its views."""
        count, batch = views.shape[2:4]
        scores = self.network.predict(weights, views.flatten(2, 3)).view(-1, count, batch)
        noisy = prediction_errors(scores, labels[:, None], self.loss)
        return (clean + noisy.sum(1)) / (count + 1)


def weighted_sum(
    terms: Mapping[str, Tensor], settings: ReplicaSettings, risk_variance_counts: bool
) -> Tensor:
    """Eq. 9 with the risk variance: `(replica,)`.

    Once the risk variance counts, the whole is divided by its weight where that is above 1, so
    that a large weight does not act as a large learning rate (Krueger et al. 2021, Sec. 4).
    """
    total = terms["prediction"]
    for name in CONSTRAINTS[:3]:
        if name in terms:
            total = total + getattr(settings, name) * terms[name]
    if risk_variance_counts and "risk_variance" in terms:
        beta = settings.risk_variance
        total = (total + beta * terms["risk_variance"]) / beta.clamp(min=1)
    return total


def prediction_loss(config: TrialConfig, task: str) -> PredictionLoss:
    """The prediction loss: as configured, else squared error or binary cross-entropy by task."""
    if config.loss.prediction == "auto":
        return "bce" if task == "binary" else "mse"
    return config.loss.prediction


def _rate(config: TrialConfig, modality: str) -> float:
    environments = config.environments
    scale = environments.noise_strength if environments.view == "noise" else 1.0
    return scale * environments.rate_of(modality)
