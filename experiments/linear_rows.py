"""The rows that a stack of linear models is trained on, and an exact short form of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from experiments.linear_examples import Kind, Sample


@dataclass(frozen=True)
class Rows:
    """All samples of all environments, shared by the replicas of a stack.

    Attributes:
        inputs: `(batch, features + 1)`; the last column meets the bias and is 1 for samples, which
            it is not in their short form.
        transposed: the same, `(features + 1, batch)`, dense, since each step needs both.
        labels: `(1, batch)`.
        groups: `(1, batch)`, the environment of each row.
        count: number of environments.
        kind: "mse" or "bce".
    """

    inputs: Tensor
    transposed: Tensor
    labels: Tensor
    groups: Tensor
    count: int
    kind: Kind

    @property
    def ones(self) -> Tensor:
        """The column that meets the bias, `(batch,)`."""
        return self.transposed[-1]


def rows_of(sample: Sample, kind: Kind) -> Rows:
    """The rows of a split: its samples, or for squared error their short form."""
    table = torch.cat(
        [sample.inputs, torch.ones_like(sample.labels)[..., None], sample.labels[..., None]], 2
    )
    if kind == "mse":
        table = torch.stack([short_form(own) for own in table])
    inputs = table[..., :-1].flatten(0, 1).contiguous()
    count, size = table.shape[:2]
    return Rows(
        inputs=inputs,
        transposed=inputs.T.contiguous(),
        labels=table[..., -1].reshape(1, -1),
        groups=torch.arange(count).repeat_interleave(size)[None],
        count=count,
        kind=kind,
    )


def short_form(table: Tensor) -> Tensor:
    """A few rows with the second moments of many, in each half: `(samples, k)` to `(2 k, k)`.

    Squared error, IRMv1's gradient and its half-batch form are functions of means of products of
    two of these columns: inputs, the one, the label. The triangle of a QR factorisation, scaled,
    has all these means, so that training on it takes the same steps up to rounding. The halves are
    the even and the odd places, as in `cmir.method.losses.penalties.irm`, and keep these places.
    """
    return torch.stack([_triangle(table[0::2]), _triangle(table[1::2])], 1).flatten(0, 1)


def _triangle(table: Tensor) -> Tensor:
    corner: Tensor = torch.linalg.qr(table.double(), mode="r").R
    return (corner * math.sqrt(len(corner) / len(table))).to(table.dtype)
