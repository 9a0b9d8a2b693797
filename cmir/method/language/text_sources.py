"""The texts of a data set's samples, each kept once, as a model in training reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from cmir.data.row_blocks import IntArray
from cmir.method.language.layer_outputs import LayerOutputs
from cmir.method.language.token_vectors import mixed, token_vectors
from cmir.method.language.tokens import Tokens


class TextSource(Protocol):
    """Texts, and which of them each sample has."""

    @property
    def of_sample(self) -> IntArray:
        """The text of each sample of a data set, `(N,)`; -1 where it has none."""

    @property
    def lengths(self) -> IntArray:
        """Tokens of each text, `(n,)`."""

    def vectors(
        self, model: nn.Module, texts: IntArray, device: torch.device, precision: torch.dtype
    ) -> Tensor:
        """`(len(texts), T, D)` float32, zero beyond each text's end."""


@dataclass(frozen=True, eq=False)
class WholeTexts:
    """Texts as token ids, for a model that is trained from its embedding on."""

    tokens: Tokens
    of_sample: IntArray

    @property
    def lengths(self) -> IntArray:
        """Tokens of each text, `(n,)`."""
        return self.tokens.lengths

    def vectors(
        self, model: nn.Module, texts: IntArray, device: torch.device, precision: torch.dtype
    ) -> Tensor:
        """See `TextSource`."""
        return token_vectors(model, self.tokens, texts, device, precision)


@dataclass(frozen=True, eq=False)
class CutTexts:
    """Texts as what enters a layer, for a model that is trained from there on."""

    outputs: LayerOutputs
    of_sample: IntArray

    @property
    def lengths(self) -> IntArray:
        """Tokens of each text, `(n,)`."""
        return self.outputs.lengths

    def vectors(
        self, model: nn.Module, texts: IntArray, device: torch.device, precision: torch.dtype
    ) -> Tensor:
        """See `TextSource`."""
        states, mask = (one.to(device) for one in self.outputs.padded(texts))
        with mixed(device, precision):
            found: Any = model(inputs_embeds=states, attention_mask=mask.long())
        return torch.where(mask[..., None], found.last_hidden_state.float(), 0.0)


def distinct(tokens: Tokens) -> tuple[Tokens, IntArray]:
    """Each text once, and which of them each row has, -1 for a row without tokens.

    Example:
        >>> same = Tokens(np.array([[5, 6], [7, 0], [5, 6]]), np.zeros((3, 2)), np.array([2, 1, 2]),
        ...               np.zeros(3, bool))
        >>> once, of_row = distinct(same)
        >>> once.ids.tolist(), of_row.tolist()
        ([[5, 6], [7, 0]], [0, 1, 0])
    """
    rows = np.flatnonzero(tokens.lengths)
    parts = (tokens.ids[rows], tokens.segments[rows], tokens.lengths[rows, None])
    key = np.concatenate(parts, axis=1, dtype=np.int64, casting="unsafe")
    _, first, inverse = np.unique(key, axis=0, return_index=True, return_inverse=True)
    of_row = np.full(len(tokens.lengths), -1, dtype=np.int64)
    of_row[rows] = inverse.reshape(-1)
    return tokens.at(rows[first]), of_row
