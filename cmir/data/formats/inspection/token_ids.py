"""Token ids are not features: told from their content, under whatever key they lie."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.data.formats.source import Chosen, Ragged, Rows
from cmir.data.row_blocks import forget, row_blocks
from cmir.errors import InputError

TOKENS = "text_bert"
# Whole numbers that go further than this are places in a vocabulary, not levels or counts.
LARGEST_LEVEL = 1000

Split = Mapping[str, Any]


def with_named_tokens(splits: Mapping[str, Split]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The splits with BERT's input under `text_bert`, where another key holds it; and notes.

    BERT's input is `(N, 3, T)`: token ids, attention mask, segments. Where `text_bert` is there
    already, another key with such content is left out of the split.
    """
    found = {name: dict(split) for name, split in splits.items()}
    first = next(iter(found.values()))
    keys = [
        key
        for key in first
        if key != TOKENS and all(_is_input_of_bert(split.get(key)) for split in found.values())
    ]
    notes = []
    for key in keys:
        is_free = not any(TOKENS in split for split in found.values())
        for split in found.values():
            tokens = split.pop(key)
            split.pop(f"{key}_lengths", None)
            if is_free:
                split[TOKENS] = np.asarray(tokens[0 : tokens.shape[0]])
        what = f"kept as {TOKENS}" if is_free else f"left out, as {TOKENS} is there"
        notes.append(f"{key}: token ids, mask and segments of BERT, no features: {what}")
    return found, notes


def check_no_tokens(name: str, parts: tuple[Rows, ...], where: str) -> None:
    """Refuse token ids in the place of features.

    Raises:
        InputError: every value is a whole number from 0, and some are larger than a level is.
    """
    largest = 0.0
    for part in parts:
        for rows in row_blocks(part.shape):
            block = part[rows]
            # One value that is no whole number from 0 settles it, mostly the first.
            if _first_is_fraction(block) or not _are_places(block):
                return
            largest = max(largest, float(block.max(initial=0)))
            forget(part)
    if largest > LARGEST_LEVEL:
        raise InputError(
            f"{where}: {name} must hold features, but holds whole numbers from 0 to {largest:g}, "
            f"as token ids are. Remove the key, or keep BERT's input (N, 3, T) as {TOKENS} and its "
            "vectors as features (embed.py makes them); numbers that are no ids, divide by a "
            "constant."
        )


def token_texts(value: object, count: int) -> list[str] | None:
    """JSON texts of token ids and segments; None where the array is none of BERT's input."""
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu" or value.ndim != 3:
        return None
    if value.shape[:2] != (count, 3) or not _is_whole(value):
        return None
    ids, mask, segments = value.transpose(1, 0, 2).astype(np.int64)
    lengths = mask.sum(axis=1)
    # Tokenizers pad in front too: the ones of the mask must stand together, wherever.
    starts = mask.argmax(axis=1)
    places = np.arange(value.shape[2]) - starts[:, None]
    if not (mask == ((places >= 0) & (places < lengths[:, None]))).all() or (lengths < 1).any():
        return None
    return [
        json.dumps(
            [ids[row, start:end].tolist(), segments[row, start:end].tolist()], separators=(",", ":")
        )
        for row, (start, end) in enumerate(
            zip(starts.tolist(), (starts + lengths).tolist(), strict=True)
        )
    ]


def _is_input_of_bert(value: Any) -> bool:
    if not isinstance(value, np.ndarray | Ragged | Chosen) or value.dtype.kind not in "fiu":
        return False
    if len(value.shape) != 3 or value.shape[1] != 3 or 0 in value.shape:
        return False
    for rows in row_blocks(value.shape):
        block: Any = value[rows]
        if _first_is_fraction(block) or not _is_whole(block):
            return False
        ids, mask, segments = block[:, 0], block[:, 1], block[:, 2]
        if not np.isin(mask, (0, 1)).all() or not np.isin(segments, (0, 1)).all():
            return False
        if (ids < 0).any() or not (ids > 1).any():
            return False
        forget(value)
    return True


def _first_is_fraction(block: npt.NDArray[Any]) -> bool:
    return block.size > 0 and not _is_whole(block[:1])


def _are_places(block: npt.NDArray[Any]) -> bool:
    return _is_whole(block) and not (block < 0).any()


def _is_whole(block: npt.NDArray[Any]) -> bool:
    if block.dtype.kind in "iu":
        return True
    return bool((np.isfinite(block) & (block == np.floor(block))).all())
