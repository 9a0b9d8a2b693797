"""Arms of an ablation on classes and on several labels: scores, noise, differences in pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cmir.ablation.arm_results import noise_metrics, validation_scores
from cmir.ablation.arm_scores import Yardstick
from cmir.data import DevelopmentData
from cmir.method.networks.features import load_features
from cmir.method.networks.predictions import predict
from cmir.method.networks.sized_network import network_for
from tests.support.made_data.learning_data import small_config, trained


@pytest.mark.parametrize("kind", ["classes", "multilabel"])
def test_arms_are_scored_clean_and_under_noise_and_compared(
    kind: str, learning_classes: DevelopmentData, learning_multilabel: DevelopmentData
) -> None:
    data = {"classes": learning_classes, "multilabel": learning_multilabel}[kind]
    config = small_config(seeds=(0, 1)).model_copy(update={"objective": "ood_val/macro_f1"})
    result = trained(data, config)
    scores = validation_scores(data, result, "cpu")
    count = data.task.outputs
    assert scores["ood_val"].shape == (2, 24, count)
    assert scores["noise_ood_val"].shape[1:] == (2, 24, count)
    network = network_for(data, config.model)
    weights = network.layout.unpack(result.weights)
    features, place = load_features(data, config.model, torch.device("cpu")), torch.device("cpu")
    clean = predict(network, weights, features, data.ood_val.rows, place).numpy()
    np.testing.assert_allclose(scores["ood_val"], clean, atol=1e-6)
    splits = {name: data.splits[name] for name in ("id_val", "ood_val")}
    noisy = noise_metrics(scores, splits, data.task)
    assert len(noisy["ood_val/noise_macro_f1"]) == 2
    found = Yardstick("macro_f1", splits, data.task).differences(scores, scores)
    assert found["ood_val/macro_f1_difference"] == found["ood_val/noise_macro_f1_difference"] == 0
