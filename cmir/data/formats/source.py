"""What a feature file holds, before out-of-distribution splits are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from cmir.data.formats.rows import Rows, float_blocks
from cmir.data.manifest import Task
from cmir.data.row_blocks import FloatArray

LabelRange = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Source:
    """What a feature file holds, before out-of-distribution splits are made.

    Attributes:
        samples: columns `id`, `split`, `label`, then lengths, further labels, environments and
            text, N rows.
        parts: for each modality its arrays of the splits, in the order of the rows.
        task: "regression" or "binary".
        label_range: the scale of a regression label, None where it is not a usual one.
        left_out: keys of the file that did not become part of the dataset.
        notes: what a reader of the data card should know.
        split_names: names of the splits in the file.
    """

    samples: pl.DataFrame
    parts: Mapping[str, tuple[Rows, ...]]
    task: Task
    label_range: LabelRange | None
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    split_names: tuple[str, ...]

    def blocks(self, modality: str) -> Iterator[FloatArray]:
        """The features of one modality, some rows at a time: float16 or float32."""
        return float_blocks(self.parts[modality])
