"""The adversary of DANN and the selection of SAL against plain torch and spelled-out loops."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cmir.method.losses.adversaries import ADVERSARY, SAL_DECAY, adversary_parts, confounded, dann
from cmir.method.networks.replicas import Layout
from tests.support.plain_network import of_replica, perceptron, random_weights

GROUPS = torch.tensor([[0, 2, 2, 0, 1], [1, 1, 1, 1, 1]])
COUNT = 4


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_adversary_learns_and_the_representation_unlearns() -> None:
    weights = random_weights(Layout(adversary_parts(6, 5, COUNT)), 2)
    learned = {name: weight.requires_grad_() for name, weight in weights.items()}
    features = normal(2, 5, 6).requires_grad_()
    value = dann(learned, features, GROUPS)
    last = learned[f"{ADVERSARY}.second.weight"]
    shown, taught = torch.autograd.grad(value.sum(), [features, last])
    for replica in range(2):
        names = (f"{ADVERSARY}.first", f"{ADVERSARY}.second")
        plain = perceptron(of_replica(weights, replica), *names)
        own = features[replica].detach().requires_grad_()
        error = functional.cross_entropy(plain(own), GROUPS[replica])
        final = plain[2].weight
        assert isinstance(final, Tensor)
        by_input, by_weight = torch.autograd.grad(error, [own, final])
        torch.testing.assert_close(value[replica].detach(), error.detach())
        torch.testing.assert_close(shown[replica], -by_input)
        torch.testing.assert_close(taught[replica], by_weight.T)


def test_the_selection_is_the_mean_of_an_environment_beyond_that_of_all() -> None:
    features, sparsity = normal(2, 5, 3), 0.3
    found, memory = confounded(features, GROUPS, COUNT, sparsity, torch.zeros(2, COUNT, 1))
    for replica in range(2):
        groups = GROUPS[replica].tolist()
        means = {g: features[replica][GROUPS[replica] == g].mean(0) for g in set(groups)}
        overall = torch.stack(list(means.values())).mean(0)
        threshold = sparsity * features[replica].std(0)
        for place, group in enumerate(groups):
            own = means[group] - overall
            for coordinate in range(3):
                beyond = own[coordinate].abs() - threshold[coordinate]
                wanted = own[coordinate].sign() * beyond.clamp(min=0)
                torch.testing.assert_close(found[replica, place, coordinate], wanted)
    assert memory.shape == (2, COUNT, 4)


def test_the_selection_minimises_its_objective() -> None:
    """Any other table of the environments' own parts has a larger loss."""
    features, sparsity = normal(1, 200, 2, seed=3), 0.2
    groups = torch.arange(200)[None] % 2
    features = features + 1.5 * groups[..., None]
    found, _ = confounded(features, groups, 2, sparsity, torch.zeros(1, 2, 1))
    overall = torch.stack([features[0, groups[0] == g].mean(0) for g in (0, 1)]).mean(0)

    def loss(table: Tensor) -> Tensor:
        fit = (features - overall - table).square().mean() / 2
        return fit + (sparsity * features.std(1, keepdim=True) * table.abs()).mean()

    best = loss(found)
    for seed in range(20):
        moved = 0.1 * normal(1, 2, 2, seed=seed)
        assert loss(found + moved[:, groups[0]]) > best


def test_the_means_of_later_batches_are_averaged_into_it() -> None:
    first, second = normal(2, 5, 3), normal(2, 5, 3, seed=1)
    _, memory = confounded(first, GROUPS, COUNT, 0.0, torch.zeros(2, COUNT, 1))
    found, _ = confounded(second, GROUPS, COUNT, 0.0, memory)
    means = []
    for group in (0, 2, 1):
        one, two = (x[0][GROUPS[0] == group].mean(0) for x in (first, second))
        means.append((SAL_DECAY * one + two) / (SAL_DECAY + 1))
    torch.testing.assert_close(found[0, 0], means[0] - torch.stack(means).mean(0))


def test_one_environment_has_nothing_of_its_own() -> None:
    found, _ = confounded(normal(2, 5, 3), GROUPS, COUNT, 0.0, torch.zeros(2, COUNT, 1))
    assert torch.equal(found[1], torch.zeros(5, 3))
