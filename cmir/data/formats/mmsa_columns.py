"""The columns of the field's common layout: ids, labels, lengths, environments and text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import polars as pl

from cmir.data.formats.inspection.labels import read_numbers
from cmir.data.formats.inspection.sample_ids import SampleIds
from cmir.data.formats.inspection.texts import texts
from cmir.data.formats.inspection.token_ids import TOKENS, token_texts
from cmir.data.formats.source import Rows
from cmir.errors import InputError

LABEL_KEYS = ("regression_labels", "labels", "label", "classification_labels")
# Columns of intensities or of 0 and 1, one for each emotion.
EMOTION_KEYS = "emotion_"
ENVIRONMENT_KEYS = ("speaker", "video", "dialogue", "session", "source", "environment")
# CH-SIMS and CH-SIMS v2: what annotators saw when one modality was shown alone.
UNIMODAL_LABELS = {
    "regression_labels_T": "label_text",
    "regression_labels_A": "label_audio",
    "regression_labels_V": "label_vision",
}

T = TypeVar("T")
Split = Mapping[str, Any]
Parts = Mapping[str, tuple[Rows, ...]]


def joined(columns: Mapping[str, list[T]]) -> list[T]:
    """The values of all splits, one split after the other."""
    return [value for column in columns.values() for value in column]


def find_label_key(train: Split, where: str) -> str:
    """The first of `LABEL_KEYS` that the train split has, else all keys `emotion_...` of it.

    Raises:
        InputError: it has none of them.
    """
    found = next((key for key in LABEL_KEYS if key in train), None)
    if found is None and sum(str(key).startswith(EMOTION_KEYS) for key in train) > 1:
        return f"{EMOTION_KEYS}*"
    if found is None:
        raise InputError(
            f"{where}: train must have a label under one of {', '.join(LABEL_KEYS)}, but has "
            f"only {', '.join(str(key) for key in train)}. Name the key with --label."
        )
    return found


def read_unimodal_labels(
    splits: Mapping[str, Split], ids: Mapping[str, list[str]], label: str, where: str
) -> list[pl.Series]:
    """Columns `label_text`, `label_audio`, `label_vision` where every split has their key.

    The key that is the label already is left out.

    Raises:
        InputError: a key does not hold one number for each sample.
    """
    columns = []
    for key, name in UNIMODAL_LABELS.items():
        if key != label and all(key in split for split in splits.values()):
            values = [
                read_numbers(split, key, len(ids[own]), f"{where}: {own}")
                for own, split in splits.items()
            ]
            columns.append(pl.Series(name, np.concatenate(values).astype(np.float32)))
    return columns


def read_text_columns(
    splits: Mapping[str, Split],
    named: SampleIds,
    parts: Parts,
    where: str,
    further: Sequence[str] = (),
) -> list[pl.Series]:
    """`video` as the ids tell it, `ENVIRONMENT_KEYS`, `raw_text`, further keys, `text_bert`.

    A key counts where every split has it. A missing `raw_text` is empty, a missing environment
    null. `text_bert` `(N, 3, T)` holds BERT's token ids, mask and
    segments; the column holds them without the padding, as the JSON text `[ids, segments]`. Of
    another shape or content it is left out.

    Raises:
        InputError: a key does not hold one text for each sample.
    """
    ids = named.ids
    columns: dict[str, list[str | None]] = {}
    if named.videos:
        columns["video"] = [video for own in named.videos.values() for video in own]
    for key in (*ENVIRONMENT_KEYS, *further, "raw_text"):
        if key not in parts and all(key in split for split in splits.values()):
            own = {n: texts(split[key], " ", f"{where}: {n}: {key}") for n, split in splits.items()}
            _check_counts(own, ids, key, where)
            columns[key] = joined(own)
    if "raw_text" in columns:
        columns["raw_text"] = [text or "" for text in columns["raw_text"]]
    tokens = [token_texts(splits[own].get(TOKENS), len(ids[own])) for own in splits]
    if all(own is not None for own in tokens):
        columns[TOKENS] = [text for own in tokens for text in own or ()]
    return [pl.Series(name, values, dtype=pl.String) for name, values in columns.items()]


def _check_counts(
    own: Mapping[str, list[str | None]], ids: Mapping[str, list[str]], key: str, where: str
) -> None:
    for name, values in own.items():
        if len(values) != len(ids[name]):
            raise InputError(
                f"{where}: {name}: {key} must hold {len(ids[name])} texts, one for each id, but "
                f"holds {len(values)}."
            )
