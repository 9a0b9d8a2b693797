"""Gradient modulation for modalities that learn at unequal speed (OGM-GE).

Peng et al. 2022, "Balanced Multimodal Learning via On-the-fly Gradient Modulation".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from cmir.config import TrialConfig
from cmir.method.losses.class_losses import Loss
from cmir.method.losses.constraints import prediction_errors
from cmir.method.networks.features import Inputs
from cmir.method.networks.model import Network, Weights
from cmir.method.networks.replicas import draw_normal
from cmir.sections.training_config import DEFAULT_MODULATION

FEWEST_MODALITIES = 2


@dataclass(frozen=True)
class Modulation:
    """How the gradients of each modality's networks are scaled.

    Attributes:
        network: whose predictor judges the modalities.
        loss: the prediction loss.
        strength: alpha of Eq. 10.
        has_noise: whether noise is added to the gradients (generalisation enhancement, Eq. 13).
    """

    network: Network
    loss: Loss
    strength: float
    has_noise: bool

    def on(
        self,
        weights: Weights,
        inputs: Mapping[str, Inputs],
        labels: Tensor,
        generators: Sequence[torch.Generator],
    ) -> Callable[[Mapping[str, Tensor]], None]:
        """What changes the gradients of a step on a batch."""
        found = self.coefficients(weights, inputs, labels)
        return partial(self.change, coefficients=found, generators=generators)

    def coefficients(
        self, weights: Weights, inputs: Mapping[str, Inputs], labels: Tensor
    ) -> Tensor:
        """k of each modality on a batch, `(replica, modality)`."""
        with torch.no_grad():
            features = self.network.unimodal(weights, inputs)
            invariant = self.network.encode(weights, features)
            scores = modality_scores(self.network, weights, invariant)
            return slowed(likelihoods(scores, labels, self.loss).mean(2), self.strength)

    def change(
        self,
        gradients: Mapping[str, Tensor],
        coefficients: Tensor,
        generators: Sequence[torch.Generator],
    ) -> None:
        """Scales the gradients of unimodal networks and encoders in place, and adds the noise."""
        for name, gradient in gradients.items():
            own = self._of(name, coefficients)
            if own is None:
                continue
            axes = tuple(range(own.ndim, gradient.ndim))
            spread = gradient.std(axes, correction=0, keepdim=True) if self.has_noise else None
            gradient.mul_(own.view(*own.shape, *[1] * len(axes)))
            if spread is not None:
                gradient.add_(spread * draw_normal(generators, gradient.shape[1:]))

    def _of(self, name: str, coefficients: Tensor) -> Tensor | None:
        """The coefficients of a weight by its leading axes; None where it is of no modality."""
        part, _, rest = name.partition(".")
        if part == "encoder":
            return coefficients
        names = list(self.network.sizes)
        owner = rest.partition(".")[0]
        return coefficients[:, names.index(owner)] if part == "unimodal" else None


def modulation_of(config: TrialConfig, network: Network, loss: Loss) -> Modulation | None:
    """The modulation that a configuration asks for, if any."""
    training = config.training
    if training.modulation == "none":
        return None
    given = training.modulation_strength
    strength = DEFAULT_MODULATION if given is None else given
    return Modulation(network, loss, strength, training.modulation == "ogm_ge")


def modality_scores(network: Network, weights: Weights, invariant: Tensor) -> Tensor:
    """What the predictor says of one modality alone, the others at their mean over the batch.

    In the paper the predictor is linear, and half of its bias is each modality's. Here it is not,
    and zeros in place of the others are no input that it knows.

    Args:
        network: with the predictor.
        weights: by name, `(replica, ...)`.
        invariant: `(replica, modality, batch, d)`.

    Returns:
        `(replica, modality, batch)`, with names `(replica, modality, batch, C)`.
    """
    shares = network.shares(weights, invariant)
    means = shares.mean(2, keepdim=True)
    total = shares - means + means.sum(1, keepdim=True)
    hidden = network.last_hidden_of_shares(weights, total.flatten(1, 2))
    scores = network.score(weights, hidden)
    return scores.view(*invariant.shape[:3], *scores.shape[2:])


def likelihoods(scores: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """How likely each modality holds the label: exp(-error), in (0, 1].

    Of classes the chance of the right one (Peng et al. 2022, Eq. 8), of yes and no likewise, of
    several labels their geometric mean. Of a number it is exp(-(f - y)^2 / (2 s^2)), with s the
    standard deviation of the batch's labels: a normal density up to its constant, as a chance is
    the density of a name. Ours; the paper has classes only.

    Args:
        scores: `(replica, modality, batch)`, with names `(..., C)`.
        labels: `(replica, batch)`, of several at once `(replica, batch, C)`.
        loss: the prediction loss.

    Example:
        >>> likelihoods(torch.tensor([[[0.0, 2.0]]]), torch.tensor([[1.0, 3.0]]), "mae")
        tensor([[[0.6065, 0.6065]]])
    """
    if loss in ("mse", "mae"):
        spread = labels.var(1, correction=0).clamp(min=1e-12)[:, None, None]
        return torch.exp(-(scores - labels[:, None]).square() / (2 * spread))
    return torch.exp(-prediction_errors(scores, labels[:, None], loss))


def slowed(levels: Tensor, strength: float) -> Tensor:
    """k = 1 - tanh(alpha rho) where rho is above 1, else 1 (Peng et al. 2022, Eq. 9-10).

    rho is a modality's likelihood over the mean of the others', which for two is the paper's ratio.

    Args:
        levels: `(replica, modality)`.
        strength: alpha.

    Example:
        >>> slowed(torch.tensor([[0.5, 0.25]]), 0.5)
        tensor([[0.2384, 1.0000]])
    """
    others = (levels.sum(1, keepdim=True) - levels) / (levels.shape[1] - 1)
    ratio = levels / others.clamp(min=1e-12)
    return torch.where(ratio > 1, 1 - torch.tanh(strength * ratio), 1.0)
