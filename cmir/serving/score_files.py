"""Samples on disk to a table of predictions: a dataset folder, an .npz file, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cmir.data import HeldoutData, Modality, MultimodalDataset, SplitData, load_dataset
from cmir.data.formats.inspection.texts import text_of
from cmir.data.formats.npz_file import mapped_arrays
from cmir.data.manifest import DEVELOPMENT_SPLITS
from cmir.data.row_blocks import row_blocks
from cmir.data.task import Task
from cmir.errors import InputError
from cmir.serving.label_comparison import (
    LABEL,
    is_same_task,
    labels_given,
    with_labels,
)
from cmir.serving.predictor import Ensemble
from cmir.serving.requests import LENGTHS
from cmir.serving.sentences import RAW_TEXT, SENTENCES

IDENTITY = "id"
# What a text is counted as where samples are scored block by block: its vectors are several times
# as large.
TEXT_VALUES = 1 << 14


def score_source(
    ensemble: Ensemble,
    source: Path,
    split: str | None = None,
    heldout: HeldoutData | None = None,
) -> pl.DataFrame:
    """Predicts the samples of a source, in its order.

    Args:
        ensemble: the model.
        source: a dataset folder; an `.npz` file with arrays as `Ensemble.predict` takes them, and
            an `id` and a `label` of each sample if there are; or a `.json` file with such a dict,
            which may stand under `inputs` as in a request to a server.
        split: of a dataset folder, the only one to score; None: those that a sweep may see.
        heldout: of that folder, read by who counts the test-set access: with it the held-out
            splits are scored too, and compared with their labels.

    Returns:
        one row per sample: `id` and `split` where the source tells them, the columns of
        `Ensemble.predict`, its distances where the model carries their limits, and where labels are
        known `label` and `error`, see `cmir.serving.label_comparison`. Of a held-out split that is
        asked for without `heldout` no label is read, so that scoring it is no test-set access.

    Raises:
        InputError: the source cannot be read or does not fit the model.
    """
    if source.is_dir():
        return _score_folder(ensemble, source, split, heldout)
    if split is not None or heldout is not None:
        named = "--test-set" if split is None else f"--split {split}"
        raise InputError(f"{named}: only a dataset folder has splits, {source} has none.")
    given = _read_file(source)
    spare = {key for key in (IDENTITY, LABEL, f"{LABEL}s") if key not in ensemble.expected}
    beside = {key.rstrip("s"): given.pop(key) for key in sorted(spare & set(given))}
    try:
        table = _predict(ensemble, given)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    if LABEL in beside:
        labels = labels_given(beside[LABEL], ensemble.card.task, table.height, str(source))
        table = with_labels(table, labels, ensemble.card.task)
    return _named(table, beside[IDENTITY], str(source)) if IDENTITY in beside else table


def _read_file(source: Path) -> dict[str, Any]:
    readers = {".npz": mapped_arrays, ".json": _read_json}
    if source.suffix not in readers:
        raise InputError(
            f"{source}: must be a dataset folder, an .npz or a .json file that exists, but "
            f"{'is none of them' if source.exists() else 'there is nothing'}."
        )
    given = dict(readers[source.suffix](source))
    if any("/" in name for name in given):
        raise InputError(
            f"{source}: holds splits ({', '.join(sorted(given)[:3])}, ...). Make a dataset folder "
            f"of it with `python workflows/prepare.py npz {source} OUT` and score that."
        )
    return given


def _score_folder(
    ensemble: Ensemble, folder: Path, split: str | None, heldout: HeldoutData | None
) -> pl.DataFrame:
    dataset = load_dataset(folder)
    samples = dataset.metadata.select(IDENTITY, "split")
    wanted = _splits(dataset, split, heldout)
    rows = np.flatnonzero(samples["split"].is_in(wanted).to_numpy())
    try:
        table = pl.concat([_predict(ensemble, one) for one in _requests(ensemble, dataset, rows)])
    except InputError as error:
        raise InputError(f"{folder}: {error}") from None
    known = {**dataset.development().splits, **(heldout.splits if heldout else {})}
    if is_same_task(dataset.task, ensemble.card.task):
        table = _labelled(table, rows, [known[n] for n in wanted if n in known], dataset.task)
    return pl.concat([samples[rows], table], how="horizontal")


def _splits(
    dataset: MultimodalDataset, split: str | None, heldout: HeldoutData | None
) -> tuple[str, ...]:
    """The splits to score: held-out ones only where they are asked for."""
    if split is None:
        return (*DEVELOPMENT_SPLITS, *(heldout.splits if heldout else ()))
    if split not in dataset.sizes:
        raise InputError(
            f"--split {split}: is no split of {dataset.path}. It has {', '.join(dataset.sizes)}."
        )
    return (split,)


def _requests(
    ensemble: Ensemble, dataset: MultimodalDataset, rows: np.ndarray
) -> Iterator[dict[str, Any]]:
    """The samples as requests, each small enough to be held several times."""
    chosen = {n: part for n, part in dataset.modalities.items() if n in ensemble.expected}
    # A folder of raw texts has other features of them, or none, than the model was trained on.
    unlike = [name for name in ensemble.embeddings if not _fits(chosen.get(name), ensemble, name)]
    chosen = {name: part for name, part in chosen.items() if name not in unlike}
    shapes = [part.array.shape[1:] for part in chosen.values()]
    per_sample = sum(int(np.prod(shape)) for shape in shapes) + TEXT_VALUES
    metadata, reads = dataset.metadata, bool(ensemble.language or unlike)
    sentences = [name for name in SENTENCES if reads and name in metadata.columns][:1]
    for part in row_blocks((len(rows), per_sample)):
        block = rows[part]
        request: dict[str, Any] = {name: part.array[block] for name, part in chosen.items()}
        for name, modality in chosen.items():
            if modality.lengths is not None:
                request[f"{name}{LENGTHS}"] = modality.lengths[block]
        yield request | {name: metadata[name].gather(block).to_list() for name in sentences}


def _labelled(
    table: pl.DataFrame, rows: np.ndarray, known: Sequence[SplitData], task: Task
) -> pl.DataFrame:
    """With the labels of the splits that may be read; as it is where there are none."""
    if not known:
        return table
    shape = (len(rows), *known[0].labels.shape[1:])
    labels = np.full(shape, np.nan, known[0].labels.dtype)
    for split in known:
        labels[np.searchsorted(rows, split.rows)] = split.labels
    return with_labels(table, labels, task)


def _fits(part: Modality | None, ensemble: Ensemble, name: str) -> bool:
    return part is not None and part.size == ensemble.expected[name].size


def _predict(ensemble: Ensemble, request: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(ensemble.predict(request, bool(ensemble.card.distance_limits)))


def _named(table: pl.DataFrame, names: np.ndarray, where: str) -> pl.DataFrame:
    found = np.atleast_1d(np.asarray(names))
    if found.shape != (table.height,):
        raise InputError(
            f"{where}: {IDENTITY} must name each of the {table.height} samples, but has shape "
            f"{found.shape}."
        )
    return table.insert_column(0, pl.Series(IDENTITY, [text_of(name) for name in found.tolist()]))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: must be a JSON file, but cannot be read: {error}.") from None
    if isinstance(content, dict) and "inputs" in content:
        content = content["inputs"]
    if isinstance(content, list) and content and all(isinstance(one, str) for one in content):
        content = {RAW_TEXT: content}
    if not isinstance(content, dict):
        raise InputError(
            f"{file}: must hold an object with an array for each modality, or a list of "
            "sentences for a model that reads nothing else, but holds "
            f"{type(content).__name__}."
        )
    return content
