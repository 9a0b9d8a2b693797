"""A model and a block of samples, ready to be corrupted: inputs, unimodal vectors, predictions."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from cmir.extensions import UNIMODAL
from cmir.method.networks.features import Features, Inputs
from cmir.method.networks.model import Network, Weights
from cmir.method.networks.unimodal import unimodal_vector

BLOCK = 512


@dataclass(frozen=True, eq=False)
class Subject:
    """Replicas of a network and the samples that they all see.

    Attributes:
        network: the shape of the networks.
        weights: by name, `(replica, ...)`.
        inputs: standardised, `(1, n, ...)`; a sequence that the network pools may have its steps.
        seed: of all random numbers.
        block: number of this block of samples.
    """

    network: Network
    weights: Weights
    inputs: Mapping[str, Inputs]
    seed: int
    block: int

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities in the network's order."""
        return tuple(self.network.sizes)

    @cached_property
    def vectors(self) -> Tensor:
        """The clean X_m, `(replica, modality, n, d)`."""
        return torch.stack([self.vector(name, self.inputs[name]) for name in self.names], dim=1)

    def vector(self, name: str, inputs: Inputs) -> Tensor:
        """X_m of one modality for other inputs `(1, n, ...)`: `(replica, n, d)`."""
        kind = self.network.kinds[name]
        if UNIMODAL[kind].reads == "means" and inputs.mask is not None:
            inputs = _pooled(inputs)
        replicas = next(iter(self.weights.values())).shape[0]
        shared = Inputs(_repeated(inputs.values, replicas), inputs.mask)
        if inputs.mask is not None:
            shared = Inputs(shared.values, _repeated(inputs.mask, replicas))
        part = f"unimodal.{name}"
        return unimodal_vector(self.weights, part, kind, shared, self.network.config)

    def replaced(self, changed: Mapping[str, Tensor]) -> Tensor:
        """The clean vectors with those of some modalities, `(replica, n, d)`, replaced."""
        kept = zip(self.names, self.vectors.unbind(1), strict=True)
        return torch.stack([changed.get(name, vector) for name, vector in kept], dim=1)

    def predict(self, vectors: Tensor) -> Tensor:
        """Scores `(replica, rows)` of unimodal vectors `(replica, modality, rows, d)`."""
        hidden = self.network.hidden(self.weights, vectors)
        return self.network.predict(self.weights, self.network.invariant(self.weights, hidden))

    def source(self, purpose: str) -> torch.Generator:
        """Random numbers of this block for one purpose, on the CPU: alike on every device."""
        state = np.random.SeedSequence([self.seed, self.block, zlib.crc32(purpose.encode())])
        return torch.Generator().manual_seed(int(state.generate_state(1, np.uint64)[0] >> 1))


def subjects(
    network: Network,
    weights: Weights,
    features: Features,
    rows: np.ndarray,
    device: torch.device,
    seed: int,
) -> Iterator[Subject]:
    """The samples `rows`, `(n,)`, in blocks of about equal size and at most 512."""
    count = -(-len(rows) // BLOCK)
    for number, chosen in enumerate(np.array_split(rows, count)):
        index = torch.from_numpy(chosen).to(device)[None]
        inputs = {name: features[name].gather(index) for name in network.sizes}
        yield Subject(network, weights, inputs, seed, number)


def _pooled(inputs: Inputs) -> Inputs:
    """The mean over the valid steps; steps beyond are zero."""
    assert inputs.mask is not None
    return Inputs(inputs.values.sum(2) / inputs.mask.sum(2, keepdim=True).clamp(min=1))


def _repeated(values: Tensor, replicas: int) -> Tensor:
    return values.expand(replicas, *values.shape[1:])
