"""SWAD's window against Algorithm 1 spelled out for one replica, epoch by epoch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from cmir.method.training.dense_average import (
    OPTIMUM_PATIENCE,
    OVERFIT_PATIENCE,
    TOLERANCE,
    DenseAverage,
)

FALLING = [5.0 - 0.1 * epoch for epoch in range(14)]
OVERFITS = [3.0, 2.0, 1.0, 1.1, 1.2, 1.1, 1.3, *[2.5] * 7]
NEVER_OVERFITS = [3.0, 2.0, 1.0, *[1.2] * 11]
STEPS = 4


def steps(seed: int, epochs: int) -> Tensor:
    """Weights after each step: `(epoch, step, 2, 3)`."""
    source = torch.Generator().manual_seed(seed)
    return torch.randn(epochs, STEPS, 2, 3, generator=source, dtype=torch.float64)


def window(losses: Sequence[float]) -> tuple[int, int]:
    """First and last epoch of the average, from 0, by Alg. 1."""
    start, limit = None, 0.0
    for now in range(len(losses)):
        last = losses[max(0, now - OPTIMUM_PATIENCE + 1) : now + 1]
        if start is None:
            if len(last) == OPTIMUM_PATIENCE and last[0] == min(last):
                start, limit = now - OPTIMUM_PATIENCE + 1, TOLERANCE * sum(last) / len(last)
        elif now + 1 >= OVERFIT_PATIENCE and limit < min(
            losses[now + 1 - OVERFIT_PATIENCE : now + 1]
        ):
            return start, now - OVERFIT_PATIENCE
    end = len(losses) - 1
    return (end - OPTIMUM_PATIENCE + 1 if start is None else start), end


def run(curves: Sequence[Sequence[float]], weights: Sequence[Tensor]) -> list[Tensor]:
    """The averages of replicas that leave the stack when their windows have ended."""
    average, alive = DenseAverage(len(curves)), list(range(len(curves)))
    found: dict[int, Tensor] = {}
    for epoch in range(len(curves[0])):
        for step in range(STEPS):
            average.add({"w": torch.stack([weights[one][epoch, step] for one in alive])})
        average.close_epoch(np.array([curves[one][epoch] for one in alive]))
        leaving = [place for place in range(len(alive)) if average.has_ended[place]]
        if epoch == len(curves[0]) - 1:
            leaving = list(range(len(alive)))
        found |= {alive[place]: average.average(place)["w"] for place in leaving}
        staying = [place for place in range(len(alive)) if place not in leaving]
        average.keep(staying)
        alive = [alive[place] for place in staying]
        if not alive:
            break
    return [found[one] for one in range(len(curves))]


def test_windows_of_a_stack_are_those_of_the_algorithm() -> None:
    rng = np.random.default_rng(0)
    random = [(2 + rng.normal(0, 0.4, 14).cumsum()).clip(0.1).tolist() for _ in range(20)]
    curves = [FALLING, OVERFITS, NEVER_OVERFITS, *random]
    weights = [steps(seed, 14) for seed in range(len(curves))]
    found = run(curves, weights)
    for own, curve, average in zip(weights, curves, found, strict=True):
        first, last = window(curve)
        wanted = own[first : last + 1].mean((0, 1))
        torch.testing.assert_close(average, wanted)


@pytest.mark.parametrize(
    ("curve", "wanted"),
    [(FALLING, (11, 13)), (OVERFITS, (2, 6)), (NEVER_OVERFITS, (2, 13))],
)
def test_a_window_opens_at_the_best_epoch_and_ends_before_overfitting(
    curve: list[float], wanted: tuple[int, int]
) -> None:
    assert window(curve) == wanted
