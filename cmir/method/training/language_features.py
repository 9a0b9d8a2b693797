"""The features of a trained configuration: those of its data, and those of its language models."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch

from cmir.config import ModelConfig
from cmir.data import DevelopmentData, HeldoutData, SplitData
from cmir.data.row_blocks import IntArray
from cmir.method.language.data_tokens import split_tokens
from cmir.method.language.layer_outputs import LayerOutputs
from cmir.method.language.pretrained.trained_backbone import TrainedBackbone
from cmir.method.language.text_features import text_feature
from cmir.method.language.text_sources import distinct
from cmir.method.networks.features import Feature, input_kinds, load_features, load_steps

Data = DevelopmentData | HeldoutData
Language = Mapping[str, TrainedBackbone]

MOST_KNOWN = 2


@dataclass(frozen=True, eq=False)
class _Known:
    """What a model has made of the texts of some splits, and the text of each sample."""

    splits: Sequence[SplitData]
    outputs: tuple[LayerOutputs, ...]
    of_sample: IntArray

    def is_of(self, splits: Sequence[SplitData]) -> bool:
        """Whether it is of these very splits."""
        return len(splits) == len(self.splits) and all(map(operator.is_, splits, self.splits))


# Every gate asks for it again.
_known: WeakKeyDictionary[TrainedBackbone, list[_Known]] = WeakKeyDictionary()


def features_with_language(
    data: Data, config: ModelConfig, language: Language, device: torch.device
) -> dict[str, Feature]:
    """The features that a trained network reads, by modality name, on the device.

    Args:
        data: of samples with the modalities of the network, and with texts for `language`.
        config: of the network.
        language: the language models that take the place of a modality's features.
        device: to compute on.

    Raises:
        InputError: the data lacks a modality, or a text that a language model can read.
    """
    kinds, found = input_kinds(data, config), load_features(data, config, device)
    for name, model in language.items():
        outputs, of_sample = text_outputs(data, model, device)
        found[name] = text_feature(outputs, of_sample, kinds[name], device)
    return found


def steps_with_language(
    data: Data, names: Iterable[str], language: Language, device: torch.device
) -> dict[str, Feature]:
    """The named features on the device; sequences that a network pools keep their steps."""
    found: dict[str, Feature] = {}
    found |= load_steps(data, [name for name in names if name not in language], device)
    for name, model in language.items():
        outputs, of_sample = text_outputs(data, model, device)
        found[name] = text_feature(outputs, of_sample, "transformer", device)
    return found


def text_outputs(
    data: Data, model: TrainedBackbone, device: torch.device
) -> tuple[tuple[LayerOutputs, ...], IntArray]:
    """What a model makes of the texts of a data set, each once, and the text of each sample."""
    splits, known = list(data.splits.values()), _known.setdefault(model, [])
    for one in known:
        if one.is_of(splits):
            return one.outputs, one.of_sample
    tokens, of_sample = distinct(split_tokens(data, model.backbone))
    found = _Known(splits, model.outputs(tokens, device), of_sample)
    known[:] = [*known[1 - MOST_KNOWN :], found]
    return found.outputs, of_sample


def text_moments(
    data: DevelopmentData, model: TrainedBackbone, device: torch.device
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the training samples' token vectors, `(model, D)` each.

    A feature that does not vary has a deviation of 1, as for the features of a data set.
    """
    outputs, of_sample = text_outputs(data, model, device)
    texts, counts = np.unique(of_sample[data.train.rows], return_counts=True)
    of_token = np.repeat(np.bincount(texts, counts, len(outputs[0].lengths)), outputs[0].lengths)
    means, stds = [], []
    for one in outputs:
        mean = np.average(one.values, axis=0, weights=of_token)
        variance = np.average(np.square(one.values - mean), axis=0, weights=of_token)
        means.append(mean)
        stds.append(np.where(variance > 0, np.sqrt(variance), 1.0))
    return np.array(means, np.float32), np.array(stds, np.float32)
