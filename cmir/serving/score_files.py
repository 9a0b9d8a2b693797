"""Samples on disk to a table of predictions: a dataset folder, an .npz file, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cmir.data import Modality, load_dataset
from cmir.data.formats.inspection.texts import text_of
from cmir.data.formats.npz_file import mapped_arrays
from cmir.data.row_blocks import row_blocks
from cmir.errors import InputError
from cmir.serving.predictor import Ensemble
from cmir.serving.requests import LENGTHS
from cmir.serving.sentences import RAW_TEXT, SENTENCES

IDENTITY = "id"
# What a text is counted as where samples are scored block by block: its vectors are several times
# as large.
TEXT_VALUES = 1 << 14


def score_source(ensemble: Ensemble, source: Path, split: str | None = None) -> pl.DataFrame:
    """Predicts every sample of a source, in its order.

    Args:
        ensemble: the model.
        source: a dataset folder; an `.npz` file with arrays as `Ensemble.predict` takes them, and
            an `id` of each sample if there is one; or a `.json` file with such a dict, which may
            stand under `inputs` as in a request to a server.
        split: of a dataset folder, the only one to score.

    Returns:
        one row per sample: `id` and `split` where the source tells them, the columns of
        `Ensemble.predict`, and its distances where the model carries their limits. No label is
        read, so that scoring a held-out split is no test-set access; comparing with its labels is.

    Raises:
        InputError: the source cannot be read or does not fit the model.
    """
    if source.is_dir():
        return _score_folder(ensemble, source, split)
    if split is not None:
        raise InputError(f"--split {split}: only a dataset folder has splits, {source} has none.")
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
    names = given.pop(IDENTITY, None) if IDENTITY not in ensemble.expected else None
    try:
        columns = _predict(ensemble, given)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return _table(columns) if names is None else _named(_table(columns), names, str(source))


def _score_folder(ensemble: Ensemble, folder: Path, split: str | None) -> pl.DataFrame:
    dataset = load_dataset(folder)
    metadata = dataset.metadata
    samples = metadata.select(IDENTITY, "split")
    rows = np.arange(samples.height)
    if split is not None:
        if split not in dataset.sizes:
            raise InputError(f"--split {split}: is no split of {folder}.{_known(dataset.sizes)}")
        rows = np.flatnonzero(samples["split"].to_numpy() == split)
    chosen = {n: part for n, part in dataset.modalities.items() if n in ensemble.expected}
    # A folder of raw texts has other features of them, or none, than the model was trained on.
    unlike = [name for name in ensemble.embeddings if not _fits(chosen.get(name), ensemble, name)]
    chosen = {name: part for name, part in chosen.items() if name not in unlike}
    shapes = [part.array.shape[1:] for part in chosen.values()]
    per_sample = sum(int(np.prod(shape)) for shape in shapes) + TEXT_VALUES
    reads = bool(ensemble.language or unlike)
    sentences = [name for name in SENTENCES if reads and name in metadata.columns][:1]
    parts = []
    for block in _blocks(rows, per_sample):
        request: dict[str, Any] = {name: part.array[block] for name, part in chosen.items()}
        for name, part in chosen.items():
            if part.lengths is not None:
                request[f"{name}{LENGTHS}"] = part.lengths[block]
        request |= {name: metadata[name].gather(block).to_list() for name in sentences}
        try:
            parts.append(_table(_predict(ensemble, request)))
        except InputError as error:
            raise InputError(f"{folder}: {error}") from None
    return pl.concat([samples[rows], pl.concat(parts)], how="horizontal")


def _fits(part: Modality | None, ensemble: Ensemble, name: str) -> bool:
    return part is not None and part.size == ensemble.expected[name].size


def _blocks(rows: np.ndarray, per_sample: int) -> Iterator[np.ndarray]:
    """Rows in blocks small enough to be held several times."""
    for part in row_blocks((len(rows), per_sample)):
        yield rows[part]


def _predict(ensemble: Ensemble, request: dict[str, Any]) -> dict[str, np.ndarray]:
    return ensemble.predict(request, distances=bool(ensemble.card.distance_limits))


def _table(columns: dict[str, np.ndarray]) -> pl.DataFrame:
    return pl.DataFrame(columns)


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


def _known(sizes: dict[str, int]) -> str:
    return f" It has {', '.join(sizes)}."
