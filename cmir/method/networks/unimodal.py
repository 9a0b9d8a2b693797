"""Unimodal networks: features of one modality to one vector X_m per sample.

`pool`: linear and time mean, the mean taken first (the same numbers, T times cheaper);
`transformer`: Conv1D of width 3, Transformer encoder, masked time mean (Mai and Han 2026, Eq. 11);
`transformer_conv`: a linear layer to d, Transformer encoder, Conv1D, masked time mean (Eq. 12; the
paper's Transformer has the size of the features, and there the linear layer is that of Eq. 13);
`mlp`: two layers, for vectors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from cmir.config import ModelConfig, UnimodalKind
from cmir.extensions import UNIMODAL, unimodal
from cmir.method.networks.features import Inputs
from cmir.method.networks.replicas import (
    Part,
    layer_norm,
    linear,
    linear_parts,
    linear_relu,
    norm_parts,
)

KERNEL = 3

Weights = Mapping[str, Tensor]


def unimodal_parts(
    name: str, kind: UnimodalKind, inputs: int, config: ModelConfig
) -> dict[str, Part]:
    """The weights of one modality's network, `inputs` being the size D of its features."""
    parts = UNIMODAL[kind].given_parts(config.unimodal_settings)
    return dict(parts(name, inputs, config))


def unimodal_vector(
    weights: Weights, name: str, kind: UnimodalKind, inputs: Inputs, config: ModelConfig
) -> Tensor:
    """X_m of every sample: inputs of one modality to `(replica, batch, d)`."""
    network = UNIMODAL[kind].given(config.unimodal_settings)
    vector: Tensor = network(weights, name, inputs, config)
    return vector


def _pool_parts(name: str, inputs: int, config: ModelConfig) -> dict[str, Part]:
    return linear_parts(f"{name}.linear", inputs, config.representation_size)


@unimodal("pool", parts=_pool_parts, reads="means")
def _pool(weights: Weights, name: str, inputs: Inputs, config: ModelConfig) -> Tensor:
    return linear(weights, f"{name}.linear", inputs.values)


def _transformer_parts(name: str, inputs: int, config: ModelConfig) -> dict[str, Part]:
    first = linear_parts(f"{name}.convolution", KERNEL * inputs, config.representation_size)
    return first | _encoder_parts(name, config)


@unimodal("transformer", parts=_transformer_parts, reads="steps")
def _transformer(weights: Weights, name: str, inputs: Inputs, config: ModelConfig) -> Tensor:
    assert inputs.mask is not None
    steps = _convolve(weights, name, inputs.values)
    return _masked_mean(_encode(weights, name, steps, inputs.mask, config), inputs.mask)


def _transformer_conv_parts(name: str, inputs: int, config: ModelConfig) -> dict[str, Part]:
    size = config.representation_size
    first = linear_parts(f"{name}.linear", inputs, size)
    first |= linear_parts(f"{name}.convolution", KERNEL * size, size)
    return first | _encoder_parts(name, config)


@unimodal("transformer_conv", parts=_transformer_conv_parts, reads="steps")
def _transformer_conv(weights: Weights, name: str, inputs: Inputs, config: ModelConfig) -> Tensor:
    assert inputs.mask is not None
    steps = linear(weights, f"{name}.linear", inputs.values.flatten(1, 2))
    encoded = _encode(weights, name, steps, inputs.mask, config)
    # What stands beyond the end would reach the last step through the convolution.
    valid = torch.where(inputs.mask[..., None], encoded, 0.0)
    shape = inputs.mask.shape
    return _masked_mean(_convolve(weights, name, valid).view(*shape, -1), inputs.mask)


def _mlp_parts(name: str, inputs: int, config: ModelConfig) -> dict[str, Part]:
    first = linear_parts(f"{name}.first", inputs, config.hidden_size)
    return first | linear_parts(f"{name}.second", config.hidden_size, config.representation_size)


@unimodal("mlp", parts=_mlp_parts, reads="vectors")
def _mlp(weights: Weights, name: str, inputs: Inputs, config: ModelConfig) -> Tensor:
    hidden = linear_relu(weights, f"{name}.first", inputs.values)
    return linear(weights, f"{name}.second", hidden)


def _encoder_parts(name: str, config: ModelConfig) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for layer in range(config.transformer_layers):
        parts |= _layer_parts(f"{name}.layer{layer}", config.representation_size)
    return parts | norm_parts(f"{name}.norm", config.representation_size)


def _layer_parts(name: str, size: int) -> dict[str, Part]:
    return (
        norm_parts(f"{name}.attention_norm", size)
        | linear_parts(f"{name}.attention", size, 3 * size)
        | linear_parts(f"{name}.attention_out", size, size)
        | norm_parts(f"{name}.feedforward_norm", size)
        | linear_parts(f"{name}.feedforward", size, 2 * size)
        | linear_parts(f"{name}.feedforward_out", 2 * size, size)
    )


def _convolve(weights: Weights, name: str, values: Tensor) -> Tensor:
    """`(replica, batch, T, D)` to `(replica, batch * T, d)`."""
    return linear(weights, f"{name}.convolution", _windows(values).flatten(1, 2))


def _encode(
    weights: Weights, name: str, hidden: Tensor, mask: Tensor, config: ModelConfig
) -> Tensor:
    """The Transformer encoder: `(replica, batch * T, d)` to `(replica, batch, T, d)`."""
    position = _positions(mask.shape[2], config.representation_size, hidden.device)
    hidden = (hidden.view(*mask.shape, -1) + position).flatten(1, 2)
    for layer in range(config.transformer_layers):
        hidden = _layer(weights, f"{name}.layer{layer}", hidden, mask, config)
    return layer_norm(weights, f"{name}.norm", hidden).view(*mask.shape, -1)


def _windows(values: Tensor) -> Tensor:
    """`(replica, batch, T, D) -> (replica, batch, T, 3 D)`: each step with its two neighbours."""
    padded = functional.pad(values, (0, 0, 1, 1))
    steps = values.shape[2]
    return torch.cat([padded[:, :, shift : shift + steps] for shift in range(KERNEL)], dim=-1)


def _layer(
    weights: Weights, name: str, hidden: Tensor, mask: Tensor, config: ModelConfig
) -> Tensor:
    """A Transformer layer with normalisation first, `(replica, batch * T, d)` to the same."""
    normal = layer_norm(weights, f"{name}.attention_norm", hidden)
    mixed = _attend(linear(weights, f"{name}.attention", normal), mask, config.transformer_heads)
    hidden = hidden + linear(weights, f"{name}.attention_out", mixed)
    normal = layer_norm(weights, f"{name}.feedforward_norm", hidden)
    inner = linear_relu(weights, f"{name}.feedforward", normal)
    return hidden + linear(weights, f"{name}.feedforward_out", inner)


def _attend(projected: Tensor, mask: Tensor, heads: int) -> Tensor:
    replicas, batch, steps = mask.shape
    split = projected.view(replicas * batch, steps, 3, heads, -1).permute(2, 0, 3, 1, 4)
    query, key, value = split.unbind(0)
    allowed = mask.reshape(replicas * batch, 1, 1, steps)
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
    return mixed.transpose(1, 2).reshape(replicas, batch * steps, -1)


def _positions(steps: int, size: int, device: torch.device) -> Tensor:
    """Sinusoidal positions `(T, d)`: a step's code does not depend on the padding."""
    step = torch.arange(steps, device=device, dtype=torch.float32)[:, None]
    rate = torch.exp(torch.arange(0, size, 2, device=device) * (-math.log(10000.0) / size))
    codes = torch.zeros(steps, size, device=device)
    codes[:, 0::2] = torch.sin(step * rate)
    codes[:, 1::2] = torch.cos(step * rate[: size // 2])
    return codes


def _masked_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    weights = mask[..., None].to(hidden.dtype)
    return (hidden * weights).sum(2) / weights.sum(2).clamp(min=1)
