"""From a feature file to a dataset folder: read, make the shift, write."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from cmir.data.manifest import Task
from cmir.data.mmsa_layout import LabelRange, Source
from cmir.data.modality import file_sha256
from cmir.data.readers import READERS
from cmir.data.shifts.index import INDEX_FILE, write_index
from cmir.data.shifts.making import make_shift, read_shift
from cmir.data.shifts.picture import PICTURE_FILE, draw_annealing
from cmir.data.staging import check_target
from cmir.data.writing import write_dataset
from cmir.errors import InputError


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
        shift: how the out-of-distribution splits are made, see `shifts.making.FORMS`; "none" keeps
            those of the source. By default a source that has `ood_val` keeps its splits, another
            has speakers, videos or clusters held out.
        shift_seed: of every draw, such as which groups are held out.
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
    request = read_shift(shift, shift_seed, shift_share)
    check_target(Path(out).resolve(), overwrite)

    def read(other: Path) -> Source:
        return READERS[reader](other, label=label, task=task)

    source = _with_range(read(Path(file)), label_range)
    shifted = make_shift(source, request, read)
    folder = write_dataset(
        out,
        samples=shifted.samples,
        features={key: shifted.blocks(key) for key in source.parts},
        task=source.task,
        label_range=source.label_range,
        name=name or Path(out).resolve().name,
        source=_origin(Path(file), reader, source),
        shift=shifted.record,
        nonfinite="zero",
        overwrite=overwrite,
    )
    write_index(folder / INDEX_FILE, shifted.samples)
    if "trace" in shifted.record:
        draw_annealing(folder / PICTURE_FILE, shifted.record["trace"])
    return folder


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


def _origin(file: Path, reader: str, source: Source) -> dict[str, Any]:
    return {
        "file": file.name,
        "sha256": file_sha256(file),
        "reader": reader,
        "left_out": list(source.left_out),
        "notes": list(source.notes),
    }
