"""AdamW over a stack of replicas: each row has its own learning rate, decay and gradient norm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

WINDOW = 8


@dataclass(frozen=True)
class RowSettings:
    """The optimiser settings of one replica."""

    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class _Slice:
    """Neighbouring replicas that move alike, as torch's optimiser takes them: lists of views."""

    rows: slice
    names: tuple[str, ...]
    settings: RowSettings
    weights: list[Tensor]
    first: list[Tensor]
    second: list[Tensor]
    steps: list[Tensor]


class StackedAdamW:
    """Weights by name, `(replica, *shape)` each, and their AdamW (Loshchilov and Hutter 2019).

    torch's fused AdamW runs over slices of each weight: neighbouring replicas with the same
    settings are one slice. A replica in a stack takes the steps that it would take alone.

    With averaging, `evaluated` is the polynomial-decay average of the weights over the steps t,
    w_avg <- (1 - 9 / (t + 8)) w_avg + 9 / (t + 8) w_t: a window that grows with training, of about
    its last ninth (Shamir and Zhang 2013, with eta = 8).
    """

    def __init__(
        self,
        start: Mapping[str, Tensor],
        settings: Sequence[RowSettings],
        gradient_clip: float,
        averaging: bool = False,
    ) -> None:
        """Starts from a copy of `start`; `gradient_clip` bounds the norm of each replica."""
        self.gradient_clip = gradient_clip
        self._settings = list(settings)
        self._steps = 0
        self._own_steps = [0] * len(settings)
        self._moments = {
            name: (torch.zeros_like(w), torch.zeros_like(w)) for name, w in start.items()
        }
        self._average = {name: _copy(w) for name, w in start.items()} if averaging else None
        # Weights that no loss has reached yet: their moments are zero, and they only decay.
        self._idle = set(start)
        self._slices: list[_Slice] = []
        # Changes the gradients of a step in place, before they are clipped.
        self.change: Callable[[dict[str, Tensor]], None] | None = None
        self.weights: dict[str, Tensor] = {}
        self._place(start)

    @property
    def evaluated(self) -> dict[str, Tensor]:
        """The weights to evaluate and to keep, `(replica, *shape)` each: the average if any."""
        if self._average is not None:
            return self._average
        return {name: weight.detach() for name, weight in self.weights.items()}

    def step(self, losses: Tensor, inputs: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:
        """Follows the gradient of losses `(replica,)` once; replica r moves by its own loss.

        Returns:
            the gradients by `inputs`, for whoever computed these.
        """
        wanted = (*self.weights.values(), *inputs)
        slopes = torch.autograd.grad(losses.sum(), wanted, allow_unused=True)
        named = zip(self.weights, slopes[: len(self.weights)], strict=True)
        # The fused kernel walks through memory: a gradient with other strides would be misread.
        gradients = {name: slope.contiguous() for name, slope in named if slope is not None}
        self._idle -= set(gradients)
        for name in self.weights:
            if name not in gradients and name not in self._idle:
                gradients[name] = torch.zeros_like(self.weights[name])
        if self.change is not None:
            self.change(gradients)
        self._clip(gradients)
        self._update(gradients)
        self._follow_average()
        return slopes[len(self.weights) :]

    def reset(self, replicas: Sequence[int]) -> None:
        """Forgets the moments of these replicas, as V-REx asks for when its penalty sets in."""
        for index in replicas:
            self._own_steps[index] = 0
            for moments in self._moments.values():
                for moment in moments:
                    moment[index] = 0.0
        self._slices = []

    def keep(self, replicas: Sequence[int]) -> None:
        """Drops all other replicas from the stack, with their state."""
        rows = list(replicas)
        self._settings = [self._settings[index] for index in rows]
        self._own_steps = [self._own_steps[index] for index in rows]
        self._moments = {name: (a[rows], b[rows]) for name, (a, b) in self._moments.items()}
        if self._average is not None:
            self._average = {name: weight[rows] for name, weight in self._average.items()}
        self._place({name: weight.detach()[rows] for name, weight in self.weights.items()})

    def state(self) -> dict[str, Any]:
        """What `resume` goes on from."""
        return {
            "weights": self._detached,
            "moments": self._moments,
            "average": self._average,
            "steps": self._steps,
            "own_steps": self._own_steps,
            "idle": sorted(self._idle),
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Takes the place of one with as many replicas, which had come to this state."""
        device = next(iter(self.weights.values())).device
        for kept, moments in self._moments.items():
            for moment, value in zip(moments, state["moments"][kept], strict=True):
                moment.copy_(value)
        if self._average is not None:
            self._average = {k: w.to(device, copy=True) for k, w in state["average"].items()}
        self._steps, self._own_steps = state["steps"], list(state["own_steps"])
        self._idle = set(state["idle"])
        self._place({name: weight.to(device) for name, weight in state["weights"].items()})

    def _clip(self, gradients: Mapping[str, Tensor]) -> None:
        norms = [torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients.values()]
        norm = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        scale = (self.gradient_clip / (norm + 1e-6)).clamp(max=1.0)
        for gradient in gradients.values():
            gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))

    def _update(self, gradients: Mapping[str, Tensor]) -> None:
        names = tuple(gradients)
        if not self._slices or names != self._slices[0].names:
            self._slices = [self._slice(rows, names) for rows in self._alike()]
        for part in self._slices:
            adamw(
                part.weights,
                [gradients[name][part.rows] for name in names],
                part.first,
                part.second,
                [],
                part.steps,
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=part.settings.learning_rate,
                weight_decay=part.settings.weight_decay,
                eps=1e-8,
                maximize=False,
            )
            decay = 1 - part.settings.learning_rate * part.settings.weight_decay
            for name in self._idle:
                self._detached[name][part.rows].mul_(decay)
        self._own_steps = [steps + 1 for steps in self._own_steps]

    def _alike(self) -> list[slice]:
        """Runs of neighbouring replicas that agree in settings and number of steps."""
        keys = list(zip(self._settings, self._own_steps, strict=True))
        runs = [list(members) for _, members in groupby(range(len(keys)), keys.__getitem__)]
        return [slice(members[0], members[-1] + 1) for members in runs]

    def _slice(self, rows: slice, names: tuple[str, ...]) -> _Slice:
        taken = float(self._own_steps[rows.start])
        return _Slice(
            rows,
            names,
            self._settings[rows.start],
            [self._detached[name][rows] for name in names],
            [self._moments[name][0][rows] for name in names],
            [self._moments[name][1][rows] for name in names],
            [torch.tensor(taken, device=self._detached[name].device) for name in names],
        )

    def _follow_average(self) -> None:
        self._steps += 1
        if self._average is not None:
            share = (WINDOW + 1) / (self._steps + WINDOW)
            averages, weights = list(self._average.values()), list(self._detached.values())
            torch._foreach_lerp_(averages, weights, share)

    def _place(self, weights: Mapping[str, Tensor]) -> None:
        self.weights = {name: _copy(weight).requires_grad_() for name, weight in weights.items()}
        self._detached = {name: weight.detach() for name, weight in self.weights.items()}
        self._slices = []


def _copy(weight: Tensor) -> Tensor:
    return weight.detach().clone(memory_format=torch.contiguous_format)
