"""What of a language model is trained: all of it, its top layers, or adapters beside them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cmir.config import TrainingConfig
from cmir.errors import InputError
from cmir.method.language.pretrained.adapters import add_adapters
from cmir.method.language.pretrained.backbones import Backbone
from cmir.method.language.pretrained.model_layers import above, layers_of
from cmir.method.networks.replicas import ADAPTERS, generator


def cut_of(backbone: Backbone, training: TrainingConfig) -> int | None:
    """The layer, counted from 0, from which on a model is trained; None where all of it is.

    Adapters are beside layers: without a number of layers, beside all of them.

    Raises:
        InputError: the model has fewer layers, or cannot be cut.
    """
    layers = training.backbone_layers
    if layers is None or layers == "all":
        if training.backbone_rank is None:
            return None
        layers = backbone.layers
    if layers > backbone.layers:
        raise InputError(
            f"training.backbone_layers must be all, or at most {backbone.layers}, the layers of "
            f"'{backbone.name}', but got {layers}."
        )
    layers_of(backbone.skeleton)
    return backbone.layers - layers


@dataclass(frozen=True, eq=False)
class TunedPart:
    """A part of a language model, of which every seed gets a copy.

    Attributes:
        base: with its pretrained weights; those that are trained require a gradient, all others
            are shared by the copies.
        layers: where its layers are, by the name of their list.
        rank: of the adapters that each copy gets beside them; None without.
    """

    base: nn.Module
    layers: str
    rank: int | None

    def copied(self, seed: int) -> nn.Module:
        """A copy with trained weights of its own; adapters start from the seed."""
        model = sharing_copy(self.base)
        if self.rank is not None:
            part = model.get_submodule(self.layers)
            add_adapters(part, self.rank, generator(seed, ADAPTERS, "cpu"))
        return model


def tuned_part(backbone: Backbone, training: TrainingConfig) -> TunedPart:
    """Loads what of a language model runs in training.

    Raises:
        InputError: see `cut_of` and `Backbone.load`.
    """
    cut, model = cut_of(backbone, training), backbone.load()
    if cut is None:
        return TunedPart(model, "", None)
    layers = layers_of(model).path
    part = above(model, cut).requires_grad_(False)
    if training.backbone_rank is None:
        part.get_submodule(layers).requires_grad_(True)
    return TunedPart(part, layers, training.backbone_rank)


def trained_weights(model: nn.Module) -> dict[str, Tensor]:
    """What of a model is trained, by the names that its weights have in the whole model."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def restore(model: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Gives a copy of a part the trained weights of another."""
    with torch.no_grad():
        for name, weight in trained_weights(model).items():
            weight.copy_(kept[name])


def sharing_copy(model: nn.Module) -> nn.Module:
    """A copy that shares with the model whatever is not trained."""
    frozen = [weight for weight in model.parameters() if not weight.requires_grad]
    return copy.deepcopy(model, {id(one): one for one in (*frozen, *model.buffers())})
