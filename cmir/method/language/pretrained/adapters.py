"""Low-rank adapters: what is added to the matrices of a language model that stay as they are."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class LowRank(nn.Module):
    """A linear layer and a trained addition of low rank: W x + B A x (Hu et al. 2022).

    A `(rank, inputs)` starts at random and B `(outputs, rank)` at zero, so that the layer starts
    as it was. There is no factor alpha / rank: the learning rate is searched, and with AdamW it
    does what the factor does.
    """

    def __init__(self, base: nn.Linear, rank: int, random: torch.Generator) -> None:
        """Wraps `base`, which is frozen."""
        super().__init__()
        self.base = base.requires_grad_(False)
        start = torch.randn(rank, base.in_features, generator=random) / math.sqrt(base.in_features)
        self.down = nn.Parameter(start)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, given: Tensor) -> Tensor:
        """`(..., inputs)` to `(..., outputs)`."""
        merged = torch.addmm(self.base.weight, self.up.detach(), self.down.detach())
        entered = (given, merged, self.base.bias, self.down, self.up)
        found: Tensor = _Merged.apply(*entered)  # type: ignore[no-untyped-call]
        return found


class _Merged(torch.autograd.Function):
    """x (W + B A)^T + b as one product, with the gradient by A and B but not by the sum.

    Autograd alone would either multiply by W, A and B apart, whose thin products and sums cost a
    CPU as much as is saved, or make the gradient by the whole matrix that is not wanted.
    """

    @staticmethod
    def forward(
        ctx: Any, given: Tensor, merged: Tensor, bias: Tensor | None, down: Tensor, up: Tensor
    ) -> Tensor:
        """`merged` is W + B A."""
        ctx.save_for_backward(given, merged, down, up)
        return linear(given, merged.to(given.dtype), None if bias is None else bias.to(given.dtype))

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor | None, ...]:
        """By the input, and by A and B."""
        given, merged, down, up = ctx.saved_tensors
        (slope,) = slopes
        kind, rows = slope.dtype, slope.flatten(0, -2)
        entered = given.flatten(0, -2).to(kind)
        by_given = (rows @ merged.to(kind)).view_as(given) if ctx.needs_input_grad[0] else None
        by_down = (rows @ up.to(kind)).T @ entered
        by_up = rows.T @ (entered @ down.to(kind).T)
        return by_given, None, None, by_down.to(down.dtype), by_up.to(up.dtype)


def add_adapters(part: nn.Module, rank: int, random: torch.Generator) -> None:
    """Puts an adapter beside every matrix inside a module; all else in it is frozen."""
    part.requires_grad_(False)
    linears = [(name, m) for name, m in part.named_modules() if isinstance(m, nn.Linear)]
    for name, layer in linears:
        owner, _, own = name.rpartition(".")
        setattr(part.get_submodule(owner), own, LowRank(layer, rank, random))
