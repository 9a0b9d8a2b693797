"""The stacked optimiser against torch.optim.AdamW on each replica alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor

from cmir.method.training.optimiser import RowSettings, StackedAdamW

SETTINGS = (RowSettings(0.1, 0.0), RowSettings(0.01, 0.3), RowSettings(0.003, 0.1))
SIZE = 11
CLIP = 0.5
START = torch.linspace(-2, 2, 3 * SIZE).view(3, SIZE)


def named(stack: Tensor) -> dict[str, Tensor]:
    """The weights of a stack as two parts: a vector and a matrix."""
    return {"bias": stack[:, :3], "weight": stack[:, 3:].reshape(len(stack), 2, -1)}


def joined(weights: Mapping[str, Tensor]) -> Tensor:
    """The inverse of `named`."""
    return torch.cat([weight.flatten(1) for weight in weights.values()], dim=1)


def losses(weights: Tensor, rows: Sequence[int], step: int) -> Tensor:
    """The loss of each of these rows; their gradients differ by orders of magnitude."""
    target = torch.sin(torch.arange(SIZE) + float(step))
    scale = torch.tensor([10.0, 0.01, 1.0])[list(rows)]
    return scale * (weights - target).pow(4).mean(1)


class Alone:
    """One replica with torch's own optimiser and clipping."""

    def __init__(self, start: Tensor, settings: RowSettings, clip: float = CLIP) -> None:
        self.weights = torch.nn.Parameter(start.clone())
        self.clip = clip
        self.restart(settings)

    def restart(self, settings: RowSettings) -> None:
        self.optimiser = torch.optim.AdamW(
            [self.weights], lr=settings.learning_rate, weight_decay=settings.weight_decay
        )

    def step(self, loss: Tensor) -> None:
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([self.weights], self.clip)
        self.optimiser.step()


def each_alone(clip: float = CLIP) -> list[Alone]:
    return [Alone(start, own, clip) for start, own in zip(START, SETTINGS, strict=True)]


def advance(stack: StackedAdamW, alone: Sequence[Alone], rows: Sequence[int], steps: range) -> None:
    """Lets the stack of these rows and the same replicas alone take the same steps."""
    for step in steps:
        stack.step(losses(joined(stack.weights), rows, step))
        for row in rows:
            alone[row].step(losses(alone[row].weights[None], [row], step).sum())


def assert_same(stack: StackedAdamW, alone: Sequence[Alone], rows: Sequence[int]) -> None:
    expected = torch.stack([alone[row].weights.detach() for row in rows])
    torch.testing.assert_close(joined(stack.weights).detach(), expected)


@pytest.mark.parametrize("clip", [1e-3, 0.5, 1e6])
def test_every_row_takes_the_steps_of_adamw_with_its_own_rate_decay_and_clipping(
    clip: float,
) -> None:
    stack, alone = StackedAdamW(named(START), SETTINGS, clip), each_alone(clip)
    advance(stack, alone, range(3), range(25))
    assert_same(stack, alone, range(3))
    assert (joined(stack.weights) - START).abs().min() > 0


def test_the_start_is_copied() -> None:
    start = START.clone()
    stack = StackedAdamW(named(start), SETTINGS, CLIP)
    stack.step(joined(stack.weights).square().sum(1))
    assert torch.equal(start, START)


def test_rows_that_are_kept_go_on_with_their_moments() -> None:
    stack, alone = StackedAdamW(named(START), SETTINGS, CLIP), each_alone()
    advance(stack, alone, range(3), range(10))
    stack.keep([0, 2])
    advance(stack, alone, [0, 2], range(10, 20))
    assert_same(stack, alone, [0, 2])
    stack.keep([1])
    advance(stack, alone, [2], range(20, 30))
    assert_same(stack, alone, [2])


def test_rows_may_be_kept_before_the_first_step() -> None:
    stack, alone = StackedAdamW(named(START), SETTINGS, CLIP), each_alone()
    stack.keep([1, 2])
    advance(stack, alone, [1, 2], range(5))
    assert_same(stack, alone, [1, 2])


def test_a_reset_forgets_the_moments_of_its_rows_alone() -> None:
    stack, alone = StackedAdamW(named(START), SETTINGS, CLIP), each_alone()
    advance(stack, alone, range(3), range(10))
    stack.reset([1])
    alone[1].restart(SETTINGS[1])
    advance(stack, alone, range(3), range(10, 20))
    assert_same(stack, alone, range(3))


def test_a_row_that_is_not_a_number_leaves_the_others_alone() -> None:
    stack, alone = StackedAdamW(named(START), SETTINGS, CLIP), each_alone()
    spoilt = torch.tensor([1.0, float("nan"), 1.0])
    for step in range(5):
        stack.step(spoilt * losses(joined(stack.weights), range(3), step))
        for row in (0, 2):
            alone[row].step(losses(alone[row].weights[None], [row], step).sum())
    assert joined(stack.weights)[1].isnan().all()
    stack.keep([0, 2])
    assert_same(stack, alone, [0, 2])


def test_the_average_of_the_weights_follows_its_recursion_and_leaves_the_steps_alone() -> None:
    start = torch.randn(2, SIZE, generator=torch.Generator().manual_seed(0))
    rows = [RowSettings(0.1, 0.0), RowSettings(0.01, 0.0)]
    plain = StackedAdamW(named(start), rows, 1.0)
    averaged = StackedAdamW(named(start), rows, 1.0, averaging=True)
    expected = start.clone()
    for step in range(1, 6):
        for optimiser in (plain, averaged):
            optimiser.step(joined(optimiser.weights).square().sum(1))
        share = 9 / (step + 8)
        expected = (1 - share) * expected + share * joined(averaged.weights).detach()
    torch.testing.assert_close(joined(averaged.weights), joined(plain.weights))
    torch.testing.assert_close(joined(averaged.evaluated), expected)
    torch.testing.assert_close(joined(plain.evaluated), joined(plain.weights).detach())
    averaged.keep([1])
    torch.testing.assert_close(joined(averaged.evaluated), expected[1:])


def test_neighbours_with_the_same_settings_move_as_each_alone_and_may_part() -> None:
    own = (SETTINGS[0], SETTINGS[0], SETTINGS[2])
    stack = StackedAdamW(named(START), own, CLIP)
    alone = [Alone(start, settings) for start, settings in zip(START, own, strict=True)]
    advance(stack, alone, range(3), range(10))
    stack.reset([1])
    alone[1].restart(own[1])
    advance(stack, alone, range(3), range(10, 20))
    assert_same(stack, alone, range(3))


def test_a_weight_that_no_loss_reaches_decays_until_one_does() -> None:
    stack, alone = StackedAdamW(named(START), SETTINGS, CLIP), each_alone()
    for step in range(20):
        reached = step in range(5, 10)
        stack.step(partial_losses(joined(stack.weights), reached, step))
        for row in range(3):
            loss = partial_losses(alone[row].weights[None].expand(3, -1), reached, step)[row]
            alone[row].step(loss)
    assert_same(stack, alone, range(3))


def partial_losses(weights: Tensor, reached: bool, step: int) -> Tensor:
    """Losses of the first part alone, or of both."""
    return losses(weights if reached else weights * (torch.arange(SIZE) < 3), range(3), step)
