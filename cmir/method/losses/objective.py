"""One training step's objective: the terms of Eq. 9 and the environment penalty, per replica."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cmir.config import PredictionLoss, TrialConfig
from cmir.data.task import Task
from cmir.extensions import PENALTIES
from cmir.method.environments.encoded_views import Views, views_of
from cmir.method.losses.class_losses import Loss, label_contrasts
from cmir.method.losses.constraints import (
    decorrelation,
    invariance,
    prediction_errors,
    prediction_invariance,
    reconstruction,
)
from cmir.method.losses.independence import cross_covariance, explained_share, hsic
from cmir.method.losses.penalty_schemes import PenaltyBatch
from cmir.method.losses.replica_settings import TERMS, ReplicaSettings
from cmir.method.networks.features import Inputs
from cmir.method.networks.model import Network, Weights
from cmir.method.networks.replicas import Layout, linear, linear_parts, linear_relu

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """The samples of one step: labels and groups are `(replica, batch)`.

    Of several labels at once they are `(replica, batch, C)`, as scores are of a task with names.
    """

    inputs: Mapping[str, Inputs]
    labels: Tensor
    groups: Tensor


@dataclass(frozen=True)
class Clean:
    """What the network makes of a batch, nothing perturbed.

    `features`, `invariant`: `(replica, modality, batch, d)`; `hidden` `(..., d')`; `last`
    `(replica, batch, d')`, the inputs of the predictor's last layer; `scores` `(replica, batch)`,
    with names `(replica, batch, C)`.
    """

    features: Tensor
    hidden: Tensor
    invariant: Tensor
    last: Tensor
    scores: Tensor


@dataclass(frozen=True)
class Objective:
    """The terms of a configuration's loss on a batch.

    Attributes:
        network: whose weights are trained.
        config: gives the structural settings: views, forms of the constraints, prediction loss.
        loss: the prediction loss, resolved.
        groups: number of environments of the partition.
    """

    network: Network
    config: TrialConfig
    loss: Loss
    groups: int = 1

    @cached_property
    def layout(self) -> Layout:
        """What is trained: the network's weights, then those that training alone needs.

        The standard form of the invariance (Mai and Han 2026, App. H) has a unimodal predictor
        for each modality: FC(d to d') ReLU FC(d' to 1, or to the number of names). A penalty may
        have weights of its own, such as an adversary.
        """
        parts = dict(self.network.layout.parts)
        if self.config.loss.invariance_form == "predictions":
            model, count = self.config.model, len(self.network.sizes)
            outputs = self.network.outputs
            size, hidden = model.invariant_width, model.hidden_size
            parts |= linear_parts("unimodal_predictor.first", size, hidden, count)
            parts |= linear_parts("unimodal_predictor.second", hidden, outputs, count)
        own = PENALTIES[self.config.loss.penalty].parts
        if own is not None:
            parts |= own(self.network, self.groups)
        return Layout(parts)

    def start_memory(self, replicas: int, device: torch.device) -> Tensor:
        """What the penalty knows before the first step: `(replica, environment, numbers)`.

        The weights q of GroupDRO, the moving average of Fishr, nothing where a penalty has none.
        """
        memory = PENALTIES[self.config.loss.penalty].memory
        start = torch.zeros(self.groups, 0) if memory is None else memory(self.groups, self.config)
        return start.to(device).repeat(replicas, 1, 1)

    def terms(
        self,
        weights: Weights,
        batch: Batch,
        settings: ReplicaSettings,
        generators: Sequence[torch.Generator],
        wanted: Sequence[str],
        memory: Tensor,
    ) -> tuple[Terms, Tensor]:
        """The unweighted terms and the penalty's memory after this step.

        The terms, each `(replica,)`: `prediction`, the wanted constraints and, with the standard
        form of the invariance, `unimodal_prediction`. The clean samples run through their own chain
        of products, whatever else is wanted, so that a constraint of weight zero changes no bit of
        the training.
        """
        clean = self._clean(weights, batch)
        errors = prediction_errors(clean.scores, batch.labels, self.loss)
        terms: Terms = {}
        if self._needs_views(wanted):
            views = self._views(weights, clean, settings, generators)
            if self.config.loss.prediction_views == "all":
                errors = self._mean_over_views(weights, views, errors, batch.labels)
            if "invariance" in wanted:
                terms |= self._invariance(weights, clean.invariant, views.invariant, batch.labels)
        elif "invariance" in wanted:
            terms["invariance"] = errors.new_zeros(errors.shape[0])
        terms |= self._split_terms(weights, clean, batch.labels, settings, wanted)
        if "penalty" in wanted:
            rest = settings, generators, memory
            terms["penalty"], memory = self._penalty(weights, clean, errors, batch, *rest)
        return {"prediction": errors.mean(1), **terms}, memory

    def _clean(self, weights: Weights, batch: Batch) -> Clean:
        network = self.network
        features = network.unimodal(weights, batch.inputs)
        hidden = network.hidden(weights, features)
        invariant = network.invariant(weights, hidden)
        last = network.last_hidden(weights, invariant)
        return Clean(features, hidden, invariant, last, network.score(weights, last))

    def _needs_views(self, wanted: Sequence[str]) -> bool:
        used = "invariance" in wanted or self.config.loss.prediction_views == "all"
        return used and self.config.environments.views > 0

    def _views(
        self,
        weights: Weights,
        clean: Clean,
        settings: ReplicaSettings,
        generators: Sequence[torch.Generator],
    ) -> Views:
        environments = self.config.environments
        given = clean.features, environments.views, settings.rates, generators
        return views_of(self.network, weights, environments, given, clean.invariant)

    def _mean_over_views(
        self, weights: Weights, views: Views, clean: Tensor, labels: Tensor
    ) -> Tensor:
        """Errors `(replica, batch)` averaged over the clean sample and its views."""
        last = views.last_hidden(self.network, weights)
        found = self.network.score(weights, last)
        scores = found.view(len(labels), -1, labels.shape[1], *found.shape[2:])
        noisy = prediction_errors(scores, labels[:, None], self.loss)
        return (clean + noisy.sum(1)) / (scores.shape[1] + 1)

    def _invariance(self, weights: Weights, clean: Tensor, views: Tensor, labels: Tensor) -> Terms:
        """R_inv between the clean sample and its views.

        In the standard form the unimodal predictors learn from the labels alone, on
        representations held fixed, and the encoders from the invariance alone, through predictors
        held fixed: no predictor becomes constant to please the invariance.
        """
        every = torch.cat([clean[:, :, None], views], dim=2)
        loss = self.config.loss
        if loss.invariance_form == "representations":
            return {"invariance": invariance(every, loss.reduction).sum(1)}
        fixed = {name: value.detach() for name, value in weights.items()}
        outputs = self.network.outputs
        flat = _unimodal_scores(fixed, every.flatten(2, 3), outputs)
        shown = flat.view(*every.shape[:-1], *flat.shape[3:])
        learned = _unimodal_scores(weights, clean.detach(), outputs)
        errors = prediction_errors(learned, labels[:, None], self.loss)
        return {
            "invariance": prediction_invariance(shown, self.loss).sum(1),
            "unimodal_prediction": errors.mean((1, 2)),
        }

    def _split_terms(
        self,
        weights: Weights,
        clean: Clean,
        labels: Tensor,
        settings: ReplicaSettings,
        wanted: Sequence[str],
    ) -> Terms:
        """What holds the two parts apart, and what they must give back together."""
        terms: Terms = {}
        if not {"mutual_information", "reconstruction", "label_leak"} & set(wanted):
            return terms
        spurious = self.network.spurious(weights, clean.hidden)
        if "mutual_information" in wanted:
            terms["mutual_information"] = self._dependence(clean.invariant, spurious, settings)
        if "reconstruction" in wanted:
            rebuilt = self.network.reconstruct(weights, clean.invariant, spurious)
            distance = reconstruction(clean.features, rebuilt, self.config.loss.reduction)
            terms["reconstruction"] = distance.sum(1)
        if "label_leak" in wanted:
            contrasts = label_contrasts(labels, self.loss, self.network.outputs)
            terms["label_leak"] = explained_share(spurious, contrasts[:, None]).sum(1)
        return terms

    def _dependence(self, invariant: Tensor, spurious: Tensor, settings: ReplicaSettings) -> Tensor:
        loss = self.config.loss
        if loss.decorrelation == "hsic":
            return hsic(invariant, spurious).sum(1)
        if loss.decorrelation == "cross_covariance":
            return cross_covariance(invariant, spurious, loss.reduction).sum(1)
        alpha = settings.off_diagonal[:, None]
        return decorrelation(invariant, spurious, alpha, loss.normalise, loss.reduction).sum(1)

    def _penalty(
        self,
        weights: Weights,
        clean: Clean,
        errors: Tensor,
        batch: Batch,
        settings: ReplicaSettings,
        generators: Sequence[torch.Generator],
        memory: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The environment penalty `(replica,)` and its memory after this step."""
        loss = self.config.loss
        given = PenaltyBatch(
            errors=errors,
            scores=clean.scores,
            labels=batch.labels,
            features=clean.features,
            invariant=clean.invariant,
            last_hidden=clean.last,
            groups=batch.groups,
            count=self.groups,
            loss=self.loss,
            step=settings.group_dro_step,
            memory=memory,
            network=self.network,
            weights=weights,
            generators=generators,
        )
        value, memory = PENALTIES[loss.penalty].given(loss.penalty_settings)(given)
        return value, memory


def weighted_sum(
    terms: Mapping[str, Tensor], settings: ReplicaSettings, penalty_counts: bool
) -> Tensor:
    """Eq. 9 with the environment penalty: `(replica,)`.

    Once the penalty counts, the whole is divided by its weight where that is above 1, so that a
    large weight does not act as a large learning rate (Krueger et al. 2021, Sec. 4).
    """
    total = terms["prediction"]
    for name in TERMS:
        if name in terms:
            total = total + getattr(settings, name) * terms[name]
    if penalty_counts and "penalty" in terms:
        weight = settings.penalty
        total = (total + weight * terms["penalty"]) / weight.clamp(min=1)
    if "unimodal_prediction" in terms:
        # Without the invariance nobody asks the unimodal predictors: they must cost nothing.
        asked = settings.invariance > 0
        total = total + asked * terms["unimodal_prediction"]
    return total


def prediction_loss(config: TrialConfig, task: Task) -> PredictionLoss:
    """The prediction loss: as configured, else the task's own."""
    chosen = config.loss.prediction
    return task.prediction_losses[0] if chosen == "auto" else chosen


def _unimodal_scores(weights: Weights, invariant: Tensor, outputs: int) -> Tensor:
    """Each modality's own prediction, `(replica, modality, rows, d)` to `(..., rows)`.

    With several outputs they are the last axis.
    """
    hidden = linear_relu(weights, "unimodal_predictor.first", invariant)
    scores = linear(weights, "unimodal_predictor.second", hidden)
    return scores.squeeze(-1) if outputs == 1 else scores
