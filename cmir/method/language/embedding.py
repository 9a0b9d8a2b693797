"""Frozen language models: token vectors computed once and kept as a modality of a data set."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from cmir.data import MultimodalDataset, load_dataset, write_dataset
from cmir.data.manifest import SAMPLES_FILE, check_modality_name
from cmir.data.row_blocks import IntArray
from cmir.data.samples import read_samples
from cmir.data.shifts.annealing_plot import PICTURE_FILE
from cmir.data.shifts.split_index import INDEX_FILE
from cmir.data.staging import check_target
from cmir.errors import InputError
from cmir.method.language.backbones import Backbone
from cmir.method.language.token_vectors import batches_by_length, token_vectors
from cmir.method.language.tokens import Tokens, text_column, texts_to_tokens, tokens_of

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
WINDOW = 512

Vectors = npt.NDArray[np.float16]
OnRows = Callable[[int, int], None]


@dataclass(frozen=True)
class Embedding:
    """How texts become vectors.

    Attributes:
        backbone: whose vectors.
        layer: whose output, 0 for the embedding; None: the last one.
        device: `cpu` or `cuda[:i]`.
        precision: a name of `PRECISIONS`; None: float16 on a GPU, where it is twice as fast, else
            float32.
        batch_tokens: most padded tokens of a batch.
        longest: most tokens of a text; None: what the model takes.
    """

    backbone: Backbone
    layer: int | None = None
    device: str = "cpu"
    precision: str | None = None
    batch_tokens: int = 8192
    longest: int | None = None

    def __post_init__(self) -> None:
        """Raises InputError for a layer that the model does not have, or no room for a word."""
        if self.longest is not None and self.longest < 3:
            raise InputError(
                "--longest must be at least 3, as the first and the last token of a text are "
                f"special, but got {self.longest}."
            )
        if self.layer is not None and not 0 <= self.layer <= self.backbone.layers:
            raise InputError(
                f"--layer must be 0 (the embedding) to {self.backbone.layers}, the last layer of "
                f"'{self.backbone.name}', but got {self.layer}."
            )

    @property
    def used_precision(self) -> str:
        """The precision, resolved."""
        return self.precision or ("float16" if self.device.startswith("cuda") else "float32")


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
    features[modality] = _blocks(embedding, tokens, on_rows)
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


def text_vectors(texts: Sequence[str], embedding: Embedding) -> tuple[Vectors, IntArray]:
    """Vectors of new texts, as a model that was trained on an embedded data set takes them.

    Returns:
        `(n, T, D)` float16 and the tokens of each text `(n,)`: `<modality>` and
        `<modality>_lengths` of a request to `predict`.
    """
    tokens = texts_to_tokens(texts, embedding.backbone, embedding.longest)
    return np.concatenate(list(_blocks(embedding, tokens))), tokens.lengths


def _blocks(
    embedding: Embedding, tokens: Tokens, on_rows: OnRows = lambda done, total: None
) -> Iterator[Vectors]:
    """The vectors `(rows, T, D)` of all texts in their order, some rows at a time.

    Texts are sorted by length within a window, so that batches waste little on padding and no
    file of unsorted vectors is needed.
    """
    device, precision = torch.device(embedding.device), PRECISIONS[embedding.used_precision]
    model = embedding.backbone.load().to(device)
    total, steps = tokens.ids.shape
    done = 0
    for start in range(0, total, WINDOW):
        window = np.arange(start, min(start + WINDOW, total))
        block = np.zeros((len(window), steps, embedding.backbone.width), np.float16)
        for batch in batches_by_length(tokens.lengths[window], embedding.batch_tokens):
            rows = window[batch]
            with torch.inference_mode():
                vectors = token_vectors(model, tokens, rows, device, precision, embedding.layer)
            block[batch, : vectors.shape[1]] = vectors.half().cpu().numpy()
            done += len(batch)
            on_rows(done, total)
        yield block


def _origin(
    source: MultimodalDataset, embedding: Embedding, column: str, modality: str, tokens: Tokens
) -> dict[str, Any]:
    backbone = embedding.backbone
    record = {
        "backbone": backbone.folder.name if Path(backbone.name).is_dir() else backbone.name,
        "family": backbone.family,
        "sha256": backbone.sha256,
        "layer": backbone.layers if embedding.layer is None else embedding.layer,
        "from": column,
        "precision": embedding.used_precision,
        "texts_cut": tokens.cut,
    }
    earlier = source.manifest.source
    kept = {"nonfinite": source.manifest.nonfinite} if source.manifest.nonfinite else {}
    return {**earlier, **kept, "backbones": {**earlier.get("backbones", {}), modality: record}}
