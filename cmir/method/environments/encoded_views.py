"""The encoder's outputs for perturbed views of a batch, of which it computes no more than it must.

The encoder sees one vector at a time. What it makes of a vector that another sample has in this
batch is known, and of an erased one it makes the same in every view: of these schemes, only noise
has to be encoded. Those of a plugin are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from cmir.config import EnvironmentsConfig
from cmir.extensions import VIEWS
from cmir.method.environments.perturbations import erased, swapped, take
from cmir.method.networks.model import Network, Weights

# What a scheme is given: features, number of views, rates, generators.
Given = tuple[Tensor, int, Tensor, Sequence[torch.Generator]]


@dataclass(frozen=True)
class Views:
    """Perturbed copies of a batch: picked from vectors that are encoded already, or encoded anew.

    Attributes:
        pick: from what a function makes of every clean vector `(replica, modality, batch, n)` and,
            where it may be picked, of the zero vector `(replica, modality, 1, n)`, to what it makes
            of the views `(replica, modality, view, batch, n)`; None where the views were encoded.
        known: Z_inv `(replica, modality, batch, d)` to pick from, or `(..., view, batch, d)`.
        nothing: Z_inv of the zero vector, if it may be picked.
    """

    pick: Callable[..., Tensor] | None
    known: Tensor
    nothing: Tensor | None = None

    @cached_property
    def invariant(self) -> Tensor:
        """Z_inv of the views: `(replica, modality, view, batch, d)`."""
        return self.known if self.pick is None else self.pick(*self._sources)

    def last_hidden(self, network: Network, weights: Weights) -> Tensor:
        """Inputs of the predictor's last layer: `(replica, view * batch, d')`.

        The first layer of the predictor adds up what it makes of each modality's vector.
        """
        if self.pick is None:
            return network.last_hidden(weights, self.known.flatten(2, 3))
        picked = self.pick(*(network.shares(weights, source) for source in self._sources))
        return network.last_hidden_of_shares(weights, picked.sum(1).flatten(1, 2))

    @property
    def _sources(self) -> tuple[Tensor, ...]:
        return (self.known,) if self.nothing is None else (self.known, self.nothing)


def views_of(
    network: Network,
    weights: Weights,
    environments: EnvironmentsConfig,
    given: Given,
    clean: Tensor,
) -> Views:
    """The K views of a batch.

    Args:
        network: whose encoder reads them.
        weights: by name, `(replica, ...)`.
        environments: name the view and its settings.
        given: what a view takes, see `cmir.extensions.view`.
        clean: Z_inv of the samples themselves, `(replica, modality, batch, d)`.
    """
    scheme = environments.view
    if scheme == "swap":
        return Views(partial(_swapped, swapped(*given)), clean)
    if scheme == "erase":
        nothing = network.encode(weights, torch.zeros_like(given[0][:, :, :1]))
        return Views(partial(_erased, erased(*given)), clean, nothing)
    perturbed = VIEWS[scheme].given(environments.view_settings)(*given)
    encoded = network.encode(weights, perturbed.flatten(2, 3))
    return Views(None, encoded.view(*perturbed.shape[:4], -1))


def _swapped(sources: Tensor, vectors: Tensor) -> Tensor:
    return take(vectors, sources)


def _erased(is_erased: Tensor, vectors: Tensor, nothing: Tensor) -> Tensor:
    return torch.where(is_erased[..., None], nothing[:, :, None], vectors[:, :, None])
