"""A data set written again with the token vectors of its texts as a modality."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cmir.data import MultimodalDataset, load_dataset, write_dataset
from cmir.data.manifest import SAMPLES_FILE, check_modality_name
from cmir.data.samples import read_samples
from cmir.data.shifts.annealing_plot import PICTURE_FILE
from cmir.data.shifts.split_index import INDEX_FILE
from cmir.data.staging import check_target
from cmir.method.language.data_tokens import text_column, tokens_of
from cmir.method.language.embedding import Embedding, OnRows, vector_blocks
from cmir.method.language.tokens import Tokens


def embed(
    dataset: Path | str,
    out: Path | str,
    embedding: Embedding,
    *,
    column: str | None = None,
    modality: str = "text",
    overwrite: bool = False,
    on_rows: OnRows = lambda done, total: None,
) -> Path:
    """Writes a data set again with the token vectors of its texts as a modality.

    The new folder has `<modality>.npy` `(N, T, D)` float16 with T the longest text, the column
    `<modality>_length`, every other modality as it was, and in `dataset.json` under
    `source.backbones` what the vectors come from. It appears whole or not at all.

    Args:
        dataset: a data set folder.
        out: the folder to make; may be the same with `overwrite`.
        embedding: of its texts.
        column: `raw_text` or `text_bert`; by default the first of them that is there.
        modality: that is made, or replaced.
        overwrite: replace a data set that is there already.
        on_rows: told of the samples done and of all samples.

    Raises:
        InputError: the data set has no such text, or the folder cannot be written.
    """
    check_modality_name(modality, "--modality")
    check_target(Path(out).resolve(), overwrite)
    source = load_dataset(dataset)
    table, where = read_samples(source.path), str(source.path / SAMPLES_FILE)
    chosen = text_column(table, column, embedding.backbone, where)
    tokens = tokens_of(table, chosen, embedding.backbone, where, embedding.longest)
    lengths = pl.Series(f"{modality}_length", tokens.lengths.astype(np.int32))
    features: dict[str, Any] = {name: m.array for name, m in source.modalities.items()}
    model = embedding.backbone.load().to(embedding.device)
    features[modality] = vector_blocks(embedding, tokens, model, on_rows)
    return write_dataset(
        out,
        samples=table.with_columns(lengths),
        features=features,
        task=source.task,
        name=source.name,
        source=_origin(source, embedding, chosen, modality, tokens),
        shift=source.manifest.shift,
        overwrite=overwrite,
        finish=lambda folder: _keep_shift(source.path, folder),
    )


def _keep_shift(old: Path, new: Path) -> None:
    """Copies how the splits were made: the samples and their splits stay what they were."""
    for name in (INDEX_FILE, PICTURE_FILE):
        if (old / name).is_file():
            shutil.copyfile(old / name, new / name)


def _origin(
    source: MultimodalDataset, embedding: Embedding, column: str, modality: str, tokens: Tokens
) -> dict[str, Any]:
    backbone = embedding.backbone
    is_folder = Path(backbone.name).is_dir()
    record = {
        "backbone": backbone.shown_name,
        "folder": str(backbone.folder.resolve()) if is_folder else None,
        "family": backbone.family,
        "sha256": backbone.sha256,
        "layer": backbone.layers if embedding.layer is None else embedding.layer,
        "from": column,
        "precision": embedding.used_precision,
        "longest": embedding.longest,
        "texts_cut": tokens.cut,
    }
    earlier = source.manifest.source
    kept = {"nonfinite": source.manifest.nonfinite} if source.manifest.nonfinite else {}
    return {**earlier, **kept, "backbones": {**earlier.get("backbones", {}), modality: record}}
