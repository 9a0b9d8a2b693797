"""From a feature file to a dataset folder: read, make the shift, write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.data.features import FloatArray, pool
from cmir.data.manifest import Task
from cmir.data.mmsa_layout import LabelRange, Source
from cmir.data.modality import file_sha256
from cmir.data.readers import READERS
from cmir.data.samples import read_lengths
from cmir.data.shifts import CLUSTER, check_choice, cluster_column, default_column, held_out
from cmir.data.staging import check_target
from cmir.data.writing import write_dataset
from cmir.errors import InputError

HELD_OUT = "held_out:"


def prepare(
    file: Path | str,
    out: Path | str,
    *,
    reader: str,
    name: str | None = None,
    shift: str | None = None,
    shift_seed: int = 0,
    shift_share: float = 0.15,
    label: str | None = None,
    task: Task | None = None,
    label_range: LabelRange | None = None,
    overwrite: bool = False,
) -> Path:
    """Convert a feature file to a dataset folder.

    NaN and infinity in the features become 0 and are counted in `dataset.json`.

    Args:
        file: the feature file.
        out: the dataset folder to make.
        reader: a key of `READERS`.
        name: name of the dataset; by default that of the folder.
        shift: "held_out:<column>" or "held_out:cluster" makes the out-of-distribution splits
            that the source lacks, "none" makes none. By default a source that has `ood_val`
            keeps its splits, another has speakers, videos or clusters held out.
        shift_seed: decides which groups are held out.
        shift_share: share of the samples for each new split.
        label: key of the label in the file.
        task: "regression" or "binary"; found from the labels by default.
        label_range: scale of a regression label; by default [-1, 1] or [-3, 3] if it holds all.
        overwrite: replace a dataset that is there already.

    Returns:
        The folder.

    Raises:
        InputError: the file is no such file, no shift can be made, or the folder cannot be
            written; nothing is left behind.
    """
    # First what costs nothing: reading may take minutes.
    check_choice(shift_seed, shift_share)
    check_target(Path(out).resolve(), overwrite)
    source = _with_range(READERS[reader](Path(file), label=label, task=task), label_range)
    samples, record = _shifted(source, shift, shift_seed, shift_share)
    return write_dataset(
        out,
        samples=samples,
        features={key: source.blocks(key) for key in source.parts},
        task=source.task,
        label_range=source.label_range,
        name=name or Path(out).resolve().name,
        source=_origin(Path(file), reader, source),
        shift=record,
        nonfinite="zero",
        overwrite=overwrite,
    )


def _with_range(source: Source, label_range: LabelRange | None) -> Source:
    if label_range is None:
        return source
    low, high = label_range
    outside = source.samples.filter(~pl.col("label").is_between(low, high)).height
    if source.task == "binary" or outside:
        found = "labels are classes" if source.task == "binary" else f"{outside} labels lie outside"
        raise InputError(
            f"--label-range {low:g} {high:g}: must hold every label of a regression task, but "
            f"{found}. Leave it out or widen it."
        )
    return replace(source, label_range=label_range)


def _shifted(
    source: Source, shift: str | None, seed: int, share: float
) -> tuple[pl.DataFrame, Mapping[str, Any]]:
    if "ood_val" in source.samples["split"]:
        if shift not in (None, "none"):
            raise InputError(
                f"--shift {shift}: the source brings an out-of-distribution validation split. "
                "Leave --shift out to keep it."
            )
        return source.samples, {"scheme": "given"}
    column = default_column(source.samples) if shift is None else _column(shift)
    samples = source.samples
    if column == CLUSTER and CLUSTER not in samples.columns:
        vectors = (_pooled(source, key) for key in source.parts)
        samples = samples.with_columns(cluster_column(vectors, seed=seed))
    return held_out(samples, column, seed=seed, share=share)


def _column(shift: str) -> str:
    if shift == "none":
        raise InputError(
            "--shift none: a sweep needs an out-of-distribution validation split, and the source "
            "brings none. Use --shift held_out:<column> or held_out:cluster."
        )
    column = shift.removeprefix(HELD_OUT)
    if column == shift or not column:
        raise InputError(
            f"--shift must be held_out:<column>, held_out:cluster or none, but got {shift!r}."
        )
    return column


def _pooled(source: Source, key: str) -> npt.NDArray[np.float32]:
    first = source.parts[key][0]
    lengths = read_lengths(source.samples, key, first.shape, "samples")
    vectors: list[FloatArray] = []
    row = 0
    for block in source.blocks(key):
        finite = np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)
        stop = row + len(block)
        vectors.append(finite if lengths is None else pool(finite, lengths[row:stop]))
        row = stop
    return np.concatenate(vectors).astype(np.float32)


def _origin(file: Path, reader: str, source: Source) -> dict[str, Any]:
    return {
        "file": file.name,
        "sha256": file_sha256(file),
        "reader": reader,
        "left_out": list(source.left_out),
        "notes": list(source.notes),
    }
