"""Vectors of tokens from a language model: one forward pass over a few texts of like length."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import signature
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
    with mixed(device, precision):
        found = run_model(model, tokens, rows, device, output_hidden_states=layer is not None)
    vectors: Tensor = found.last_hidden_state if layer is None else found.hidden_states[layer]
    return torch.where(valid_steps(tokens, rows).to(device)[..., None], vectors.float(), 0.0)


def mixed(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """The context in which a model runs in mixed precision; `float32`: nothing is mixed."""
    is_mixed = precision != torch.float32
    return torch.autocast(device.type, precision if is_mixed else torch.bfloat16, enabled=is_mixed)


def run_model(
    model: torch.nn.Module, tokens: Tokens, rows: IntArray, device: torch.device, **settings: Any
) -> Any:
    """What a model of transformers gives for texts, padded to the longest among them."""
    mask = valid_steps(tokens, rows)
    steps = mask.shape[1]
    given = {
        "input_ids": torch.from_numpy(tokens.ids[rows, :steps].astype(np.int64)).to(device),
        "attention_mask": mask.long().to(device),
    }
    if "token_type_ids" in signature(model.forward).parameters:
        segments = torch.from_numpy(tokens.segments[rows, :steps].astype(np.int64))
        given["token_type_ids"] = segments.to(device)
    return model(**given, **settings)


def valid_steps(tokens: Tokens, rows: IntArray) -> Tensor:
    """`(n, T)`, True up to each text's end, T being the longest among them."""
    lengths = torch.from_numpy(tokens.lengths[rows])
    return torch.arange(int(lengths.max())) < lengths[:, None]


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
