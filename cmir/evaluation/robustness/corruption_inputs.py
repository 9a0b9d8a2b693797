"""A model and a block of samples, ready to be corrupted: inputs, unimodal vectors, predictions."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
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
class Scale:
    """What standardises the token vectors of a language model, which its network reads raw.

    Attributes:
        mean: of the training samples' vectors, `(model, D)`.
        std: likewise, above 0.
    """

    mean: Tensor
    std: Tensor

    def standardised(self, inputs: Inputs) -> Inputs:
        """Inputs `(model, n, T, D)` in units of the training samples' deviation."""
        return self._masked(inputs, (inputs.values - _shared(self.mean)) / _shared(self.std))

    def undone(self, inputs: Inputs) -> Inputs:
        """The inverse of `standardised`."""
        return self._masked(inputs, inputs.values * _shared(self.std) + _shared(self.mean))

    def _masked(self, inputs: Inputs, values: Tensor) -> Inputs:
        assert inputs.mask is not None
        return Inputs(values * inputs.mask[..., None], inputs.mask)


@dataclass(frozen=True, eq=False)
class Subject:
    """Replicas of a network and the samples that they all see.

    Attributes:
        network: the shape of the networks.
        weights: by name, `(replica, ...)`.
        inputs: standardised, `(1, n, ...)`, of a language model that was trained
            `(replica, n, ...)`; a sequence that the network pools may have its steps.
        seed: of all random numbers.
        block: number of this block of samples.
        scales: by modality, of the inputs that the network reads as they were.
    """

    network: Network
    weights: Weights
    inputs: Mapping[str, Inputs]
    seed: int
    block: int
    scales: Mapping[str, Scale] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The modalities in the network's order."""
        return tuple(self.network.sizes)

    @cached_property
    def vectors(self) -> Tensor:
        """The clean X_m, `(replica, modality, n, d)`."""
        return torch.stack([self.vector(name, self.inputs[name]) for name in self.names], dim=1)

    def vector(self, name: str, inputs: Inputs) -> Tensor:
        """X_m of one modality for other inputs, as `inputs` has them: `(replica, n, d)`."""
        if name in self.scales:
            inputs = self.scales[name].undone(inputs)
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
    scales: Mapping[str, Scale] | None = None,
) -> Iterator[Subject]:
    """The samples `rows`, `(n,)`, in blocks of about equal size and at most 512."""
    scales = scales or {}
    count = -(-len(rows) // BLOCK)
    for number, chosen in enumerate(np.array_split(rows, count)):
        index = torch.from_numpy(chosen).to(device)[None]
        inputs = {name: features[name].gather(index) for name in network.sizes}
        inputs |= {name: scale.standardised(inputs[name]) for name, scale in scales.items()}
        yield Subject(network, weights, inputs, seed, number, scales)


def _pooled(inputs: Inputs) -> Inputs:
    """The mean over the valid steps; steps beyond are zero."""
    assert inputs.mask is not None
    return Inputs(inputs.values.sum(2) / inputs.mask.sum(2, keepdim=True).clamp(min=1))


def _shared(moment: Tensor) -> Tensor:
    """`(model, D)` to `(model, 1, 1, D)`: the same for all samples and steps."""
    return moment[:, None, None]


def _repeated(values: Tensor, replicas: int) -> Tensor:
    return values.expand(replicas, *values.shape[1:])
