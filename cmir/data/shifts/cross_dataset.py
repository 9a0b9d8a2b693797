"""Training on one data set, testing on another with the same modalities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl

from cmir.data.formats.source import Source, of_one_length
from cmir.errors import InputError

# Of the data set that is tested on; its training split takes no part.
PLACES = {
    "id_val": "ood_val",
    "ood_val": "ood_val",
    "id_test": "ood_test",
    "ood_test": "ood_test",
}


def crossed(first: Source, other: Source, name: str) -> tuple[Source, dict[str, Any]]:
    """Joins two sources: training and `id_*` from the first, `ood_*` from the other.

    The other's validation splits become `ood_val`, its test splits `ood_test`; its training split,
    and what the first source has of `ood_*`, get a null split. Its labels are mapped linearly from
    its range to the first one's. Shorter sequences are padded. Its ids begin with its name; the
    column `source` tells both apart.

    Args:
        first: trained on.
        other: tested on.
        name: of the other, for ids and messages.

    Returns:
        The joined source, and the record for `dataset.json`.

    Raises:
        InputError: other modalities, sizes or task, or a scale of labels that is not known.
    """
    _check(first, other, name)
    slope, offset = _label_map(first, other, name)
    theirs = other.samples.with_columns(
        id=pl.lit(f"{name}:") + pl.col("id"),
        split=pl.col("split").replace_strict(PLACES, default=None),
        label=pl.col("label")
        if first.task.is_named
        else (pl.col("label") * slope + offset).cast(pl.Float32),
        source=pl.lit(name),
    )
    ours = first.samples.with_columns(
        split=pl.when(pl.col("split").str.starts_with("ood")).then(None).otherwise("split"),
        source=pl.lit("training"),
    )
    both = pl.concat([_with_lengths(ours, first), _with_lengths(theirs, other)], how="diagonal")
    shared = [key for key in both.columns if key == "split" or not both[key].null_count()]
    joined = replace(
        first,
        samples=both.select(shared),
        parts={key: of_one_length((*first.parts[key], *other.parts[key])) for key in first.parts},
        notes=(*first.notes, *(f"{name}: {note}" for note in other.notes)),
        warnings=(*first.warnings, *(f"{name}: {warning}" for warning in other.warnings)),
    )
    record = {"scheme": "cross", "other": name, "label_map": [slope, offset]}
    ranges = {"training": first.task.label_range, "other": other.task.label_range}
    return joined, record | {"label_ranges": ranges}


def _check(first: Source, other: Source, name: str) -> None:
    same = other.samples["id"].is_in(first.samples["id"].to_list()).sum()
    if 2 * same > other.samples.height:
        raise InputError(
            f"--shift cross: {name} must be another data set than the source, but {same} of its "
            f"{other.samples.height} ids are ids of the source."
        )
    if first.task.kind != other.task.kind:
        raise InputError(
            f"--shift cross: both data sets must have one task, but it is {first.task.kind} in the "
            f"source and {other.task.kind} in {name}. Give --task."
        )
    if (first.task.names, first.task.threshold) != (other.task.names, other.task.threshold):
        raise InputError(
            f"--shift cross: both data sets must have the same names of classes, but the source "
            f"has {', '.join(first.task.names)} and {name} has {', '.join(other.task.names)}. Give "
            "all of both with --names."
        )
    sizes = [{key: parts[0].shape[-1] for key, parts in s.parts.items()} for s in (first, other)]
    kinds = [{key: len(parts[0].shape) for key, parts in s.parts.items()} for s in (first, other)]
    if sizes[0] != sizes[1] or kinds[0] != kinds[1]:
        raise InputError(
            f"--shift cross: both data sets must have the same modalities and sizes, sequences or "
            f"vectors alike, but the source has {sizes[0]} and {name} has {sizes[1]}."
        )


def _label_map(first: Source, other: Source, name: str) -> tuple[float, float]:
    """Slope and offset from the other's labels to the first's."""
    ours, theirs = first.task.label_range, other.task.label_range
    if first.task.kind != "regression" or ours == theirs:
        return 1.0, 0.0
    if ours is None or theirs is None:
        raise InputError(
            f"--shift cross: the ranges of the labels must be known to map them, but they are "
            f"{ours} in the source and {theirs} in {name}. Give --label-range for the source; the "
            "other's labels must lie in [-1, 1] or [-3, 3]."
        )
    slope = (ours[1] - ours[0]) / (theirs[1] - theirs[0])
    return slope, ours[0] - slope * theirs[0]


def _with_lengths(samples: pl.DataFrame, source: Source) -> pl.DataFrame:
    """Lengths for every sequence: without them padding would count as valid."""
    missing = {
        f"{key}_length": parts[0].shape[1]
        for key, parts in source.parts.items()
        if len(parts[0].shape) == 3 and f"{key}_length" not in samples.columns
    }
    return samples.with_columns(
        pl.lit(steps, pl.Int32).alias(column) for column, steps in missing.items()
    )
