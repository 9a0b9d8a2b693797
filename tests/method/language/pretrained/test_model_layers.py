from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cmir.errors import InputError
from cmir.method.language.pretrained.backbones import find_backbone
from cmir.method.language.pretrained.model_layers import above, below, check_cut, layers_of
from cmir.method.language.token_vectors import run_model, valid_steps
from cmir.method.language.tokens import Tokens, tokens_of_texts
from tests.support.tiny_backbones import EVERY_FAMILY, LAYERS

CPU = torch.device("cpu")
ROWS = np.arange(3)


def loaded(folder: Path) -> tuple[nn.Module, Tokens]:
    backbone = find_backbone(str(folder))
    return backbone.load(), tokens_of_texts(["a good film of words", "bad", "not good"], backbone)


def states_at(model: nn.Module, tokens: Tokens, cut: int) -> Tensor:
    return below(model, cut, lambda: run_model(model, tokens, ROWS, CPU))


@pytest.mark.parametrize("family", EVERY_FAMILY)
@pytest.mark.parametrize("cut", range(LAYERS + 1))
def test_both_parts_together_are_the_model(
    family: str, cut: int, backbones: dict[str, Path]
) -> None:
    model, tokens = loaded(backbones[family])
    mask = valid_steps(tokens, ROWS)
    with torch.no_grad():
        whole = run_model(model, tokens, ROWS, CPU).last_hidden_state[mask]
        states = states_at(model, tokens, cut)
        if cut < LAYERS:
            upper = above(model, cut)
            states = upper(inputs_embeds=states, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(states[mask], whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_the_upper_part_keeps_names_and_drops_what_lies_below(
    family: str, backbones: dict[str, Path]
) -> None:
    model, _ = loaded(backbones[family])
    every, layers = set(model.state_dict()), layers_of(model)
    kept = set(above(model, LAYERS - 1).state_dict())
    assert kept < every
    assert not any(name.startswith("embeddings.") for name in kept)
    own = {name for name in kept if name.startswith(f"{layers.path}.")}
    last = f"{layers.path}.{0 if layers.is_shared else LAYERS - 1}."
    assert own == {name for name in every if name.startswith(last)}


def test_the_layers_above_a_cut_do_not_run(backbones: dict[str, Path]) -> None:
    model, tokens = loaded(backbones["bert"])
    ran: list[int] = []
    for index, layer in enumerate(model.get_submodule(layers_of(model).path).children()):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    states_at(model, tokens, 1)
    assert ran == [0]


def test_a_model_without_a_list_of_layers_is_trained_whole_or_not_at_all(
    backbones: dict[str, Path],
) -> None:
    model, _ = loaded(backbones["bert"])
    encoder = model.get_submodule("encoder")
    encoder.layer = nn.Sequential(*encoder.get_submodule("layer").children())
    with pytest.raises(InputError, match="family bert cannot be cut at a layer: leave backbone_la"):
        layers_of(model)


def test_parts_that_are_not_the_model_are_refused(backbones: dict[str, Path]) -> None:
    model, _ = loaded(backbones["bert"])
    one = torch.zeros(2, 3)
    check_cut(model, one, one + 1e-5)
    with pytest.raises(InputError, match="cannot be cut"):
        check_cut(model, one, one + 0.1)
