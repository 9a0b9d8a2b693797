"""The data card: what is in a dataset folder, as plain values.

Held-out labels are not looked at: of `id_test` and `ood_test` the card tells sizes and groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.data.cards.label_gap import warn_of_label_gaps
from cmir.data.dataset import MultimodalDataset, SplitData, load_dataset
from cmir.data.duplicates import FeatureDigests, warn_of_copies
from cmir.data.formats.inspection.padding import warn_of_blank_ends
from cmir.data.modality import Modality
from cmir.data.row_blocks import scanned, span_of, valid_steps
from cmir.data.shifts.strength import Strength, shift_strength
from cmir.data.task import Task

BINS = 7


@dataclass(frozen=True)
class LabelCard:
    """Labels of one development split; `zeros` is the share of labels that are 0.

    `histogram` counts labels in seven equal bins from `low` to `high`, or per class; of several
    labels at once how often each holds.
    """

    mean: float
    std: float
    zeros: float
    low: float
    high: float
    histogram: tuple[int, ...]


@dataclass(frozen=True)
class ModalityCard:
    """One modality; shares are over all samples, of steps the valid ones alone.

    Attributes:
        steps: number of steps with padding; None for vectors.
        size: number of features.
        dtype: as stored.
        mean_length: mean number of valid steps; None for vectors.
        zeros: share of values that are 0.
        absent: share of samples whose values are all 0.
        replaced: number of NaN and infinite values that became 0, by feature.
        warnings: steps of zeros that count, where they shrink the means.
    """

    steps: int | None
    size: int
    dtype: str
    mean_length: float | None
    zeros: float
    absent: float
    replaced: Mapping[int, int]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataCard:
    """What `prepare.py` prints.

    Attributes:
        groups: for each environment column the number of groups in each split.
        shared: for each environment column the number of groups that two splits share.
        strength: for each modality, and for the words, what a plain model loses by the shift.
        warnings: what in the source may be wrong, and what makes the splits doubtful.
    """

    name: str
    task: Task
    source: Mapping[str, Any]
    shift: Mapping[str, Any]
    sizes: Mapping[str, int]
    labels: Mapping[str, LabelCard]
    groups: Mapping[str, Mapping[str, int]]
    shared: Mapping[str, Mapping[tuple[str, str], int]]
    modalities: Mapping[str, ModalityCard]
    strength: Mapping[str, Strength]
    checksum: str
    warnings: tuple[str, ...]


def data_card(path: Path | str) -> DataCard:
    """Describe a dataset folder; reads every feature once.

    Raises:
        InputError: the folder is not a dataset.
    """
    dataset = load_dataset(path)
    development = dataset.development()
    groups = {column: _groups(dataset, column) for column in development.environment_columns}
    shared = {column: _shared(found) for column, found in groups.items()}
    labels = _label_cards(dataset.task, development.splits)
    digests = FeatureDigests(dataset.metadata.height)
    modalities = {
        name: _modality_card(modality, dataset.manifest.nonfinite.get(name), digests)
        for name, modality in dataset.modalities.items()
    }
    return DataCard(
        name=dataset.name,
        task=dataset.task,
        source=dataset.manifest.source,
        shift=dataset.manifest.shift,
        sizes=dataset.sizes,
        labels=labels,
        groups={
            column: {name: len(members) for name, members in found.items()}
            for column, found in groups.items()
        },
        shared=shared,
        modalities=modalities,
        strength=shift_strength(development),
        checksum=dataset.checksum,
        warnings=(
            *dataset.manifest.source.get("warnings", ()),
            *(warning for modality in modalities.values() for warning in modality.warnings),
            *warn_of_copies(dataset.metadata, digests.groups()),
            *warn_of_label_gaps(development, dataset.manifest.shift),
            *_missing_classes(dataset.task, labels),
            *_warnings(shared),
        ),
    )


def _label_cards(task: Task, splits: Mapping[str, SplitData]) -> dict[str, LabelCard]:
    low, high = task.label_range or _limits(splits)
    bins = BINS if task.kind == "regression" else 2
    if task.kind == "classes":
        low, high, bins = -0.5, len(task.names) - 0.5, len(task.names)
    return {name: _label_card(split.labels, low, high, bins) for name, split in splits.items()}


def _missing_classes(task: Task, labels: Mapping[str, LabelCard]) -> list[str]:
    """Names that no sample of a split has: what a metric says of them there is nothing."""
    found = []
    for split, card in labels.items():
        missing = [name for name, n in zip(task.names, card.histogram, strict=False) if not n]
        if missing:
            found.append(f"no sample of {split} has the label {', '.join(missing)}")
    return found


def _limits(splits: Mapping[str, SplitData]) -> tuple[float, float]:
    labels = np.concatenate([split.labels for split in splits.values()])
    return float(labels.min()), float(labels.max())


def _label_card(labels: npt.NDArray[np.float32], low: float, high: float, bins: int) -> LabelCard:
    counts = (
        np.histogram(labels, bins=bins, range=(low, high))[0]
        if labels.ndim == 1
        else labels.sum(axis=0)
    )
    return LabelCard(
        mean=float(labels.mean(dtype=np.float64)),
        std=float(labels.std(dtype=np.float64)),
        zeros=float((labels == 0).mean()),
        low=low,
        high=high,
        histogram=tuple(int(count) for count in counts),
    )


def _groups(dataset: MultimodalDataset, column: str) -> dict[str, set[str]]:
    table = dataset.metadata
    return {
        name: set(table.filter(pl.col("split") == name)[column].drop_nulls().to_list())
        for name in dataset.sizes
    }


def _shared(groups: Mapping[str, set[str]]) -> dict[tuple[str, str], int]:
    return {(a, b): len(groups[a] & groups[b]) for a, b in combinations(groups, 2)}


def _modality_card(
    modality: Modality, replaced: Mapping[str, Any] | None, digests: FeatureDigests
) -> ModalityCard:
    zeros, absent, count, blank, blank_rows = 0, 0, 0, 0, 0
    for rows, block in scanned(modality.array):
        is_zero = block == 0
        lengths = None if modality.lengths is None else modality.lengths[rows]
        digests.add(modality.name, rows, block, lengths)
        if lengths is not None:
            valid = valid_steps(lengths, block.shape[1])
            zeros += int(is_zero[valid].sum())
            count += int(valid.sum()) * modality.size
            is_zero = is_zero | ~valid[:, :, None]
            begins, ends = span_of(~is_zero.all(axis=2))
            ending = np.where(ends > 0, lengths - (ends - begins), 0)
            blank, blank_rows = blank + int(ending.sum()), blank_rows + int((ending > 0).sum())
        else:
            zeros += int(is_zero.sum())
            count += is_zero.size
        absent += int(is_zero.reshape(len(block), -1).all(axis=1).sum())
    return ModalityCard(
        steps=modality.steps,
        size=modality.size,
        dtype=modality.array.dtype.name,
        mean_length=None if modality.lengths is None else float(modality.lengths.mean()),
        zeros=zeros / count,
        absent=absent / len(modality.array),
        replaced={int(k): int(v) for k, v in (replaced or {}).get("columns", {}).items()},
        warnings=warn_of_blank_ends(modality.name, count // modality.size, blank, blank_rows),
    )


def _warnings(shared: Mapping[str, Mapping[tuple[str, str], int]]) -> tuple[str, ...]:
    return tuple(
        f"{b} shares {count} {column} groups with {a}: it is not out of distribution by {column}"
        for column, pairs in shared.items()
        for (a, b), count in pairs.items()
        if count and b.startswith("ood_") and a in ("train", "id_val")
    )
