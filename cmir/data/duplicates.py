"""Samples that hold the same features under several ids: a leak where they lie in two splits."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl

from cmir.data.row_blocks import FloatArray, IntArray

SHOWN = 3


class FeatureDigests:
    """A digest of each sample's features, taken in modality by modality, block by block.

    What is absent in a modality adds nothing: samples that are absent in all have no digest.

    >>> digests = FeatureDigests(3)
    >>> digests.add("audio", slice(0, 3), np.array([[1.0], [0.0], [1.0]]), None)
    >>> digests.groups()
    [[0, 2]]
    """

    def __init__(self, count: int) -> None:
        self._digests = [hashlib.blake2b(digest_size=16) for _ in range(count)]
        self._is_filled = np.zeros(count, np.bool_)

    def add(self, name: str, rows: slice, block: FloatArray, lengths: IntArray | None) -> None:
        """Takes in one modality of the samples of these rows; of sequences the valid steps."""
        for place, row in enumerate(range(*rows.indices(len(self._digests)))):
            own = block[place] if lengths is None else block[place, : lengths[place]]
            if own.any():
                self._is_filled[row] = True
                self._digests[row].update(name.encode() + np.ascontiguousarray(own).tobytes())

    def groups(self) -> list[list[int]]:
        """Rows that hold the same, where several do."""
        found: dict[bytes, list[int]] = defaultdict(list)
        for row in np.flatnonzero(self._is_filled).tolist():
            found[self._digests[row].digest()].append(row)
        return [rows for rows in found.values() if len(rows) > 1]


def warn_of_copies(samples: pl.DataFrame, groups: Iterable[Sequence[int]]) -> tuple[str, ...]:
    """One warning for each two splits that hold the same features, with counts and ids.

    Args:
        samples: columns `id` and `split`.
        groups: from `FeatureDigests.groups`.
    """
    ids, splits = samples["id"].to_list(), samples["split"].to_list()
    order = {name: place for place, name in enumerate(dict.fromkeys(splits))}
    pairs: Mapping[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for rows in groups:
        first = {name: row for row in reversed(rows) for name in [splits[row]]}
        for row in rows:
            for name, other in first.items():
                if order[name] < order[splits[row]]:
                    pairs[splits[row], name].append((other, row))
    return tuple(
        f"{_counted(len({row for _, row in found}), b)} the same features as samples of {a} "
        f"under other ids: {_shown(ids, found)}. They are a leak: leave one of each two out"
        for (b, a), found in sorted(pairs.items(), key=lambda pair: [order[n] for n in pair[0]])
    )


def _counted(count: int, split: str) -> str:
    return f"1 sample of {split} holds" if count == 1 else f"{count} samples of {split} hold"


def _shown(ids: Sequence[str], pairs: Sequence[tuple[int, int]]) -> str:
    told = ", ".join(f"{ids[row]!r} = {ids[other]!r}" for other, row in pairs[:SHOWN])
    return told + (", ..." if len(pairs) > SHOWN else "")
