"""Stacked weights and randomness: what belongs to a replica depends on its seed alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch

from cmir.method.networks.replicas import (
    BATCH_ORDER,
    INITIALISATION,
    VIEWS,
    Layout,
    draw_normal,
    draw_uniform,
    generator,
    layer_norm,
    linear,
    linear_parts,
    norm_parts,
)

LAYOUT = Layout(linear_parts("one", 4, 3) | norm_parts("norm", 3) | linear_parts("each", 3, 200, 2))


def test_unpacked_weights_are_views_in_order_that_cover_the_vector_once() -> None:
    stack = torch.arange(2.0 * LAYOUT.size).view(2, LAYOUT.size)
    weights = LAYOUT.unpack(stack)
    assert {name: tuple(weight.shape) for name, weight in weights.items()} == {
        "one.weight": (2, 4, 3),
        "one.bias": (2, 1, 3),
        "norm.scale": (2, 1, 3),
        "norm.shift": (2, 1, 3),
        "each.weight": (2, 2, 3, 200),
        "each.bias": (2, 2, 1, 200),
    }
    joined = torch.cat([weight.flatten(1) for weight in weights.values()], dim=1)
    assert torch.equal(joined, stack)
    weights["one.bias"].zero_()
    assert (stack == 0).sum() == 2 * 3 + 1  # and the number 0 itself


def test_weights_start_within_the_bounds_of_torch_and_norms_start_neutral() -> None:
    weights = LAYOUT.unpack(LAYOUT.initial(3)[None])
    each, bound = weights["each.weight"], 1 / math.sqrt(3)
    assert each.abs().max() <= bound
    assert each.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert weights["one.weight"].abs().max() <= 0.5
    assert (weights["norm.scale"] == 1).all()
    assert (weights["norm.shift"] == 0).all()


def test_start_weights_are_a_function_of_the_seed() -> None:
    assert torch.equal(LAYOUT.initial(1), LAYOUT.initial(1))
    assert not torch.equal(LAYOUT.initial(1), LAYOUT.initial(2))


def test_a_layer_of_a_stack_is_the_layer_of_each_replica_and_modality() -> None:
    weights = LAYOUT.unpack(torch.randn(2, LAYOUT.size))
    rows = torch.randn(2, 2, 5, 3)
    stacked = linear(weights, "each", rows)
    for place in ((0, 0), (0, 1), (1, 0), (1, 1)):
        alone = rows[place] @ weights["each.weight"][place] + weights["each.bias"][place]
        torch.testing.assert_close(stacked[place], alone)


def test_layer_norm_has_the_scale_and_shift_of_its_replica() -> None:
    weights = LAYOUT.unpack(torch.randn(2, LAYOUT.size))
    rows = torch.randn(2, 5, 3)
    stacked = layer_norm(weights, "norm", rows)
    for replica in range(2):
        scale, shift = weights["norm.scale"][replica, 0], weights["norm.shift"][replica, 0]
        alone = torch.nn.functional.layer_norm(rows[replica], (3,), scale, shift)
        torch.testing.assert_close(stacked[replica], alone)


def test_purposes_and_seeds_have_sources_of_their_own() -> None:
    draws = {
        torch.rand(1, generator=generator(seed, stream, "cpu")).item()
        for seed in range(20)
        for stream in (INITIALISATION, BATCH_ORDER, VIEWS)
    }
    assert len(draws) == 60


@pytest.mark.parametrize("draw", [draw_normal, draw_uniform])
def test_a_row_of_a_draw_is_the_draw_of_its_generator_alone(
    draw: Callable[[Sequence[torch.Generator], Sequence[int]], torch.Tensor],
) -> None:
    both = draw([generator(seed, VIEWS, "cpu") for seed in (4, 9)], (30, 2))
    for row, seed in zip(both, (4, 9), strict=True):
        assert torch.equal(row, draw([generator(seed, VIEWS, "cpu")], (30, 2))[0])


def test_draws_have_the_right_distribution() -> None:
    source = [generator(0, VIEWS, "cpu")]
    gaussian, uniform = draw_normal(source, (20000,)), draw_uniform(source, (20000,))
    assert gaussian.mean().item() == pytest.approx(0, abs=0.03)
    assert gaussian.std().item() == pytest.approx(1, abs=0.03)
    assert uniform.mean().item() == pytest.approx(0.5, abs=0.01)
    assert uniform.min() >= 0
    assert uniform.max() < 1
