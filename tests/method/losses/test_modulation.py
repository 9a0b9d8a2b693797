"""OGM-GE: the coefficients against spelled-out loops, and which gradients they scale."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cmir.config import ModelConfig
from cmir.method.losses.class_losses import ClassLoss, Loss
from cmir.method.losses.modulation import Modulation, likelihoods, modality_scores, slowed
from cmir.method.networks.model import Network
from tests.support.plain_network import random_weights

SIZES = {"text": 3, "audio": 2, "vision": 4}
KINDS = dict.fromkeys(SIZES, "mlp")


def network(outputs: int = 1) -> Network:
    config = ModelConfig(representation_size=4, hidden_size=6)
    return Network(config, SIZES, KINDS, outputs)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("outputs", [1, 3])
def test_a_modality_alone_is_scored_with_the_others_at_their_mean(outputs: int) -> None:
    model = network(outputs)
    weights = random_weights(model.layout, 2)
    invariant = normal(2, 3, 5, 4)
    found = modality_scores(model, weights, invariant)
    means = invariant.mean(2, keepdim=True).expand_as(invariant)
    for modality in range(3):
        alone = means.clone()
        alone[:, modality] = invariant[:, modality]
        torch.testing.assert_close(found[:, modality], model.predict(weights, alone))


def chance(scores: list[float], label: float, loss: Loss) -> float:
    if loss == "bce":
        return 1 / (1 + math.exp(-scores[0] if label else scores[0]))
    total = sum(math.exp(score) for score in scores)
    return math.exp(scores[int(label)]) / total


@pytest.mark.parametrize("loss", ["bce", ClassLoss("cross_entropy")])
def test_the_likelihood_of_a_name_is_its_chance(loss: Loss) -> None:
    shape = (2, 3, 5) if loss == "bce" else (2, 3, 5, 4)
    scores, labels = normal(*shape), (normal(2, 5, seed=1) > 0).float()
    found = likelihoods(scores, labels, loss)
    for replica in range(2):
        for modality in range(3):
            for place in range(5):
                own = scores[replica, modality, place].reshape(-1).tolist()
                wanted = chance(own, labels[replica, place].item(), loss)
                assert found[replica, modality, place].item() == pytest.approx(wanted, rel=1e-4)


def test_the_likelihood_of_a_number_is_a_normal_density() -> None:
    scores, labels = normal(1, 2, 6), normal(1, 6, seed=1)
    found = likelihoods(scores, labels, "mse")
    spread = labels[0].std(correction=0).item()
    for modality in range(2):
        for place in range(6):
            gap = (scores[0, modality, place] - labels[0, place]).item() / spread
            density = math.exp(-(gap**2) / 2)
            assert found[0, modality, place].item() == pytest.approx(density, rel=1e-4)


def test_the_modality_that_is_ahead_is_slowed_and_no_other() -> None:
    levels = torch.tensor([[0.6, 0.2, 0.2], [0.3, 0.3, 0.3]])
    found = slowed(levels, 0.4)
    torch.testing.assert_close(found[0], torch.tensor([1 - math.tanh(0.4 * 3.0), 1.0, 1.0]))
    assert torch.equal(found[1], torch.ones(3))
    # Two modalities: the ratio of the paper.
    assert slowed(torch.tensor([[0.6, 0.2]]), 0.4)[0, 0].item() == pytest.approx(
        1 - math.tanh(0.4 * 3.0)
    )


def test_gradients_of_a_modality_are_scaled_and_those_of_the_predictor_are_not() -> None:
    model = network()
    gradients = random_weights(model.layout, 2)
    before = {name: gradient.clone() for name, gradient in gradients.items()}
    scale = torch.tensor([[0.5, 1.0, 0.25], [1.0, 0.1, 1.0]])
    modulation = Modulation(model, "mse", 0.5, has_noise=False)
    modulation.change(gradients, scale, [])
    for name, gradient in gradients.items():
        for replica in range(2):
            for place, modality in enumerate(SIZES):
                own = scale[replica, place]
                if name.startswith(f"unimodal.{modality}."):
                    assert torch.equal(gradient[replica], own * before[name][replica])
                if name.startswith("encoder."):
                    wanted = own * before[name][replica, place]
                    assert torch.equal(gradient[replica, place], wanted)
        if name.startswith(("predictor", "decoder")):
            assert torch.equal(gradient, before[name])


def test_the_noise_has_the_deviation_of_the_gradient() -> None:
    model = Network(ModelConfig(representation_size=64, hidden_size=64), SIZES, KINDS)
    gradients = random_weights(model.layout, 1)
    name = "encoder.second.weight"
    gradients[name][:, 1] *= 10
    before = gradients[name].clone()
    modulation = Modulation(model, "mse", 0.5, has_noise=True)
    modulation.change(gradients, torch.ones(1, 3), [torch.Generator().manual_seed(0)])
    added = gradients[name] - before
    for place in range(3):
        wanted = before[0, place].std().item()
        assert added[0, place].std().item() == pytest.approx(wanted, rel=0.05)
