"""AdamW over a stack of replicas: each row has its own learning rate, decay and gradient norm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WINDOW = 8


@dataclass(frozen=True)
class RowSettings:
    """The optimiser settings of one replica."""

    learning_rate: float
    weight_decay: float


class StackedAdamW:
    """Weights `(replica, weights)` and their AdamW state (Loshchilov and Hutter 2019).

    torch's fused AdamW runs over the rows of the stack as if each were the one parameter of a
    network, so that a replica in a stack takes the steps that it would take alone.

    With averaging, `evaluated` is the polynomial-decay average of the weights over the steps t,
    w_avg <- (1 - 9 / (t + 8)) w_avg + 9 / (t + 8) w_t: a window that grows with training, of about
    its last ninth (Shamir and Zhang 2013, with eta = 8).
    """

    def __init__(
        self,
        start: Tensor,
        settings: Sequence[RowSettings],
        gradient_clip: float,
        averaging: bool = False,
    ) -> None:
        """Starts from weights `(replica, weights)`; `gradient_clip` bounds each row's norm."""
        self.gradient_clip = gradient_clip
        self._settings = list(settings)
        self._steps = 0
        self._average = start.clone() if averaging else None
        self._place(start)

    @property
    def evaluated(self) -> Tensor:
        """The weights to evaluate and to keep, `(replica, weights)`: the average if any."""
        return self.weights.detach() if self._average is None else self._average

    def step(self, losses: Tensor, inputs: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:
        """Follows the gradient of losses `(replica,)` once; replica r moves by its own loss.

        Returns:
            the gradients by `inputs`, for whoever computed these.
        """
        gradient, *others = torch.autograd.grad(losses.sum(), (self.weights, *inputs))
        norms = torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
        gradient.mul_((self.gradient_clip / (norms + 1e-6)).clamp(max=1.0))
        for row, slope in zip(self._rows, gradient, strict=True):
            row.grad = slope
        self._optimiser.step()
        self._steps += 1
        if self._average is not None:
            share = (WINDOW + 1) / (self._steps + WINDOW)
            self._average.lerp_(self.weights.detach(), share)
        return tuple(others)

    def reset(self, replicas: Sequence[int]) -> None:
        """Forgets the moments of these rows, as V-REx asks for when its penalty sets in."""
        for index in replicas:
            self._optimiser.state.pop(self._rows[index], None)

    def keep(self, replicas: Sequence[int]) -> None:
        """Drops all other rows from the stack, with their state."""
        states = [self._optimiser.state[self._rows[index]] for index in replicas]
        self._settings = [self._settings[index] for index in replicas]
        if self._average is not None:
            self._average = self._average[list(replicas)]
        self._place(self.weights.detach()[list(replicas)])
        for row, state in zip(self._rows, states, strict=True):
            self._optimiser.state[row] = state

    def _place(self, weights: Tensor) -> None:
        self.weights = weights.clone().requires_grad_()
        self._rows = list(self.weights.detach().unbind(0))
        groups = [
            {"params": [row], "lr": own.learning_rate, "weight_decay": own.weight_decay}
            for row, own in zip(self._rows, self._settings, strict=True)
        ]
        self._optimiser = torch.optim.AdamW(groups, fused=True)
