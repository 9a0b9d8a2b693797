"""A language model cut in two: what its lower layers make of a text, and the layers above them.

A model's own code is used as it is: below, a forward pass that ends where the cut is; above, the
same model without what lies below, given what the lower layers made.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cmir.errors import InputError

# What some models have between their embedding and their first layer.
BETWEEN = ("embeddings_project", "embedding_hidden_mapping_in")
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Layers:
    """Where the layers of a model are.

    Attributes:
        path: of their list in the model, which begins the names of their weights.
        count: how many times a text passes a layer.
        is_shared: whether all of them are one, run `count` times, as in ALBERT.
    """

    path: str
    count: int
    is_shared: bool


def layers_of(model: nn.Module) -> Layers:
    """Finds the layers of a model of transformers.

    Raises:
        InputError: it has no list of them, or several groups that share weights.
    """
    config: Any = model.config
    count = int(config.num_hidden_layers)
    lists = {name: part for name, part in model.named_modules() if isinstance(part, nn.ModuleList)}
    own = next((name for name, part in lists.items() if len(part) == count), None)
    if own is not None and hasattr(model, "embeddings"):
        return Layers(own, count, False)
    if getattr(config, "num_hidden_groups", None) == 1 and lists:
        return Layers(next(iter(lists)), count, True)
    raise _uncuttable(model)


def below(model: nn.Module, cut: int, run: Callable[[], Any]) -> Tensor:
    """What enters layer `cut`, counted from 0, while `run` runs the model; the layers above do not.

    With `cut` the number of layers it is the model's own last output.
    """
    layers = layers_of(model)
    if cut == layers.count:
        last: Tensor = run().last_hidden_state
        return last
    first = model.get_submodule(layers.path)[0 if layers.is_shared else cut]  # type: ignore[index]
    passes = cut if layers.is_shared else 0
    seen = 0

    def stop(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        nonlocal seen
        seen += 1
        if seen > passes:
            raise _Reached(given[0] if given else named["hidden_states"])

    with _watched(first, stop):
        try:
            run()
        except _Reached as reached:
            return reached.states
    raise _uncuttable(model)


def above(model: nn.Module, cut: int) -> nn.Module:
    """Makes of a model its part from layer `cut` on; its weights keep their names.

    Call it as the model, with `inputs_embeds` in place of ids: what `below` gives.
    """
    layers = layers_of(model)
    held = model.get_submodule(layers.path)
    if layers.is_shared:
        runner: Any = model.get_submodule(layers.path.rpartition(".")[0])
        runner.config = copy.copy(runner.config)
        runner.config.num_hidden_layers = layers.count - cut
    else:
        # Not `del held[:cut]`, which would give the others new numbers, and so new names.
        for index in range(cut):
            delattr(held, str(index))
    model.embeddings = _Given()
    encoder = getattr(model, "encoder", model)
    for owner, name in ((owner, name) for owner in (model, encoder) for name in BETWEEN):
        if hasattr(owner, name):
            setattr(owner, name, nn.Identity())
    if cut > 0 and hasattr(encoder, "conv"):  # DeBERTa v2 convolves what its first layer gives.
        encoder.conv = None
    return model


def check_cut(model: nn.Module, whole: Tensor, parts: Tensor) -> None:
    """Raises InputError where both parts together are not the model, `whole` being its output."""
    if not torch.allclose(whole, parts, rtol=TOLERANCE, atol=TOLERANCE):
        raise _uncuttable(model)


class _Given(nn.Module):
    """Stands in the place of the embedding; hands on what the lower layers made."""

    def forward(self, *ignored: Any, inputs_embeds: Tensor, **too: Any) -> Tensor:
        """`(n, T, D)` to the same."""
        return inputs_embeds


class _Reached(Exception):  # noqa: N818 - it carries a value, no fault
    """Ends a forward pass at a cut."""

    def __init__(self, states: Tensor) -> None:
        super().__init__()
        self.states = states


@contextmanager
def _watched(module: nn.Module, before: Callable[..., None]) -> Any:
    handle = module.register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _uncuttable(model: nn.Module) -> InputError:
    family = getattr(model.config, "model_type", type(model).__name__)
    return InputError(
        f"training.backbone_layers: a model of the family {family} cannot be cut at a layer: leave "
        "backbone_layers and backbone_rank out, which trains all of it."
    )
