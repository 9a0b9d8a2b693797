"""MMD against a spelled-out loop over pairs of environments and of samples."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from cmir.method.losses.discrepancy import SCALES, mmd

# Environments absent, of one sample, of all samples; three replicas of seven samples.
GROUPS = torch.tensor([[0, 2, 2, 0, 2, 4, 0], [1, 1, 1, 1, 1, 1, 1], [0, 1, 1, 0, 4, 0, 4]])


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def kernel(x: Tensor, y: Tensor, scale: float) -> float:
    distance = (x - y).square().sum().item()
    return sum(math.exp(-distance / (width * scale)) for width in SCALES) / len(SCALES)


def mmd_by_loop(features: Tensor, groups: Tensor) -> float:
    places = {g: (groups == g).nonzero().flatten().tolist() for g in set(groups.tolist())}
    pairs = list(combinations(range(len(features)), 2))
    scale = sum((features[a] - features[b]).square().sum().item() for a, b in pairs) / len(pairs)

    def mean(first: list[int], second: list[int]) -> float:
        values = [kernel(features[a], features[b], scale) for a in first for b in second if a != b]
        return sum(values) / len(values)

    known = [own for own in places.values() if len(own) > 1]
    found = [mean(a, a) + mean(b, b) - 2 * mean(a, b) for a, b in combinations(known, 2)]
    return sum(found) / len(found) if found else 0.0


def test_mmd_is_its_definition_without_pairs_of_a_sample_with_itself() -> None:
    features = normal(3, 7, 4)
    found = mmd(features, GROUPS, 5)
    for replica in range(3):
        wanted = mmd_by_loop(features[replica], GROUPS[replica])
        assert found[replica].item() == pytest.approx(wanted, abs=1e-12)


def test_alike_environments_have_none_on_average_and_shifted_ones_have_some() -> None:
    groups = torch.arange(20).repeat(400, 1) % 2
    alike = normal(400, 20, 3)
    assert mmd(alike, groups, 2).mean().abs() < 0.01
    shifted = alike + 2.0 * groups[..., None]
    assert mmd(shifted, groups, 2).mean() > 0.3


def test_it_sees_a_spread_that_means_do_not_show_and_no_change_of_scale() -> None:
    groups = torch.arange(20).repeat(400, 1) % 2
    wider = normal(400, 20, 3) * (1 + 2 * groups[..., None])
    assert mmd(wider, groups, 2).mean() > 0.1
    torch.testing.assert_close(mmd(1e-3 * wider, groups, 2), mmd(wider, groups, 2))


def test_following_its_gradient_brings_the_environments_together() -> None:
    groups = torch.arange(20).repeat(1, 1) % 2
    features = (normal(1, 20, 2) + 2.0 * groups[..., None]).requires_grad_()
    before = mmd(features, groups, 2)
    (slope,) = torch.autograd.grad(before.sum(), features)
    after = mmd(features - 5.0 * slope, groups, 2)
    assert after < before
