"""What the frozen lower layers of a language model make of texts: computed once, kept, mapped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cmir.data.row_blocks import IntArray
from cmir.errors import InputError
from cmir.method.language.pretrained.backbones import Backbone
from cmir.method.language.pretrained.model_layers import above, below, check_cut
from cmir.method.language.token_vectors import batches_by_length, run_model
from cmir.method.language.tokens import Tokens
from cmir.shared_files import waiting_lock, written_whole

# Part of what names a kept file: raise it when what is kept changes.
REVISION = 1
BATCH_TOKENS = 4096

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class LayerOutputs:
    """What enters a layer, for every token of some texts.

    Attributes:
        values: `(tokens of all texts, D)` float32, one text behind the other, mapped from its file.
        lengths: tokens of each text, `(n,)`.
    """

    values: Floats
    lengths: IntArray

    @cached_property
    def starts(self) -> IntArray:
        """The first token of each text, `(n,)`."""
        ends: IntArray = np.cumsum(self.lengths)
        return ends - self.lengths

    def padded(self, texts: IntArray) -> tuple[Tensor, Tensor]:
        """Texts `(...)` as `(..., T, D)`, zero beyond each end, and their mask `(..., T)`.

        T is the longest among them.
        """
        lengths = self.lengths[texts]
        steps = np.arange(int(lengths.max()))
        mask = steps < lengths[..., None]
        # Beyond its end a text repeats its first token, before that is made zero.
        places = self.starts[texts][..., None] + np.where(mask, steps, 0)
        values, valid = torch.from_numpy(self.values[places]), torch.from_numpy(mask)
        return values.mul_(valid[..., None]), valid

    def means(self) -> Floats:
        """The mean over the tokens of each text, `(n, D)`."""
        sums = np.add.reduceat(self.values, self.starts, axis=0)
        return np.asarray(sums / self.lengths[:, None], np.float32)


def layer_outputs(
    backbone: Backbone, tokens: Tokens, cut: int, device: torch.device, folder: Path | None
) -> LayerOutputs:
    """What enters layer `cut` of a language model, in evaluation mode and in float32.

    Args:
        backbone: whose; its weights are loaded only where nothing is kept.
        tokens: of the texts, each of them once.
        cut: 0 for what the embedding gives, the number of layers for the last output.
        device: to compute on.
        folder: where it is kept and shared by all processes, by checksum of weights and tokens;
            None: kept in memory.

    Raises:
        InputError: the model cannot be cut, or the folder cannot be written.
    """
    compute = partial(_computed, backbone, tokens, cut, device)
    if folder is None:
        return LayerOutputs(compute(), tokens.lengths)
    name = json.dumps(_key(backbone, tokens, cut), sort_keys=True).encode()
    path = folder / f"{hashlib.sha256(name).hexdigest()[:24]}.npy"
    shape = (int(tokens.lengths.sum()), backbone.width)
    return LayerOutputs(_kept(path, shape, compute), tokens.lengths)


def _key(backbone: Backbone, tokens: Tokens, cut: int) -> Mapping[str, Any]:
    texts = hashlib.sha256()
    for array in (tokens.lengths, tokens.ids, tokens.segments):
        texts.update(array.tobytes())
    return {
        "weights": backbone.sha256,
        "settings": backbone.settings_sha256,
        "texts": texts.hexdigest(),
        "cut": cut,
        "library": version("transformers"),
        "revision": REVISION,
    }


def outputs_below(model: nn.Module, tokens: Tokens, cut: int, device: torch.device) -> LayerOutputs:
    """What enters layer `cut` of a model that is on the device; see `layer_outputs`."""
    return in_batches(
        tokens.lengths,
        lambda texts: below(model, cut, partial(run_model, model, tokens, texts, device)),
    )


def in_batches(lengths: IntArray, vectors: Callable[[IntArray], Tensor]) -> LayerOutputs:
    """Runs texts through a model, those of like length together.

    Args:
        lengths: tokens of each text, `(n,)`, at least one text.
        vectors: from texts `(m,)` to their vectors `(m, T, D)`, T being the longest among them.
    """
    found: LayerOutputs | None = None
    with torch.inference_mode():
        for texts in batches_by_length(lengths, BATCH_TOKENS):
            states = vectors(texts).float().cpu().numpy()
            if found is None:
                shape = (int(lengths.sum()), states.shape[-1])
                found = LayerOutputs(np.empty(shape, np.float32), lengths)
            for text, own in zip(texts, states, strict=True):
                start, length = found.starts[text], lengths[text]
                found.values[start : start + length] = own[:length]
    assert found is not None
    return found


def _computed(backbone: Backbone, tokens: Tokens, cut: int, device: torch.device) -> Floats:
    model = backbone.load().to(device)
    found = outputs_below(model, tokens, cut, device)
    if cut < backbone.layers:
        with torch.inference_mode():
            _check(model, found, tokens, cut, device)
    return found.values


def _check(
    model: nn.Module, found: LayerOutputs, tokens: Tokens, cut: int, device: torch.device
) -> None:
    """Asks both parts, on a short and a long text, for what the whole model gives."""
    texts = np.argsort(tokens.lengths)[[0, -1]]
    states, mask = (one.to(device) for one in found.padded(texts))
    whole = run_model(model, tokens, texts, device).last_hidden_state
    both = above(model, cut)(inputs_embeds=states, attention_mask=mask.long()).last_hidden_state
    check_cut(model, whole[mask], both[mask])


def _kept(path: Path, shape: tuple[int, int], compute: Callable[[], Floats]) -> Floats:
    """The array of a file, mapped; computed by one process while others wait for it."""
    values = _mapped(path, shape)
    if values is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with waiting_lock(path.with_suffix(".lock")):
                values = _mapped(path, shape)
                if values is None:
                    _write(path, compute())
                    values = _mapped(path, shape)
        except OSError as error:
            raise InputError(
                f"{path.parent}: what a language model makes of the texts is kept here "
                f"({shape[0] * shape[1] * 4 / 1e6:.0f} MB), but it cannot be written: "
                f"{error.strerror}. Make room, or run in a folder you may write to."
            ) from None
    assert values is not None
    return values


def _mapped(path: Path, shape: tuple[int, int]) -> Floats | None:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):  # Not there, or cut off.
        return None
    return values if values.shape == shape and values.dtype == np.float32 else None


def _write(path: Path, values: Floats) -> None:
    """Whole or not at all, also when the power goes: on the disk before it has its name."""
    with written_whole(path) as draft, draft.open("wb") as file:
        np.save(file, values, allow_pickle=False)
        file.flush()
        os.fsync(file.fileno())
