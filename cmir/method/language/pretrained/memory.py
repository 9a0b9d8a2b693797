"""The memory that training a language model takes at least, told before any training begins."""

from __future__ import annotations

import copy

from torch import nn

from cmir.config import TrialConfig
from cmir.method.language.pretrained.backbones import Backbone, find_backbone
from cmir.method.language.pretrained.model_layers import above, layers_of
from cmir.method.language.pretrained.tuned_part import cut_of

FLOAT = 4
# Of a trained weight: itself, its gradient, AdamW's two moments, its average over the steps.
COPIES = 5


def least_bytes(config: TrialConfig) -> int:
    """What the language models of one seed take on the device, activations not counted.

    All seeds share what is not trained; on a GPU only one seed at a time is there.

    Raises:
        InputError: a language model cannot be found, or cut.
    """
    models = [find_backbone(name) for name in config.model.backbone.values()]
    return sum(_bytes(model, config) for model in models)


def _bytes(backbone: Backbone, config: TrialConfig) -> int:
    training = config.training
    whole = copy.deepcopy(backbone.skeleton)
    if getattr(whole, "pooler", None) is not None:
        whole.pooler = None  # type: ignore[assignment]  # As `Backbone.load` does.
    if training.keeps_backbone:
        return FLOAT * _count(whole)
    cut = cut_of(backbone, training)
    if cut is None:
        return FLOAT * COPIES * _count(whole)
    part = above(whole, cut)
    layers = part.get_submodule(layers_of(backbone.skeleton).path)
    trained = _count(layers)
    if training.backbone_rank is not None:
        linears = [one for one in layers.modules() if isinstance(one, nn.Linear)]
        shapes = (one.in_features + one.out_features for one in linears)
        return FLOAT * (_count(part) + COPIES * training.backbone_rank * sum(shapes))
    return FLOAT * (_count(part) + (COPIES - 1) * trained)


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
