"""The whole network against torch.nn, and what may and may not reach the prediction."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from cmir.config import ModelConfig
from cmir.data import DevelopmentData, load_dataset
from cmir.errors import InputError
from cmir.method.networks.features import Inputs, load_features
from cmir.method.networks.model import Network
from cmir.method.networks.sized_network import network_for
from tests.support.made_data.learning_data import STEPS, write_learning
from tests.support.plain_network import (
    Weights,
    of_modality,
    of_replica,
    perceptron,
    random_weights,
    transformed,
)

CONFIG = ModelConfig(representation_size=6, hidden_size=8)
ROWS = torch.tensor([[0, 5, 9, 40, 3], [7, 1, 0, 30, 31]])
CPU = torch.device("cpu")


def gathered(data: DevelopmentData, rows: Tensor = ROWS) -> dict[str, Inputs]:
    return {name: f.gather(rows) for name, f in load_features(data, CONFIG, CPU).items()}


@pytest.fixture(scope="module")
def network(learning: DevelopmentData) -> Network:
    return network_for(learning, CONFIG)


@pytest.fixture(scope="module")
def weights(network: Network) -> dict[str, Tensor]:
    return random_weights(network.layout, len(ROWS))


def plain_features(weights: Weights, inputs: dict[str, Inputs]) -> list[Tensor]:
    """X_m of one replica, by modality: audio, text, vision."""
    first, second = "unimodal.vision.first", "unimodal.vision.second"
    return [
        transformed(weights, "unimodal.audio", inputs["audio"], CONFIG),
        perceptron(weights, "unimodal.text.linear")(inputs["text"].values),
        perceptron(weights, first, second)(inputs["vision"].values),
    ]


def plain_parts(weights: Weights, features: Tensor, position: int) -> tuple[Tensor, Tensor]:
    """Z_inv and Z_spu of one modality of one replica."""
    own = of_modality(weights, "encoder", position)
    shared = ("encoder.first", "encoder.second")
    invariant = perceptron(own, *shared, "encoder.invariant")(features)
    return invariant, perceptron(own, *shared, "encoder.spurious")(features)


def test_every_replica_is_the_network_spelled_out_with_torch(
    learning: DevelopmentData, network: Network, weights: dict[str, Tensor]
) -> None:
    inputs = gathered(learning)
    features = network.unimodal(weights, inputs)
    hidden = network.hidden(weights, features)
    invariant, spurious = network.invariant(weights, hidden), network.spurious(weights, hidden)
    rebuilt = network.reconstruct(weights, invariant, spurious)
    scores = network.forward(weights, inputs)
    assert scores.shape == ROWS.shape
    for replica in range(len(ROWS)):
        own = of_replica(weights, replica)
        mine = {
            name: Inputs(one.values[replica], None if one.mask is None else one.mask[replica])
            for name, one in inputs.items()
        }
        parts = []
        for position, plain in enumerate(plain_features(own, mine)):
            torch.testing.assert_close(features[replica, position], plain)
            parts.append(plain_parts(own, plain, position))
            torch.testing.assert_close(invariant[replica, position], parts[-1][0])
            torch.testing.assert_close(spurious[replica, position], parts[-1][1])
            decoder = of_modality(own, "decoder", position)
            names = ("decoder.first", "decoder.second", "decoder.third")
            back = perceptron(decoder, *names)(torch.cat(parts[-1], dim=1))
            torch.testing.assert_close(rebuilt[replica, position], back)
        predictor = perceptron(own, "predictor.first", "predictor.second", "predictor.third")
        joined = torch.cat([part for part, _ in parts], dim=1)
        torch.testing.assert_close(scores[replica], predictor(joined)[:, 0])


def test_permuting_the_batch_permutes_the_output(
    learning: DevelopmentData, network: Network, weights: dict[str, Tensor]
) -> None:
    order = torch.tensor([3, 1, 4, 0, 2])
    scores = network.forward(weights, gathered(learning))
    moved = network.forward(weights, gathered(learning, ROWS[:, order]))
    torch.testing.assert_close(moved, scores[:, order])


def test_longer_padding_changes_no_prediction(
    learning: DevelopmentData, network: Network, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    longer = load_dataset(write_learning(tmp_path / "longer", padding=7)).development()
    assert longer.modalities["audio"].steps == STEPS + 7
    scores = network.forward(weights, gathered(learning))
    torch.testing.assert_close(network.forward(weights, gathered(longer)), scores)


def test_the_order_in_which_modalities_are_given_does_not_matter(
    learning: DevelopmentData, network: Network, weights: dict[str, Tensor]
) -> None:
    inputs = gathered(learning)
    turned = dict(reversed(inputs.items()))
    assert torch.equal(network.forward(weights, turned), network.forward(weights, inputs))


def test_only_the_invariant_parts_reach_the_prediction(
    learning: DevelopmentData, network: Network
) -> None:
    stack = torch.randn(len(ROWS), network.layout.size, requires_grad=True)
    scores = network.forward(network.layout.unpack(stack), gathered(learning))
    (gradient,) = torch.autograd.grad(scores.sum(), stack)
    reached = {
        name.rsplit(".", 1)[0]
        for name, part in network.layout.unpack(gradient).items()
        if part.abs().max() > 0
    }
    assert "encoder.invariant" in reached
    assert "predictor.first" in reached
    assert not {"encoder.spurious", "decoder.first", "decoder.third"} & reached


def test_a_replica_sees_no_other_replica(learning: DevelopmentData, network: Network) -> None:
    stack = torch.randn(len(ROWS), network.layout.size, requires_grad=True)
    scores = network.forward(network.layout.unpack(stack), gathered(learning))
    (gradient,) = torch.autograd.grad(scores[0].sum(), stack)
    assert gradient[0].abs().max() > 0
    assert gradient[1].abs().max() == 0


def test_a_network_of_fewer_modalities_has_fewer_weights(learning: DevelopmentData) -> None:
    config = CONFIG.model_copy(update={"modalities": ("text",)})
    small = network_for(learning, config)
    assert list(small.sizes) == ["text"]
    d, hidden = 6, 8
    encoder = d * hidden + hidden * hidden + 2 * hidden * d + 2 * hidden + 2 * d
    decoder = 2 * d * hidden + hidden * hidden + hidden * d + 2 * hidden + d
    predictor = d * hidden + hidden * hidden + hidden + 2 * hidden + 1
    assert small.layout.size == 5 * d + d + encoder + decoder + predictor


def test_a_network_for_a_modality_that_is_not_there_is_refused(learning: DevelopmentData) -> None:
    with pytest.raises(InputError, match="names 'smell'"):
        network_for(learning, ModelConfig(modalities=("smell",)))
