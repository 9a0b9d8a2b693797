"""What a trained model makes of samples: unimodal vectors, both parts, predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmir.data import DevelopmentData
from cmir.method.networks.features import Features
from cmir.method.networks.model import Network, Weights
from cmir.method.networks.predictions import CHUNK, predict, shared_inputs
from cmir.method.networks.sized_network import network_for
from cmir.method.training.language_features import Language, features_with_language
from cmir.method.training.reports import TrialResult

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Parts:
    """Both parts of every sample, the modalities side by side: `(replica, n, modalities * d)`.

    Each part has a d of its own where `model.invariant_size` is set.
    """

    invariant: FloatArray
    spurious: FloatArray

    def of(self, samples: np.ndarray) -> Parts:
        """Those of the chosen samples."""
        return Parts(self.invariant[:, samples], self.spurious[:, samples])

    @property
    def both(self) -> FloatArray:
        """Everything the encoder keeps, `(replica, n, modalities * (d_inv + d_spu))`."""
        return np.concatenate([self.invariant, self.spurious], axis=-1)

    @property
    def by_name(self) -> dict[str, FloatArray]:
        """`invariant`, `spurious` and `both`."""
        return {"invariant": self.invariant, "spurious": self.spurious, "both": self.both}


class Encoder(Protocol):
    """What the probes with ground truth ask of a model."""

    def parts(self, data: DevelopmentData, rows: np.ndarray) -> Parts:
        """Z_inv and Z_spu of rows `(n,)` of a data set."""

    def predictions(self, data: DevelopmentData, rows: np.ndarray) -> FloatArray:
        """Scores `(replica, n)` of rows of a data set."""


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A network, the weights of its seeds `(replica, weights)`, and their language models.

    Nothing here has a gradient.
    """

    network: Network
    stack: Tensor
    language: Language = field(default_factory=dict)

    @cached_property
    def weights(self) -> Weights:
        """The weights by name."""
        return self.network.layout.unpack(self.stack)

    def vectors(self, data: DevelopmentData, rows: np.ndarray) -> Tensor:
        """X_m of rows `(n,)` of a data set, `(replica, modality, n, d)`, on the weights' device."""
        features = self._features(data)

        def of_rows(chunk: Tensor) -> Tensor:
            inputs = shared_inputs(features, chunk, len(self.stack))
            return self.network.unimodal(self.weights, inputs)

        return self._in_chunks(of_rows, torch.from_numpy(rows).to(self.stack.device), 0)

    def encode(self, vectors: Tensor) -> Parts:
        """Z_inv and Z_spu of unimodal vectors `(replica, modality, n, d)`."""
        parts = self.encode_by_modality(vectors)
        joined = (part.transpose(1, 2).flatten(2).cpu().numpy() for part in parts)
        return Parts(*joined)

    def encode_by_modality(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Z_inv and Z_spu of `(replica, modality, n, d)`: the same shape, each with its width."""

        def both_of(chunk: Tensor) -> Tensor:
            hidden = self.network.hidden(self.weights, chunk)
            invariant = self.network.invariant(self.weights, hidden)
            return torch.cat([invariant, self.network.spurious(self.weights, hidden)], dim=-1)

        both = self._in_chunks(both_of, vectors, 2)
        width = self.network.config.invariant_width
        return both[..., :width], both[..., width:]

    def parts(self, data: DevelopmentData, rows: np.ndarray) -> Parts:
        """Z_inv and Z_spu of rows `(n,)` of a data set, `(replica, n, modalities * d)` each."""
        return self.encode(self.vectors(data, rows))

    def predicted(self, invariant: Tensor) -> FloatArray:
        """Scores of Z_inv `(replica, modality, n, d)`, as `predictions` has them."""
        with torch.no_grad():
            return self.network.predict(self.weights, invariant).cpu().numpy()

    def predictions(self, data: DevelopmentData, rows: np.ndarray) -> FloatArray:
        """Scores `(replica, n)`: label units, or logits."""
        device = self.stack.device
        features = self._features(data)
        return predict(self.network, self.weights, features, rows, device).cpu().numpy()

    def _features(self, data: DevelopmentData) -> Features:
        device = self.stack.device
        return features_with_language(data, self.network.config, self.language, device)

    def _in_chunks(
        self, function: Callable[[Tensor], Tensor], samples: Tensor, axis: int
    ) -> Tensor:
        """The function on so many samples at a time; its results have the samples on axis 2."""
        size = max(16, CHUNK // len(self.stack))
        with torch.no_grad():
            return torch.cat([function(chunk) for chunk in torch.split(samples, size, axis)], dim=2)


def model_of(result: TrialResult, data: DevelopmentData) -> TrainedModel:
    """The model that a finished training on this data has left."""
    network = network_for(data, result.config.model)
    return TrainedModel(network, result.weights, result.language)
