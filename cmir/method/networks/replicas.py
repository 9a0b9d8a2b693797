"""Many copies of one network as one: every weight carries a leading replica axis.

All weights of one replica are one vector. A stack of replicas is a matrix `(replica, weights)`;
`Layout.unpack` names its parts. Layers are functions of activations `(replica, rows, features)`
and weights `(replica, ...)`, so that R networks cost one chain of batched products.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

INITIALISATION, BATCH_ORDER, VIEWS, BACKBONE, ADAPTERS = range(5)


@dataclass(frozen=True)
class Part:
    """One weight of a network: its shape, start value `base`, uniform spread `bound`."""

    shape: tuple[int, ...]
    base: float
    bound: float


@dataclass(frozen=True)
class Layout:
    """The order in which the named weights of a network stand in one vector."""

    parts: Mapping[str, Part]

    @property
    def size(self) -> int:
        """Number of weights of one replica."""
        return sum(math.prod(part.shape) for part in self.parts.values())

    def unpack(self, stack: Tensor) -> dict[str, Tensor]:
        """Names the weights of a stack.

        Args:
            stack: `(replica, weights)`.

        Returns:
            name to `(replica, *shape)`; weights with a modality axis lie dense in memory, so that
            replica and modality fold into one axis without a copy for each use.
        """
        sizes = [math.prod(part.shape) for part in self.parts.values()]
        pieces = torch.split(stack, sizes, dim=1)
        named = {
            name: piece.view(stack.shape[0], *part.shape)
            for (name, part), piece in zip(self.parts.items(), pieces, strict=True)
        }
        return {name: w.contiguous() if w.ndim == 4 else w for name, w in named.items()}

    def pack(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The inverse of `unpack`: `(replica, *shape)` each to `(replica, weights)`."""
        return torch.cat([weights[name].flatten(1) for name in self.parts], dim=1)

    def initial(self, seed: int) -> Tensor:
        """The start weights `(weights,)` of one replica: a function of its seed alone.

        Uniform in `base +- bound`, with bound = 1 / sqrt(fan in) as torch.nn.Linear has it.
        Drawn on the CPU, so that every device starts from the same numbers.
        """
        draw = torch.rand(self.size, generator=generator(seed, INITIALISATION, "cpu"))
        base, bound = self._spread()
        return base + bound * (2 * draw - 1)

    def _spread(self) -> tuple[Tensor, Tensor]:
        sizes = torch.tensor([math.prod(part.shape) for part in self.parts.values()])
        base = torch.tensor([part.base for part in self.parts.values()])
        bound = torch.tensor([part.bound for part in self.parts.values()])
        return base.repeat_interleave(sizes), bound.repeat_interleave(sizes)


def linear_parts(name: str, inputs: int, outputs: int, *leading: int) -> dict[str, Part]:
    """Weight `(*leading, inputs, outputs)` and bias `(*leading, 1, outputs)` of a linear layer."""
    bound = 1 / math.sqrt(inputs)
    return {
        f"{name}.weight": Part((*leading, inputs, outputs), 0.0, bound),
        f"{name}.bias": Part((*leading, 1, outputs), 0.0, bound),
    }


def norm_parts(name: str, size: int) -> dict[str, Part]:
    """Scale and shift `(1, size)` of a layer normalisation."""
    return {f"{name}.scale": Part((1, size), 1.0, 0.0), f"{name}.shift": Part((1, size), 0.0, 0.0)}


def linear(weights: Mapping[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    """A linear layer of every replica: `(replica, rows, inputs) -> (replica, rows, outputs)`.

    A weight with further leading axes, `(replica, modality, inputs, outputs)`, takes inputs of
    `(replica, modality, rows, inputs)`; both axes fold into one batched product.
    """
    return _linear(weights, name, inputs).view(*inputs.shape[:-1], -1)


def linear_relu(weights: Mapping[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    """A linear layer and its ReLU, in place: shapes as `linear`."""
    # Before the axes unfold: in place on a view, autograd would copy the whole gradient.
    return _linear(weights, name, inputs).relu_().view(*inputs.shape[:-1], -1)


def _linear(weights: Mapping[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    if weight.ndim == 3:
        return torch.baddbmm(bias, inputs, weight)
    return torch.baddbmm(bias.flatten(0, 1), inputs.flatten(0, 1), weight.flatten(0, 1))


def layer_norm(weights: Mapping[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    """Layer normalisation over the features of `(replica, rows, features)`."""
    normal = torch.nn.functional.layer_norm(inputs, inputs.shape[-1:])
    return normal * weights[f"{name}.scale"] + weights[f"{name}.shift"]


def generator(seed: int, stream: int, device: str | torch.device) -> torch.Generator:
    """A source of randomness for one replica and one purpose, independent of all others."""
    state = np.random.SeedSequence([seed, stream]).generate_state(1, dtype=np.uint64)[0]
    return torch.Generator(device=device).manual_seed(int(state) & (2**63 - 1))


def draw_normal(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """Standard normal numbers `(replica, *shape)`, row r from generator r alone."""
    device = generators[0].device
    out = torch.empty((len(generators), *shape), device=device)
    for row, source in zip(out, generators, strict=True):
        torch.randn(tuple(shape), generator=source, device=device, out=row)
    return out


def draw_uniform(generators: Sequence[torch.Generator], shape: Sequence[int]) -> Tensor:
    """Uniform numbers in [0, 1) of `(replica, *shape)`, row r from generator r alone."""
    device = generators[0].device
    out = torch.empty((len(generators), *shape), device=device)
    for row, source in zip(out, generators, strict=True):
        torch.rand(tuple(shape), generator=source, device=device, out=row)
    return out
