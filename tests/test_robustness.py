"""Damaged inputs: each corruption against a spelled-out one, and the table of a whole suite."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from plain_network import random_weights
from scipy import stats

from cmir.config import ModelConfig
from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.learning.corruptions import gaussian_noise
from cmir.learning.evaluation import predict
from cmir.learning.features import load_features
from cmir.learning.model import Network, network_for
from cmir.learning.robustness import noisy_predictions
from cmir.learning.subject import BLOCK, Subject, subjects

CONFIG = ModelConfig(representation_size=6, hidden_size=8)
CPU = torch.device("cpu")
ROWS = np.arange(40)


@pytest.fixture(scope="module")
def network(learning: DevelopmentData) -> Network:
    return network_for(learning, CONFIG)


def only_subject(data: DevelopmentData, network: Network, replicas: int, seed: int = 0) -> Subject:
    weights, features = random_weights(network.layout, replicas), load_features(data, CONFIG, CPU)
    (subject,) = subjects(network, weights, features, ROWS, CPU, seed)
    return subject


def test_noise_is_that_of_equation_14(learning: DevelopmentData, network: Network) -> None:
    features, weights = load_features(learning, CONFIG, CPU), random_weights(network.layout, 3)
    found = noisy_predictions(network, weights, features, ROWS, CPU, [0.3, 1.0], seed=5)
    subject = only_subject(learning, network, 3, seed=5)
    noise = gaussian_noise(subject)
    assert found.shape == (2, 3, len(ROWS))
    for place, rate in enumerate([0.3, 1.0]):
        damaged = (1 - rate) * subject.vectors + rate * noise
        torch.testing.assert_close(found[place], subject.predict(damaged))


def test_noise_is_standard_normal_and_another_for_each_sample_and_modality(
    learning: DevelopmentData, network: Network
) -> None:
    noise = gaussian_noise(only_subject(learning, network, 2))
    assert noise.shape == (3, len(ROWS), 6)
    assert stats.kstest(noise.flatten(), "norm").pvalue > 0.01
    assert len(np.unique(noise)) > 0.99 * noise.numel()


def test_every_replica_meets_the_same_noise(learning: DevelopmentData, network: Network) -> None:
    twice = {n: w.expand(2, *w.shape[1:]) for n, w in random_weights(network.layout, 1).items()}
    features = load_features(learning, CONFIG, CPU)
    found = noisy_predictions(network, twice, features, ROWS, CPU)
    torch.testing.assert_close(found[:, 0], found[:, 1])
    assert found.shape == (7, 2, len(ROWS))


def test_noise_of_rate_0_is_the_clean_prediction(
    learning: DevelopmentData, network: Network
) -> None:
    features, weights = load_features(learning, CONFIG, CPU), random_weights(network.layout, 2)
    rows = np.random.default_rng(0).integers(0, 110, 2 * BLOCK + 7)
    found = noisy_predictions(network, weights, features, rows, CPU, [0.0, 0.5])
    torch.testing.assert_close(found[0], predict(network, weights, features, rows, CPU))
    assert (found[1] - found[0]).abs().mean() > 0.01


def test_noise_depends_on_its_seed_alone(learning: DevelopmentData, network: Network) -> None:
    features, weights = load_features(learning, CONFIG, CPU), random_weights(network.layout, 2)
    first, again, other = (
        noisy_predictions(network, weights, features, ROWS, CPU, [0.5], seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("rates", [[], [0.5, 1.1], [-0.1], [float("nan")]])
def test_a_rate_outside_0_and_1_is_refused(
    learning: DevelopmentData, network: Network, rates: list[float]
) -> None:
    features, weights = load_features(learning, CONFIG, CPU), random_weights(network.layout, 1)
    with pytest.raises(InputError, match=r"rates: must be numbers from 0 to 1"):
        noisy_predictions(network, weights, features, ROWS, CPU, rates)
