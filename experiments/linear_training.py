"""Trains all hyper-parameter draws of one data seed as one stack of linear models."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from experiments.linear_examples import FEATURES, Sample
from experiments.linear_methods import Draw, Method
from experiments.linear_rows import Rows


class StackedAdam:
    """Adam (Kingma and Ba 2015) with an L2 term, its rates by replica: weights `(replica, k)`.

    torch.optim.Adam takes one learning rate for a tensor; with a parameter group for each replica
    it costs more than the rest of a step.
    """

    def __init__(self, start: Tensor, draws: Sequence[Draw]) -> None:
        """Starts from weights `(replica, k)`."""
        self.weights = start.clone()
        self._rates = torch.tensor([[draw.learning_rate] for draw in draws])
        self._decays = torch.tensor([[draw.weight_decay] for draw in draws])
        self._mean = torch.zeros_like(start)
        self._square = torch.zeros_like(start)
        self._steps = 0

    def step(self, gradient: Tensor) -> None:
        """Moves the weights by one step."""
        self._steps += 1
        gradient = gradient + self._decays * self.weights
        self._mean.lerp_(gradient, 0.1)
        self._square.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        spread = self._square.sqrt() / math.sqrt(1 - 0.999**self._steps) + 1e-8
        self.weights -= self._rates / (1 - 0.9**self._steps) * self._mean / spread


def train(rows: Rows, method: Method, draws: Sequence[Draw], iterations: int) -> Tensor:
    """Full-batch training of one linear model for each draw.

    Returns:
        `(draw, features + 1)`, the bias last.
    """
    optimiser = StackedAdam(torch.stack([start_weights(draw) for draw in draws]), draws)
    slopes = method(rows, draws)
    for _ in range(iterations):
        optimiser.step(slopes(optimiser.weights @ rows.transposed) @ rows.inputs)
    return optimiser.weights


def start_weights(draw: Draw) -> Tensor:
    """Uniform in +-1 / sqrt(features), bias included, as torch.nn.Linear has it."""
    bound = 1 / math.sqrt(FEATURES)
    source = torch.Generator().manual_seed(draw.seed)
    return torch.empty(FEATURES + 1).uniform_(-bound, bound, generator=source)


def errors_by_environment(weights: Tensor, sample: Sample, kind: str) -> Tensor:
    """`(draw, environment)`: mean squared error, or share of wrong classes for "bce"."""
    scores = torch.einsum("rk,enk->ren", weights[:, :-1], sample.inputs) + weights[:, -1:, None]
    if kind == "mse":
        return (scores - sample.labels).square().mean(2)
    return ((scores > 0) != (sample.labels > 0.5)).float().mean(2)
