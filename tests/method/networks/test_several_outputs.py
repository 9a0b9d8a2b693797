"""A network with one output for each name: its scores, and two outputs that equal one."""

from __future__ import annotations

from dataclasses import replace

import torch

from cmir.config import ModelConfig
from cmir.data import DevelopmentData
from cmir.method.losses.constraints import prediction_errors
from cmir.method.networks.features import load_features
from cmir.method.networks.predictions import predict
from cmir.method.networks.sized_network import network_for

CONFIG = ModelConfig(representation_size=8, hidden_size=16)
CPU = torch.device("cpu")


def test_scores_have_a_last_axis_over_names(learning_classes: DevelopmentData) -> None:
    network = network_for(learning_classes, CONFIG)
    start = torch.stack([network.layout.initial(seed) for seed in (0, 1)])
    features = load_features(learning_classes, CONFIG, CPU)
    rows = learning_classes.ood_val.rows
    found = predict(network, network.layout.unpack(start), features, rows, CPU)
    assert found.shape == (2, len(rows), 3)


def test_two_outputs_with_weights_0_and_w_are_one_with_w(learning_binary: DevelopmentData) -> None:
    """The same network but for the last layer: scores (0, f), and the same errors to 6 digits."""
    one = network_for(learning_binary, CONFIG)
    two = replace(one, outputs=2)
    weights = one.layout.unpack(one.layout.initial(0)[None])
    wide = {
        name: torch.cat([torch.zeros_like(value), value], dim=-1)
        if name.startswith("predictor.third")
        else value
        for name, value in weights.items()
    }
    features = load_features(learning_binary, CONFIG, CPU)
    split = learning_binary.ood_val
    plain = predict(one, weights, features, split.rows, CPU)
    both = predict(two, wide, features, split.rows, CPU)
    assert plain.shape == both.shape[:2]
    torch.testing.assert_close(both[..., 1], plain, rtol=1e-6, atol=1e-7)
    assert not both[..., 0].any()
    labels = torch.from_numpy(split.labels)[None]
    torch.testing.assert_close(
        prediction_errors(both, labels, "cross_entropy"), prediction_errors(plain, labels, "bce")
    )
