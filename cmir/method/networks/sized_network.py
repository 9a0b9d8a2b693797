"""The network that fits a data set: as many inputs as its modalities have features."""

from __future__ import annotations

from cmir.config import ModelConfig
from cmir.data import DevelopmentData
from cmir.method.language.pretrained.backbones import find_backbone
from cmir.method.networks.features import input_kinds
from cmir.method.networks.model import Network


def network_for(data: DevelopmentData, config: ModelConfig) -> Network:
    """The network that fits a data set.

    Raises:
        InputError: the configuration names a modality the data set lacks, or a unimodal network
            that does not fit a modality's shape; or its language model cannot be found.
    """
    kinds = input_kinds(data, config)
    sizes = {name: _size(data, name, config) for name in kinds}
    return Network(config, sizes, kinds, data.task.outputs)


def _size(data: DevelopmentData, name: str, config: ModelConfig) -> int:
    if name in config.backbone:
        return find_backbone(config.backbone[name]).width
    return data.modalities[name].size
