"""Which reader a split of another layout is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def other_reader(split: Any) -> str:
    """A sentence that names the reader of a split, empty where none is known.

    >>> other_reader([((["a", "word"], [[0.1]], [[0.2]]), 1.5, "clip")])
    ' It is the layout of the reader mag: python workflows/prepare.py mag ...'
    """
    reader = _reader_of(split)
    if reader is None:
        return ""
    return f" It is the layout of the reader {reader}: python workflows/prepare.py {reader} ..."


def _reader_of(split: Any) -> str | None:
    if isinstance(split, Mapping):
        return "mmsa" if "id" in split or b"id" in split else None
    if not isinstance(split, Sequence | np.ndarray) or isinstance(split, str | bytes):
        return None
    first = split[0] if len(split) else None
    if not isinstance(first, Sequence) or not isinstance(first[:1], list | tuple) or not first:
        return None
    inner = first[0]
    parts = len(inner) if isinstance(inner, list | tuple) else 0
    return {(3, 3): "mag", (3, 4): "mag", (4, 4): "funny"}.get((len(first), parts))
