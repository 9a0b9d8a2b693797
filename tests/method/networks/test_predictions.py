"""Predictions of a stack for many samples are those of one batch."""

from __future__ import annotations

import numpy as np
import torch

from cmir.config import ModelConfig
from cmir.data import DevelopmentData
from cmir.method.networks.features import load_features
from cmir.method.networks.predictions import CHUNK, predict, shared_inputs
from cmir.method.networks.sized_network import network_for
from tests.support.plain_network import random_weights

CONFIG = ModelConfig(representation_size=6, hidden_size=8)
CPU = torch.device("cpu")


def test_predictions_of_many_rows_are_those_of_one_batch(learning: DevelopmentData) -> None:
    network, features = network_for(learning, CONFIG), load_features(learning, CONFIG, CPU)
    weights = random_weights(network.layout, 3)
    rows = np.random.default_rng(0).integers(0, 110, 2 * CHUNK + 7)
    scores = predict(network, weights, features, rows, CPU)
    index = torch.from_numpy(rows)[None].expand(3, -1)
    batch = {name: feature.gather(index) for name, feature in features.items()}
    assert scores.shape == (3, len(rows))
    torch.testing.assert_close(scores, network.forward(weights, batch))


def test_replicas_share_the_samples_they_are_evaluated_on(learning: DevelopmentData) -> None:
    features = load_features(learning, CONFIG, CPU)
    inputs = shared_inputs(features, torch.arange(9), 4)
    assert inputs["audio"].mask is not None
    for tensor in (inputs["audio"].values, inputs["audio"].mask, inputs["vision"].values):
        assert tensor.shape[:2] == (4, 9)
        assert tensor.stride(0) == 0
