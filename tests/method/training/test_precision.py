"""Reduced products differ from full ones, a little, in training and nowhere else."""

from __future__ import annotations

import torch

from cmir.data import DevelopmentData
from cmir.method.training.precision import products_in
from tests.support.made_data.learning_data import VARIANTS, assert_identical, small_config, trained


def product() -> torch.Tensor:
    """A product whose exact value needs more than the eight digits of bfloat16's mantissa."""
    rows = torch.full((4, 64, 64), 1 + 2**-12)
    return torch.bmm(rows, rows)


def test_full_products_are_what_they_are_without_asking() -> None:
    outside = product()
    with products_in("full"):
        assert torch.equal(product(), outside)


def test_the_setting_ends_with_its_block() -> None:
    outside = product()
    with products_in("reduced"):
        # A processor without bfloat16 products computes in full.
        torch.testing.assert_close(product(), outside, rtol=2**-7, atol=0)
    assert torch.equal(product(), outside)


def test_a_training_with_reduced_products_repeats_and_stays_near(learning: DevelopmentData) -> None:
    config = small_config((0, 1), training__precision="reduced", **VARIANTS["noise"])
    reduced = trained(learning, config)
    assert_identical(reduced, trained(learning, config))
    full = trained(learning, small_config((0, 1), **VARIANTS["noise"]))
    assert abs(reduced.objective - full.objective) < 0.05
