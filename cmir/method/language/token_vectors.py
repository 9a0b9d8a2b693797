"""Vectors of tokens from a language model: one forward pass over a few texts of like length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmir.data.row_blocks import IntArray
from cmir.method.language.tokens import Tokens


def token_vectors(
    model: torch.nn.Module,
    tokens: Tokens,
    rows: IntArray,
    device: torch.device,
    precision: torch.dtype = torch.float32,
    layer: int | None = None,
) -> Tensor:
    """Runs texts through a model, padded to the longest among them.

    Args:
        model: of transformers, on the device.
        tokens: of the data set.
        rows: which texts, `(n,)`.
        device: where the model is.
        precision: `float16` or `bfloat16` for mixed precision.
        layer: whose output is wanted, 0 for the embedding; the last one by default.

    Returns:
        `(n, T, D)` float32, zero beyond each text's end.
    """
    lengths = torch.from_numpy(tokens.lengths[rows])
    steps = int(lengths.max())
    mask = torch.arange(steps) < lengths[:, None]
    given = {
        "input_ids": torch.from_numpy(tokens.ids[rows, :steps].astype(np.int64)).to(device),
        "token_type_ids": torch.from_numpy(tokens.segments[rows, :steps].astype(np.int64)).to(
            device
        ),
        "attention_mask": mask.long().to(device),
    }
    is_mixed = precision != torch.float32
    with torch.autocast(device.type, precision if is_mixed else torch.bfloat16, enabled=is_mixed):
        found: Any = model(**given, output_hidden_states=layer is not None)
    vectors: Tensor = found.last_hidden_state if layer is None else found.hidden_states[layer]
    return torch.where(mask.to(device)[..., None], vectors.float(), 0.0)


def batches_by_length(lengths: IntArray, budget: int) -> Iterator[IntArray]:
    """Cuts texts into batches of like length and at most `budget` padded tokens, longest first.

    Yields:
        positions in `lengths`; a text that alone exceeds the budget is a batch of its own.

    Example:
        >>> [batch.tolist() for batch in batches_by_length(np.array([2, 5, 3, 2]), 6)]
        [[1], [2, 0], [3]]
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        count = max(1, budget // int(lengths[order[start]]))
        yield order[start : start + count]
        start += count
