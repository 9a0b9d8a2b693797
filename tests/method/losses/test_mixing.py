"""Mixup across environments: who is mixed with whom, how much, and into what."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from cmir.method.losses.mixing import mixed, of_partners, partners, shares

GROUPS = torch.tensor([[0, 2, 2, 0, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]])


def sources(count: int = 3) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def test_partners_are_of_other_environments_where_there_are_any() -> None:
    generators, seen = sources(), torch.zeros(3, 5, 5)
    for _ in range(200):
        found = partners(GROUPS, generators)
        seen += torch.nn.functional.one_hot(found, 5)
    other = GROUPS[:, :, None] != GROUPS[:, None]
    assert torch.equal(seen[1], 200.0 * torch.eye(5))
    for replica in (0, 2):
        assert torch.equal(seen[replica] > 0, other[replica])
    # Of four that may be chosen each is in about a quarter of the draws.
    assert (seen[2, 0, 1:] - 50).abs().max() < 25


def test_shares_are_drawn_from_a_beta_distribution() -> None:
    found = shares(20_000, 0.4, sources(2))
    for row in found:
        assert stats.kstest(row.numpy(), stats.beta(0.4, 0.4).cdf).pvalue > 0.01
    assert not torch.equal(found[0], found[1])


def test_a_mixed_sample_lies_between_two() -> None:
    vectors = torch.randn(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    partner, share = partners(GROUPS, sources()), shares(5, 1.0, sources())
    found = mixed(vectors, partner, share)
    for replica in range(3):
        for place in range(5):
            own, lam = vectors[replica, :, place], share[replica, place]
            other = vectors[replica, :, partner[replica, place]]
            wanted = lam * own + (1 - lam) * other
            torch.testing.assert_close(found[replica, :, place], wanted)


@pytest.mark.parametrize("names", [(), (2,)])
def test_labels_go_with_their_samples(names: tuple[int, ...]) -> None:
    labels, partner = torch.rand(3, 5, *names), partners(GROUPS, sources())
    found = of_partners(labels, partner)
    for replica in range(3):
        for place in range(5):
            wanted = labels[replica, partner[replica, place]]
            assert torch.equal(found[replica, place], wanted)
