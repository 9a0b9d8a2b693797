"""A language model as a training left it: what it makes of any texts, once for each seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cmir.config import TrainingConfig, TrialConfig
from cmir.errors import InputError
from cmir.method.language.layer_outputs import (
    LayerOutputs,
    in_batches,
    layer_outputs,
    outputs_below,
)
from cmir.method.language.pretrained.backbones import Backbone, find_backbone
from cmir.method.language.pretrained.tuned_part import cut_of, trained_weights, tuned_part
from cmir.method.language.text_features import ReadTexts
from cmir.method.language.text_sources import CutTexts, TextSource, WholeTexts
from cmir.method.language.tokens import Tokens, read_tokens

CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class TrainedBackbone:
    """One pretrained model, and of each seed what it has trained of it.

    Attributes:
        backbone: with the pretrained weights, loaded when they are needed.
        training: says which layers were trained.
        kept: of each seed, its trained weights by name; empty where the model stayed as it was.
        cache: folder that keeps what frozen layers make of texts; None: computed when asked.
    """

    backbone: Backbone
    training: TrainingConfig
    kept: Sequence[Mapping[str, Tensor]] = ()
    cache: Path | None = None

    @property
    def is_frozen(self) -> bool:
        """Whether it stayed as it was, so that all seeds share its vectors."""
        return self.training.keeps_backbone

    def outputs(self, tokens: Tokens, device: torch.device = CPU) -> tuple[LayerOutputs, ...]:
        """The last vectors of every token, of each seed; of a frozen model once for all.

        In evaluation mode; as in training in float32 on a CPU and, where layers are trained, in
        bfloat16 on a GPU.
        """
        if self.is_frozen:
            return (self._below(tokens, self.backbone.layers, device),)
        entering, precision = self._entering(tokens, device), torch.float32
        if device.type == "cuda":
            precision = torch.bfloat16
        return tuple(
            in_batches(
                tokens.lengths,
                lambda texts, model=model: entering.vectors(  # type: ignore[misc]
                    model.to(device), texts, device, precision
                ),
            )
            for model in self._tuned
        )

    def read(self, column: str, rows: Sequence[Any]) -> ReadTexts:
        """What it makes of sentences.

        Args:
            column: `raw_text` or `text_bert`.
            rows: a text, or its ids and segments, of each sample.

        Raises:
            InputError: it has no tokenizer, or cannot read ids of BERT; or a text is empty.
        """
        tokens = read_tokens(self.backbone, column, rows)
        return ReadTexts(tokens, self.outputs(tokens) if len(rows) else ())

    def hold(self) -> None:
        """Reads whatever it will ever need of its folder, which may go away then."""
        _ = self.backbone.longest, self._cut, self._tuned, self._whole
        if self.backbone.has_tokenizer:
            _ = self.backbone.tokenizer

    @cached_property
    def _cut(self) -> int | None:
        return self.backbone.layers if self.is_frozen else cut_of(self.backbone, self.training)

    @cached_property
    def _whole(self) -> nn.Module | None:
        """The model as it was before, where its lower layers are frozen and nothing is kept."""
        return None if self._cut is None or self.cache is not None else self.backbone.load()

    @cached_property
    def _tuned(self) -> tuple[nn.Module, ...]:
        if self.is_frozen:
            return ()
        part = tuned_part(self.backbone, self.training)
        return tuple(self._given(part.copied(seed=0), kept) for kept in self.kept)

    def _given(self, model: nn.Module, kept: Mapping[str, Tensor]) -> nn.Module:
        """A copy whose trained weights are those kept, not copies of them."""
        for name, weight in trained_weights(model).items():
            found = kept.get(name)
            if found is None or found.shape != weight.shape:
                raise InputError(
                    f"'{self.backbone.name}': the trained weights must hold {name} of shape "
                    f"{tuple(weight.shape)}, but "
                    f"{'lack it' if found is None else f'have {tuple(found.shape)}'}: they belong "
                    "to another model."
                )
            weight.data = found
        return model.eval()

    def _entering(self, tokens: Tokens, device: torch.device) -> TextSource:
        """What enters the layers that were trained."""
        every = np.arange(len(tokens.lengths))
        if self._cut is None:
            return WholeTexts(tokens, every)
        return CutTexts(self._below(tokens, self._cut, device), every)

    def _below(self, tokens: Tokens, cut: int, device: torch.device) -> LayerOutputs:
        if self._whole is None:
            return layer_outputs(self.backbone, tokens, cut, device, self.cache)
        return outputs_below(self._whole.to(device), tokens, cut, device)


def language_of(
    config: TrialConfig,
    kept: Sequence[Mapping[str, Tensor]] = (),
    bases: Mapping[str, str] | None = None,
    cache: Path | None = None,
) -> dict[str, TrainedBackbone]:
    """The language models of a training, by modality.

    Args:
        config: that was trained.
        kept: of each seed, the trained weights by `modality.name`; see `TrialResult.backbones`.
        bases: SHA-256 of the pretrained weights by modality, where they are to be compared.
        cache: see `TrainedBackbone`.

    Raises:
        InputError: a model is not there any more, or has other weights.
    """
    found = {}
    for modality, name in config.model.backbone.items():
        backbone, wanted = find_backbone(name), (bases or {}).get(modality)
        if wanted is not None and wanted != backbone.sha256:
            raise InputError(
                f"model.backbone.{modality}: the weights of '{name}' must be those that the "
                f"training began with (SHA-256 {wanted[:12]}), but have {backbone.sha256[:12]}. "
                "Put the model back, or train anew."
            )
        own = [weights_below(f"{modality}.", weights) for weights in kept]
        found[modality] = TrainedBackbone(backbone, config.training, own, cache)
    return found


def weights_below(start: str, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights whose names begin so, by the rest of their names."""
    return {n.removeprefix(start): one for n, one in weights.items() if n.startswith(start)}
