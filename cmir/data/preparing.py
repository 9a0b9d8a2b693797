"""From a feature file to a dataset folder: read, make the shift, write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cmir.data.formats.mmsa_layout import OTHERS
from cmir.data.formats.origin import Progress, origin_of
from cmir.data.formats.readers import read_source
from cmir.data.formats.source import Source
from cmir.data.label_checks import check_classes
from cmir.data.row_blocks import FloatArray
from cmir.data.shifts.annealing_plot import PICTURE_FILE, draw_annealing
from cmir.data.shifts.making import ShiftedSource, make_shift, named_splits, read_shift
from cmir.data.shifts.split_index import INDEX_FILE, write_index
from cmir.data.staging import check_target
from cmir.data.task import TaskKind
from cmir.data.writing import write_dataset
from cmir.errors import InputError


def prepare(
    source: Path | str | Sequence[Path | str],
    out: Path | str,
    *,
    reader: str,
    name: str | None = None,
    shift: str | None = None,
    shift_seed: int = 0,
    shift_share: float = 0.15,
    label: str | None = None,
    task: TaskKind | None = None,
    label_range: tuple[float, float] | None = None,
    names: Sequence[str] = (),
    threshold: float | None = None,
    splits: Mapping[str, str] | None = None,
    steps: int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda what, done, total: None,
) -> Path:
    """Convert a feature file to a dataset folder.

    NaN and infinity in the features become 0 and are counted by column in `dataset.json`.
    Features pass in blocks from the mapped file to the new one; what is in memory at a time is
    the table of samples and one modality's vectors.

    Args:
        source: the feature file or folder, or several files where the reader takes them.
        out: the dataset folder to make.
        reader: a name in `cmir.extensions.FILE_FORMATS`.
        name: name of the dataset; by default that of the folder.
        shift: how the out-of-distribution splits are made, see `shifts.making.FORMS`; "none" keeps
            those of the source. By default a source that has `ood_val` keeps its splits, another
            has speakers, videos or clusters held out.
        shift_seed: of every draw, such as which groups are held out.
        shift_share: share of the samples for each new split.
        label: key of the label in the file.
        task: "regression", "binary", "classes" or "multilabel"; found from the labels by default.
        label_range: scale of a regression label; by default [-1, 1] or [-3, 3] if it holds all.
        names: of classes in the order of their numbers, or of the columns of several labels.
        threshold: intensities above it are labels of several that hold.
        splits: names of splits in the file, and which of ours they mean; "none" leaves one out,
            and the name "*" stands for all that have no meaning.
        steps: longest sequence (reader `funny`).
        overwrite: replace a dataset that is there already.
        progress: told what is being done, and how many bytes of how many are done.

    Returns:
        The folder.

    Raises:
        InputError: the file is no such file, no shift can be made, or the folder cannot be
            written; nothing is left behind.
    """
    # First what costs nothing: reading may take minutes.
    _check_options(steps, label_range)
    request = read_shift(shift, shift_seed, shift_share)
    check_target(Path(out).resolve(), overwrite)
    paths = [Path(path) for path in ([source] if isinstance(source, Path | str) else source)]
    meanings = {**named_splits(request), **(splits or {})}
    # Whoever names a scale has said that the labels are one.
    asked: dict[str, Any] = {
        "task": task or ("regression" if label_range else None),
        "names": tuple(names),
    }
    asked["threshold"] = threshold
    options = {"label": label, "splits": meanings, "steps": steps, **asked}

    def read(files: Sequence[Path]) -> Source:
        return read_source(reader, files, **options)

    whole = read(paths)
    _check_split_names(splits or {}, whole)
    shifted = make_shift(_with_range(whole, label_range), request, read)
    found = shifted.source
    check_classes(shifted.samples, found.task, ", ".join(map(str, paths)))

    def add_index(folder: Path) -> None:
        write_index(folder / INDEX_FILE, shifted.samples)
        if "trace" in shifted.record:
            draw_annealing(folder / PICTURE_FILE, shifted.record["trace"])

    return write_dataset(
        out,
        samples=shifted.samples,
        features=_told(shifted, progress),
        task=found.task,
        name=name or Path(out).resolve().name,
        source=_origin(paths, reader, found, progress),
        shift=shifted.record,
        nonfinite="zero",
        overwrite=overwrite,
        finish=add_index,
    )


def _check_options(steps: int | None, label_range: tuple[float, float] | None) -> None:
    if steps is not None and steps < 1:
        raise InputError(f"--steps must be at least 1, but got {steps}.")
    if label_range is not None and not -np.inf < label_range[0] < label_range[1] < np.inf:
        low, high = label_range
        raise InputError(
            f"--label-range must be two numbers, LOW below HIGH, but got {low:g} {high:g}."
        )


def _check_split_names(given: Mapping[str, str], source: Source) -> None:
    unknown = [name for name in given if name not in (*source.split_names, OTHERS)]
    if unknown:
        raise InputError(
            f"--split {unknown[0]}={given[unknown[0]]}: the source must have the split "
            f"{unknown[0]!r}, but has only {', '.join(source.split_names)}."
        )


def _told(source: ShiftedSource, progress: Progress) -> dict[str, Iterator[FloatArray]]:
    """The features of each modality; each block tells how far the conversion is."""
    sizes = {
        key: source.samples.height * int(np.prod(parts[0].shape[1:])) * 4
        for key, parts in source.source.parts.items()
    }
    done = 0

    def blocks(key: str) -> Iterator[FloatArray]:
        nonlocal done
        for block in source.blocks(key):
            yield block
            done += block.size * 4
            progress(f"writing {key}", done, sum(sizes.values()))

    return {key: blocks(key) for key in sizes}


def _with_range(source: Source, label_range: tuple[float, float] | None) -> Source:
    if label_range is None:
        return source
    low, high = label_range
    outside = source.samples.filter(~pl.col("label").is_between(low, high)).height
    is_scale = source.task.kind == "regression"
    if outside or not is_scale:
        found = f"{outside} labels lie outside" if is_scale else "labels are classes"
        raise InputError(
            f"--label-range {low:g} {high:g}: must hold every label of a regression task, but "
            f"{found}. Leave it out or widen it."
        )
    return replace(source, task=replace(source.task, label_range=label_range))


def _origin(
    paths: Sequence[Path], reader: str, source: Source, progress: Progress
) -> dict[str, Any]:
    record, known = origin_of(paths, progress)
    return {
        **record,
        "reader": reader,
        "left_out": list(source.left_out),
        "notes": [*source.notes, *known],
        **({"warnings": list(source.warnings)} if source.warnings else {}),
    }
