"""Views: how often, how far and by what a vector is replaced."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cmir.extensions import VIEWS
from cmir.method.environments.perturbations import erase_views, noise_views, swap_views

RATES = torch.tensor([[0.0, 0.3, 1.0], [0.9, 0.5, 0.1]])
COUNT = 4


def sources(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def samples(batch: int, size: int = 3) -> Tensor:
    """Features `(2, 3, batch, size)` that are all different and none of them zero."""
    return 1 + torch.arange(2 * 3 * batch * size, dtype=torch.float32).view(2, 3, batch, size)


def expected_rates() -> Tensor:
    """`(replica, modality, view)`: rate * e / K."""
    return RATES[..., None] * torch.tensor([0.25, 0.5, 0.75, 1.0])


def test_noise_has_the_standard_deviation_of_its_view_and_modality() -> None:
    features = torch.zeros(2, 3, 500, 40)
    noisy = noise_views(features, COUNT, RATES, sources(0, 1))
    assert noisy.shape == (2, 3, COUNT, 500, 40)
    wanted = RATES[..., None] * torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch.testing.assert_close(noisy.std((-2, -1)), wanted, rtol=0.02, atol=0)
    torch.testing.assert_close(noisy.mean((-2, -1)), torch.zeros(2, 3, 4), rtol=0, atol=0.15)


def test_noise_is_added_to_the_features_and_is_new_in_every_place() -> None:
    features, rates = samples(5), torch.ones(2, 3)
    noise = noise_views(features, 2, rates, sources(0, 1)) - features[:, :, None]
    noise = (noise / torch.tensor([1.0, 2.0])[:, None, None]).flatten()
    assert len(set(noise.mul(1000).round().tolist())) > 0.9 * len(noise)


def test_a_modality_is_erased_whole_at_its_rate_and_otherwise_left_alone() -> None:
    features = samples(4000)
    erased = erase_views(features, COUNT, RATES, sources(0, 1))
    is_zero = (erased == 0).all(-1)
    kept = (erased == features[:, :, None]).all(-1)
    assert (is_zero ^ kept).all()
    torch.testing.assert_close(is_zero.float().mean(-1), expected_rates(), rtol=0, atol=0.03)


def test_a_modality_is_swapped_for_another_sample_of_its_own_at_its_rate() -> None:
    features = samples(300, size=2)
    swapped = swap_views(features, COUNT, RATES, sources(0, 1))
    for replica in range(2):
        for modality in range(3):
            mine = features[replica, modality]
            # Which sample of the same replica and modality stands here: there is always one.
            matches = (swapped[replica, modality][..., None, :] == mine).all(-1)
            assert (matches.sum(-1) == 1).all()
            source = matches.int().argmax(-1)
            moved = (source != torch.arange(300)).float().mean(-1)
            wanted = expected_rates()[replica, modality]
            torch.testing.assert_close(moved, wanted, rtol=0, atol=0.1)


def test_every_other_sample_may_be_the_source_of_a_swap() -> None:
    features = torch.arange(4.0).view(1, 1, 4, 1)
    found = torch.cat(
        [
            swap_views(features, 1, torch.ones(1, 1), sources(seed)).flatten()[None]
            for seed in range(200)
        ]
    )
    for own in range(4):
        counts = torch.bincount(found[:, own].long(), minlength=4).tolist()
        assert counts.pop(own) == 0
        assert min(counts) > 30


def test_the_gradient_of_a_swap_goes_to_the_sample_that_was_used() -> None:
    features = torch.arange(4.0).view(1, 1, 4, 1).requires_grad_()
    swapped = swap_views(features, 1, torch.ones(1, 1), sources(0))
    (gradient,) = torch.autograd.grad(swapped.sum(), features)
    used = torch.bincount(swapped.detach().flatten().long(), minlength=4)
    assert gradient.flatten().tolist() == used.tolist()


def test_modalities_are_swapped_apart() -> None:
    features = torch.arange(50.0).view(1, 1, 50, 1).expand(1, 2, 50, 1)
    first, second = swap_views(features, 1, torch.full((1, 2), 0.5), sources(0))[0].unbind(0)
    assert (first != second).any()


def test_one_sample_alone_is_swapped_for_itself() -> None:
    features = samples(1)
    swapped = swap_views(features, 2, torch.ones(2, 3), sources(0, 1))
    assert (swapped == features[:, :, None]).all()


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_the_views_of_a_replica_do_not_depend_on_the_other_replicas(name: str) -> None:
    features = samples(6)
    stacked = VIEWS[name].make(features, COUNT, RATES, sources(7, 8))
    for replica, seed in enumerate((7, 8)):
        alone = slice(replica, replica + 1)
        single = VIEWS[name].make(features[alone], COUNT, RATES[alone], sources(seed))
        assert torch.equal(stacked[alone], single)


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_a_rate_of_zero_leaves_every_view_as_the_clean_sample(name: str) -> None:
    features = samples(6)
    views = VIEWS[name].make(features, COUNT, torch.zeros(2, 3), sources(0, 1))
    assert torch.equal(views, features[:, :, None].expand_as(views))
