"""The stacked unimodal networks against torch.nn, replica by replica."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cmir.config import ModelConfig, UnimodalKind
from cmir.method.networks.features import Inputs
from cmir.method.networks.replicas import Layout
from cmir.method.networks.unimodal import unimodal_parts, unimodal_vector
from tests.support.plain_network import linear, of_replica, perceptron, random_weights, transformed

REPLICAS, BATCH, STEPS, SIZE = 3, 4, 5, 7
CONFIG = ModelConfig(
    representation_size=6, hidden_size=9, transformer_layers=2, transformer_heads=3
)


def weights_of(kind: UnimodalKind, config: ModelConfig = CONFIG) -> dict[str, Tensor]:
    return random_weights(Layout(unimodal_parts("m", kind, SIZE, config)), REPLICAS)


def vector(weights: dict[str, Tensor], kind: UnimodalKind, inputs: Inputs) -> Tensor:
    return unimodal_vector(weights, "m", kind, inputs, CONFIG)


def sequences(padding: int = 0) -> Inputs:
    """Sequences of 1 to 5 valid steps, zero beyond, as features are gathered."""
    source = torch.Generator().manual_seed(1)
    lengths = torch.tensor([[1, 5, 3, 2], [5, 5, 1, 4], [2, 3, 4, 5]])
    mask = torch.arange(STEPS + padding) < lengths[..., None]
    values = torch.zeros(REPLICAS, BATCH, STEPS + padding, SIZE)
    values[:, :, :STEPS] = torch.randn(REPLICAS, BATCH, STEPS, SIZE, generator=source)
    return Inputs(values * mask[..., None], mask)


def one(inputs: Inputs, replica: int) -> Inputs:
    assert inputs.mask is not None
    return Inputs(inputs.values[replica], inputs.mask[replica])


def test_the_transformer_is_the_one_of_torch() -> None:
    weights, inputs = weights_of("transformer"), sequences()
    stacked = vector(weights, "transformer", inputs)
    assert stacked.shape == (REPLICAS, BATCH, 6)
    for replica in range(REPLICAS):
        plain = transformed(of_replica(weights, replica), "m", one(inputs, replica), CONFIG)
        torch.testing.assert_close(stacked[replica], plain)


def test_the_mlp_is_two_linear_layers_with_a_relu() -> None:
    weights, values = weights_of("mlp"), torch.randn(REPLICAS, BATCH, SIZE)
    stacked = vector(weights, "mlp", Inputs(values))
    for replica in range(REPLICAS):
        plain = perceptron(of_replica(weights, replica), "m.first", "m.second")
        torch.testing.assert_close(stacked[replica], plain(values[replica]))


def test_pooling_first_is_the_linear_layer_and_then_the_masked_mean() -> None:
    weights, inputs = weights_of("pool"), sequences()
    assert inputs.mask is not None
    pooled = inputs.values.sum(2) / inputs.mask.sum(2, keepdim=True)
    stacked = vector(weights, "pool", Inputs(pooled))
    for replica in range(REPLICAS):
        steps = linear(of_replica(weights, replica), "m.linear")(inputs.values[replica])
        valid = inputs.mask[replica]
        plain = torch.stack([s[v].mean(0) for s, v in zip(steps, valid, strict=True)])
        torch.testing.assert_close(stacked[replica], plain)


def test_longer_padding_changes_nothing() -> None:
    weights = weights_of("transformer")
    short, long = (vector(weights, "transformer", sequences(padding)) for padding in (0, 6))
    torch.testing.assert_close(short, long)


def test_only_valid_steps_send_a_gradient() -> None:
    inputs = sequences()
    values = inputs.values.requires_grad_()
    total = vector(weights_of("transformer"), "transformer", inputs).square().sum()
    (gradient,) = torch.autograd.grad(total, values)
    assert inputs.mask is not None
    assert gradient[inputs.mask].abs().sum(-1).min() > 0


def test_the_order_of_steps_matters_to_the_transformer() -> None:
    weights, inputs = weights_of("transformer"), sequences()
    reversed_steps = Inputs(inputs.values.flip(2), inputs.mask)
    full = torch.tensor([[False, True, False, False]])
    before, after = (vector(weights, "transformer", given) for given in (inputs, reversed_steps))
    assert (before[0, full[0]] - after[0, full[0]]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["pool", "mlp", "transformer"])
def test_permuting_the_batch_permutes_the_vectors(kind: UnimodalKind) -> None:
    weights, inputs, order = weights_of(kind), sequences(), torch.tensor([2, 0, 3, 1])
    assert inputs.mask is not None
    if kind == "transformer":
        moved = Inputs(inputs.values[:, order], inputs.mask[:, order])
    else:
        inputs = Inputs(inputs.values[:, :, 0])
        moved = Inputs(inputs.values[:, order])
    expected = vector(weights, kind, inputs)[:, order]
    torch.testing.assert_close(vector(weights, kind, moved), expected)


@pytest.mark.parametrize("kind", ["pool", "mlp", "transformer"])
def test_a_replica_in_a_stack_is_the_replica_alone(kind: UnimodalKind) -> None:
    weights, inputs = weights_of(kind), sequences()
    assert inputs.mask is not None
    if kind != "transformer":
        inputs = Inputs(inputs.values[:, :, 0])
    stacked = vector(weights, kind, inputs)
    for replica in range(REPLICAS):
        alone = {name: weight[replica : replica + 1] for name, weight in weights.items()}
        mask = None if inputs.mask is None else inputs.mask[replica : replica + 1]
        single = vector(alone, kind, Inputs(inputs.values[replica : replica + 1], mask))
        torch.testing.assert_close(stacked[replica], single[0])
