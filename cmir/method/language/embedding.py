"""Token vectors of texts by a frozen language model, as features that a network is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cmir.data.row_blocks import IntArray
from cmir.errors import InputError
from cmir.method.language.pretrained.backbones import Backbone
from cmir.method.language.token_vectors import batches_by_length, token_vectors
from cmir.method.language.tokens import Tokens, read_tokens, tokens_of_texts

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


def text_vectors(texts: Sequence[str], embedding: Embedding) -> tuple[Vectors, IntArray]:
    """Vectors of new texts, as a model that was trained on an embedded data set takes them.

    Returns:
        `(n, T, D)` float16 and the tokens of each text `(n,)`: `<modality>` and
        `<modality>_lengths` of a request to `predict`.
    """
    tokens = tokens_of_texts(texts, embedding.backbone, embedding.longest)
    model = embedding.backbone.load().to(embedding.device)
    return np.concatenate(list(vector_blocks(embedding, tokens, model))), tokens.lengths


def vector_blocks(
    embedding: Embedding,
    tokens: Tokens,
    model: torch.nn.Module,
    on_rows: OnRows = lambda done, total: None,
) -> Iterator[Vectors]:
    """The vectors `(rows, T, D)` of all texts in their order, some rows at a time.

    Texts are sorted by length within a window, so that batches waste little on padding and no
    file of unsorted vectors is needed.
    """
    device, precision = torch.device(embedding.device), PRECISIONS[embedding.used_precision]
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


@dataclass(frozen=True, eq=False)
class TextEmbedding:
    """The model that made a data set's features, held to make those of a request's sentences."""

    embedding: Embedding

    def embedded(
        self, column: str, rows: Sequence[Any]
    ) -> tuple[npt.NDArray[np.float32], IntArray, npt.NDArray[np.bool_]]:
        """Vectors `(n, T, D)`, tokens `(n,)`, and which sentences were cut `(n,)`.

        Args:
            column: `raw_text` or `text_bert`.
            rows: a text, or its ids and segments, of each sample.

        Raises:
            InputError: see `read_tokens`.
        """
        tokens = read_tokens(self.embedding.backbone, column, rows, self.embedding.longest)
        found = np.concatenate(list(vector_blocks(self.embedding, tokens, self._model)))
        return found.astype(np.float32), tokens.lengths, tokens.is_cut

    def hold(self) -> None:
        """Reads whatever it will ever need of its folder, which may go away then."""
        _ = self._model, self.embedding.backbone.longest
        if self.embedding.backbone.has_tokenizer:
            _ = self.embedding.backbone.tokenizer

    @cached_property
    def _model(self) -> torch.nn.Module:
        return self.embedding.backbone.load().to(self.embedding.device)
