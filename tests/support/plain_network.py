"""The network of one replica spelled out with torch.nn, on weights copied from a stack."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cmir.config import ModelConfig
from cmir.method.networks.features import Inputs
from cmir.method.networks.replicas import Layout

Weights = Mapping[str, Tensor]


def random_weights(layout: Layout, replicas: int, seed: int = 0) -> dict[str, Tensor]:
    """Named weights `(replica, ...)`, those of the normalisations random too."""
    source = torch.Generator().manual_seed(seed)
    return layout.unpack(0.4 * torch.randn(replicas, layout.size, generator=source))


def of_replica(weights: Weights, replica: int) -> dict[str, Tensor]:
    """The weights of one replica, without the leading axis."""
    return {name: weight[replica] for name, weight in weights.items()}


def of_modality(weights: Weights, prefix: str, position: int) -> dict[str, Tensor]:
    """The weights under a prefix of one modality, without the modality's axis."""
    return {n: w[position] for n, w in weights.items() if n.startswith(prefix)}


def linear(weights: Weights, name: str) -> nn.Linear:
    weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    layer = nn.Linear(*weight.shape)
    put(layer.weight, weight.T)
    put(layer.bias, bias[0])
    return layer


def put(parameter: Tensor | None, value: Tensor) -> None:
    assert parameter is not None
    parameter.data.copy_(value)


def perceptron(weights: Weights, *names: str) -> nn.Sequential:
    """Linear layers with a ReLU between each two."""
    layers: list[nn.Module] = [linear(weights, names[0])]
    for name in names[1:]:
        layers += [nn.ReLU(), linear(weights, name)]
    return nn.Sequential(*layers)


def layer_norm(weights: Weights, name: str) -> nn.LayerNorm:
    scale, shift = weights[f"{name}.scale"][0], weights[f"{name}.shift"][0]
    norm = nn.LayerNorm(len(scale))
    put(norm.weight, scale)
    put(norm.bias, shift)
    return norm


def convolution(weights: Weights, name: str) -> nn.Conv1d:
    weight = weights[f"{name}.weight"]
    layer = nn.Conv1d(weight.shape[0] // 3, weight.shape[1], 3, padding=1)
    put(layer.weight, weight.view(3, -1, weight.shape[1]).permute(2, 1, 0))
    put(layer.bias, weights[f"{name}.bias"][0])
    return layer


def encoder_layer(weights: Weights, name: str, config: ModelConfig) -> nn.TransformerEncoderLayer:
    size = config.representation_size
    layer = nn.TransformerEncoderLayer(
        size,
        config.transformer_heads,
        dim_feedforward=2 * size,
        dropout=0.0,
        batch_first=True,
        norm_first=True,
    )
    put(layer.self_attn.in_proj_weight, weights[f"{name}.attention.weight"].T)
    put(layer.self_attn.in_proj_bias, weights[f"{name}.attention.bias"][0])
    layer.self_attn.out_proj = linear(weights, f"{name}.attention_out")  # type: ignore[assignment]
    layer.norm1 = layer_norm(weights, f"{name}.attention_norm")
    layer.norm2 = layer_norm(weights, f"{name}.feedforward_norm")
    layer.linear1 = linear(weights, f"{name}.feedforward")
    layer.linear2 = linear(weights, f"{name}.feedforward_out")
    return layer


def positions(steps: int, size: int) -> Tensor:
    """Vaswani et al. 2017, Sec. 3.5, entry by entry."""
    codes = torch.zeros(steps, size)
    for step in range(steps):
        for place in range(size):
            angle = step / 10000 ** (place // 2 * 2 / size)
            codes[step, place] = math.cos(angle) if place % 2 else math.sin(angle)
    return codes


def transformed(weights: Weights, name: str, inputs: Inputs, config: ModelConfig) -> Tensor:
    """Conv1d, Transformer encoder, mean over the valid steps: `(batch, T, D)` to `(batch, d)`."""
    assert inputs.mask is not None
    hidden = convolution(weights, f"{name}.convolution")(inputs.values.transpose(1, 2))
    hidden = hidden.transpose(1, 2)
    hidden = hidden + positions(hidden.shape[1], hidden.shape[2])
    for layer in range(config.transformer_layers):
        block = encoder_layer(weights, f"{name}.layer{layer}", config)
        hidden = block(hidden, src_key_padding_mask=~inputs.mask)
    hidden = layer_norm(weights, f"{name}.norm")(hidden)
    means = [steps[valid].mean(0) for steps, valid in zip(hidden, inputs.mask, strict=True)]
    return torch.stack(means)
