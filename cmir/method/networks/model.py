"""The CmIR network: unimodal networks, encoders, decoders, predictor (Mai and Han 2026, Sec. 4).

After the unimodal networks all modalities have the shape `(batch, d)`; encoders and decoders of
all modalities and replicas run as one chain of batched products over `(replica, modality)`.
Only the invariant parts reach the predictor.

The paper prints the predictor as FC ReLU FC FC ReLU FC with sizes that do not fit together; two
linear layers in a row are one, so here it is FC(M d -> d') ReLU FC(d' -> d') ReLU FC(d' -> 1), or
to as many outputs as there are names of classes or labels.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from cmir.config import ModelConfig, UnimodalKind
from cmir.errors import InputError
from cmir.method.networks.features import Inputs
from cmir.method.networks.replicas import Layout, Part, linear, linear_parts, linear_relu
from cmir.method.networks.unimodal import unimodal_parts, unimodal_vector

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Network:
    """The shape of a network; its weights are given to each call.

    Attributes:
        config: sizes, and which streams are fused into which modality.
        inputs: size D of the features of each modality, fused streams included, in order.
        kinds: unimodal network that each of them enters.
        outputs: of the predictor: 1, or as many as there are names of classes or labels.
    """

    config: ModelConfig
    inputs: Mapping[str, int]
    kinds: Mapping[str, UnimodalKind]
    outputs: int = 1

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Size of what enters each modality's network: its own features and those fused in."""
        own = {name: size for name, size in self.inputs.items() if name not in self.config.fuse}
        for name, target in self.config.fuse.items():
            if name in self.inputs:
                own[target] += self.inputs[name]
        return own

    @cached_property
    def layout(self) -> Layout:
        """The weights by name, and their order in one vector."""
        size, hidden = self.config.representation_size, self.config.hidden_size
        count, invariant = len(self.sizes), self.config.invariant_width
        parts: dict[str, Part] = {}
        for name, inputs in self.sizes.items():
            parts |= unimodal_parts(f"unimodal.{name}", self.kinds[name], inputs, self.config)
        parts |= linear_parts("encoder.first", size, hidden, count)
        parts |= linear_parts("encoder.second", hidden, hidden, count)
        parts |= linear_parts("encoder.invariant", hidden, invariant, count)
        parts |= linear_parts("encoder.spurious", hidden, size, count)
        parts |= linear_parts("decoder.first", invariant + size, hidden, count)
        parts |= linear_parts("decoder.second", hidden, hidden, count)
        parts |= linear_parts("decoder.third", hidden, size, count)
        parts |= linear_parts("predictor.first", count * invariant, hidden)
        parts |= linear_parts("predictor.second", hidden, hidden)
        parts |= linear_parts("predictor.third", hidden, self.outputs)
        return Layout(parts)

    def unimodal(self, weights: Weights, inputs: Mapping[str, Inputs]) -> Tensor:
        """X_m of all modalities: `(replica, modality, batch, d)`."""
        vectors = [
            unimodal_vector(
                weights,
                f"unimodal.{name}",
                self.kinds[name],
                self._fused(name, inputs),
                self.config,
            )
            for name in self.sizes
        ]
        return torch.stack(vectors, dim=1)

    def _fused(self, name: str, inputs: Mapping[str, Inputs]) -> Inputs:
        """Features of a modality with those of its streams behind them (Mai and Han 2026, Eq. 13).

        The first layer is linear, so that it is the linear layer of Eq. 13 on both.
        """
        own = inputs[name]
        streams = [inputs[key] for key, target in self.config.fuse.items() if target == name]
        if not streams:
            return own
        for stream in streams:
            if stream.values.shape[:-1] != own.values.shape[:-1]:
                raise InputError(
                    f"{name}: what is fused into it must have its {own.values.shape[2]} steps, but "
                    f"has {stream.values.shape[2]}. Pad both to one number of steps."
                )
        return Inputs(torch.cat([own.values, *(stream.values for stream in streams)], -1), own.mask)

    def hidden(self, weights: Weights, features: Tensor) -> Tensor:
        """Shared layers of the encoder g_m: `(replica, modality, rows, d)` to `(..., d')`."""
        first = linear_relu(weights, "encoder.first", features)
        return linear_relu(weights, "encoder.second", first)

    def invariant(self, weights: Weights, hidden: Tensor) -> Tensor:
        """Z_inv of the encoder's hidden layer: `(replica, modality, rows, d)`."""
        return linear(weights, "encoder.invariant", hidden)

    def spurious(self, weights: Weights, hidden: Tensor) -> Tensor:
        """Z_spu of the encoder's hidden layer: `(replica, modality, rows, d)`."""
        return linear(weights, "encoder.spurious", hidden)

    def encode(self, weights: Weights, features: Tensor) -> Tensor:
        """Z_inv of unimodal vectors: `(replica, modality, rows, d)` to the same shape."""
        return self.invariant(weights, self.hidden(weights, features))

    def reconstruct(self, weights: Weights, invariant: Tensor, spurious: Tensor) -> Tensor:
        """The decoder r_m on both parts: `(replica, modality, rows, d)`."""
        both = torch.cat([invariant, spurious], dim=-1)
        first = linear_relu(weights, "decoder.first", both)
        second = linear_relu(weights, "decoder.second", first)
        return linear(weights, "decoder.third", second)

    def predict(self, weights: Weights, invariant: Tensor) -> Tensor:
        """The predictor h on the invariant parts of all modalities.

        Args:
            weights: by name, `(replica, ...)`.
            invariant: `(replica, modality, rows, d)`.

        Returns:
            `(replica, rows)`: a score in label units, or a logit; with several outputs the logit of
            each, `(replica, rows, outputs)`.
        """
        return self.score(weights, self.last_hidden(weights, invariant))

    def last_hidden(self, weights: Weights, invariant: Tensor) -> Tensor:
        """Inputs of the predictor's last layer: `(replica, modality, rows, d)` to `(..., d')`."""
        joined = invariant.transpose(1, 2).flatten(2)
        first = linear_relu(weights, "predictor.first", joined)
        return linear_relu(weights, "predictor.second", first)

    def shares(self, weights: Weights, invariant: Tensor) -> Tensor:
        """What each modality adds to the predictor's first layer, without the bias.

        `(replica, modality, rows, d)` to `(replica, modality, rows, d')`.
        """
        weight = weights["predictor.first.weight"]
        own = weight.view(*invariant.shape[:2], -1, weight.shape[-1])
        return invariant @ own

    def last_hidden_of_shares(self, weights: Weights, total: Tensor) -> Tensor:
        """`last_hidden` from the sum of the shares, `(replica, rows, d')` to the same shape."""
        first = torch.relu(total + weights["predictor.first.bias"])
        return linear_relu(weights, "predictor.second", first)

    def score(self, weights: Weights, hidden: Tensor) -> Tensor:
        """The predictor's last layer: `(replica, rows, d')` to `(replica, rows)`.

        With several outputs `(replica, rows, outputs)`.
        """
        scores = linear(weights, "predictor.third", hidden)
        return scores.squeeze(-1) if self.outputs == 1 else scores

    def forward(
        self, weights: Weights, inputs: Mapping[str, Inputs], missing: Collection[str] = ()
    ) -> Tensor:
        """Predictions `(replica, batch)`, as `predict` has them, of inputs, nothing perturbed.

        The vector X_m of a missing modality is zero whatever its inputs are, which is what the
        view `erase` trains for: do(X_m = 0).
        """
        features = self.unimodal(weights, inputs)
        if missing:
            present = [name not in missing for name in self.sizes]
            features = features * torch.tensor(present, device=features.device)[:, None, None]
        return self.predict(weights, self.encode(weights, features))
