from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cmir.method.language.pretrained.backbones import find_backbone
from cmir.method.language.token_vectors import batches_by_length, token_vectors
from cmir.method.language.tokens import tokens_of_texts
from tests.support.tiny_backbones import EVERY_FAMILY, LAYERS

CPU = torch.device("cpu")
TEXTS = ["a good film", "bad", "a very very good film of words", "not bad"]


@pytest.mark.parametrize("family", EVERY_FAMILY)
@pytest.mark.parametrize("layer", [None, 1, LAYERS])
def test_vectors_are_the_models_own_whatever_else_is_in_the_batch(
    family: str, layer: int | None, backbones: dict[str, Path]
) -> None:
    backbone = find_backbone(str(backbones[family]))
    model, tokens = backbone.load(), tokens_of_texts(TEXTS, backbone)
    with torch.no_grad():
        found = token_vectors(model, tokens, np.arange(4), CPU, layer=layer)
        for row, text in enumerate(TEXTS):
            # The text alone, as transformers itself would have it, without any padding.
            alone = model(
                **backbone.tokenizer(text, return_tensors="pt"), output_hidden_states=True
            )
            states = alone.hidden_states[-1 if layer is None else layer][0]
            torch.testing.assert_close(found[row, : len(states)], states, rtol=1e-4, atol=1e-5)
            assert not found[row, len(states) :].any()
            if layer is None:
                torch.testing.assert_close(states, alone.last_hidden_state[0])


def test_a_batch_is_padded_to_its_own_longest_text_alone(backbones: dict[str, Path]) -> None:
    backbone = find_backbone(str(backbones["bert"]))
    tokens = tokens_of_texts(TEXTS, backbone)
    model = backbone.load()
    assert token_vectors(model, tokens, np.array([1, 3]), CPU).shape[1] == tokens.lengths[3]


def test_mixed_precision_is_close_and_comes_back_as_float32(backbones: dict[str, Path]) -> None:
    backbone = find_backbone(str(backbones["deberta-v2"]))
    model, tokens = backbone.load(), tokens_of_texts(TEXTS, backbone)
    with torch.no_grad():
        exact = token_vectors(model, tokens, np.arange(4), CPU)
        mixed = token_vectors(model, tokens, np.arange(4), CPU, torch.bfloat16)
    assert mixed.dtype == torch.float32
    assert 0 < (mixed - exact).abs().max() < 0.2


@pytest.mark.parametrize("budget", [1, 7, 20, 1000])
def test_batches_hold_every_text_once_and_stay_within_the_budget(budget: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 15, 40)
    batches = list(batches_by_length(lengths, budget))
    assert sorted(np.concatenate(batches)) == list(range(40))
    assert all(len(b) * lengths[b].max() <= budget for b in batches if len(b) > 1)
