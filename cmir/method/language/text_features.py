"""What a language model makes of the texts of samples, as features of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmir.config import UnimodalKind
from cmir.data.row_blocks import IntArray
from cmir.method.language.layer_outputs import LayerOutputs
from cmir.method.language.tokens import Tokens
from cmir.method.networks.features import Feature, Inputs, reads_steps


@dataclass(frozen=True, eq=False)
class TextMeans:
    """The mean over the tokens of each text, not standardised.

    Attributes:
        values: `(model, texts, D)`; one model for all replicas, or one for each of them.
        of_sample: the text of each sample, `(N,)`.
    """

    values: Tensor
    of_sample: Tensor

    def gather(self, rows: Tensor) -> Inputs:
        """Samples `(replica, batch)`, or `(1, batch)` for all models, to `(replica, batch, D)`."""
        texts = self.of_sample[rows]
        if len(self.values) == 1:
            return Inputs(self.values[0][texts])
        return Inputs(self.values[:, texts[0]])


@dataclass(frozen=True, eq=False)
class TextSteps:
    """The vectors of every token of each text, not standardised, zero beyond its end.

    Attributes:
        outputs: of one model for all replicas, or of one for each of them.
        of_sample: the text of each sample, `(N,)`.
        device: that the vectors are wanted on.
    """

    outputs: Sequence[LayerOutputs]
    of_sample: IntArray
    device: torch.device

    @property
    def steps(self) -> int:
        """Tokens of the longest text."""
        return int(self.outputs[0].lengths.max())

    def gather(self, rows: Tensor) -> Inputs:
        """As `TextMeans.gather`, to `(replica, batch, T, D)` with their mask."""
        texts = self.of_sample[rows.cpu().numpy()]
        if len(self.outputs) > 1:
            texts = texts[0]
        found = [one.padded(texts) for one in self.outputs]
        if len(found) == 1:
            values, mask = found[0]
        else:
            values, mask = torch.stack([values for values, _ in found]), found[0][1][None]
        return Inputs(values.to(self.device), mask.to(self.device))


@dataclass(frozen=True, eq=False)
class ReadTexts:
    """What a language model makes of the sentences of n samples.

    Attributes:
        tokens: of each sample.
        outputs: of one model for all replicas, or of one for each of them.
    """

    tokens: Tokens
    outputs: Sequence[LayerOutputs]

    @property
    def is_cut(self) -> npt.NDArray[np.bool_]:
        """`(n,)`, sentences that were longer than the model takes."""
        return self.tokens.is_cut

    @property
    def means(self) -> npt.NDArray[np.float32]:
        """The mean over the tokens of each sentence, `(model, n, D)`."""
        return np.stack([one.means() for one in self.outputs])

    def feature(self, kind: UnimodalKind) -> Feature:
        """See `text_feature`; on the CPU."""
        every = np.arange(len(self.tokens.lengths))
        return text_feature(self.outputs, every, kind, torch.device("cpu"))


def text_feature(
    outputs: Sequence[LayerOutputs], of_sample: IntArray, kind: UnimodalKind, device: torch.device
) -> Feature:
    """The vectors as a unimodal network of this kind reads them.

    Args:
        outputs: of one model for all replicas, or of one for each of them.
        of_sample: the text of each sample, `(N,)`; a sample with -1 must not be asked for.
        kind: of the network.
        device: that the vectors are wanted on.
    """
    known = np.maximum(of_sample, 0)
    if reads_steps(kind):
        return TextSteps(outputs, known, device)
    means = torch.from_numpy(np.stack([one.means() for one in outputs]))
    return TextMeans(means.to(device), torch.from_numpy(known).to(device))
