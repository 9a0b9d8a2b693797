"""A language model that stays as it is, as features: its vectors are computed once and kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.method.language.backbones import find_backbone
from cmir.method.language.layer_outputs import layer_outputs
from cmir.method.language.text_sources import CutTexts, distinct
from cmir.method.language.tokens import development_tokens
from cmir.method.networks.features import Feature, Inputs, Vectors, input_kinds, reads_steps


@dataclass(frozen=True, eq=False)
class FrozenSteps:
    """The last outputs of a language model for every token, as they are, not standardised."""

    texts: CutTexts
    device: torch.device

    @property
    def steps(self) -> int:
        """Tokens of the longest text."""
        return int(self.texts.lengths.max())

    def gather(self, rows: Tensor) -> Inputs:
        """Samples `(replica, batch)` to inputs `(replica, batch, T, D)` with their mask."""
        chosen = self.texts.of_sample[rows.cpu().numpy()]
        values, mask = self.texts.outputs.padded(chosen)
        return Inputs(values.to(self.device), mask.to(self.device))


def frozen_features(
    data: DevelopmentData, config: TrialConfig, device: torch.device, cache: Path | None
) -> dict[str, Feature]:
    """The vectors of the language models of a configuration that trains none of them."""
    kinds = input_kinds(data, config.model)
    found: dict[str, Feature] = {}
    for modality, name in config.model.backbone.items():
        backbone = find_backbone(name)
        tokens, of_sample = distinct(development_tokens(data, backbone))
        outputs = layer_outputs(backbone, tokens, backbone.layers, device, cache)
        if reads_steps(kinds[modality]):
            found[modality] = FrozenSteps(CutTexts(outputs, of_sample), device)
        else:
            # Samples without a text are no samples of the development splits.
            means = outputs.means()[np.maximum(of_sample, 0)]
            found[modality] = Vectors(torch.from_numpy(means).to(device))
    return found
