from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmir.config import TrainingConfig
from cmir.errors import InputError
from cmir.method.language.pretrained.backbones import Backbone, find_backbone
from cmir.method.language.pretrained.tuned_part import cut_of, restore, trained_weights, tuned_part
from cmir.method.language.text_sources import distinct
from cmir.method.language.tokens import tokens_of_texts
from tests.support.tiny_backbones import LAYERS


@pytest.fixture
def bert(backbones: dict[str, Path]) -> Backbone:
    return find_backbone(str(backbones["bert"]))


@pytest.mark.parametrize(
    ("settings", "cut"),
    [
        ({}, None),
        ({"backbone_layers": "all"}, None),
        ({"backbone_layers": 1}, LAYERS - 1),
        ({"backbone_layers": LAYERS}, 0),
        ({"backbone_rank": 2}, 0),
        ({"backbone_layers": "all", "backbone_rank": 2}, 0),
        ({"backbone_layers": 1, "backbone_rank": 2}, LAYERS - 1),
    ],
)
def test_where_a_model_is_cut(settings: dict[str, Any], cut: int | None, bert: Backbone) -> None:
    assert cut_of(bert, TrainingConfig(**settings)) == cut


def test_more_layers_than_there_are_is_refused(bert: Backbone) -> None:
    with pytest.raises(InputError, match=r"must be all, or at most 2, the layers of .*, but got 3"):
        cut_of(bert, TrainingConfig(backbone_layers=3))


def test_all_of_it_is_every_weight_under_its_own_name(bert: Backbone) -> None:
    model = tuned_part(bert, TrainingConfig()).copied(0)
    assert set(trained_weights(model)) == set(bert.load().state_dict())


def test_the_top_layers_are_trained_under_the_names_they_have_in_the_model(
    bert: Backbone,
) -> None:
    model = tuned_part(bert, TrainingConfig(backbone_layers=1)).copied(0)
    every, own = bert.load().state_dict(), trained_weights(model)
    assert set(own) == {name for name in every if name.startswith("encoder.layer.1.")}
    assert all(torch.equal(every[name], value) for name, value in own.items())


@pytest.mark.parametrize("settings", [{"backbone_layers": 1}, {"backbone_rank": 2}])
def test_copies_share_what_is_not_trained_and_nothing_else(
    settings: dict[str, Any], bert: Backbone
) -> None:
    part = tuned_part(bert, TrainingConfig(**settings))
    one, two = part.copied(0), part.copied(1)
    others = dict(two.named_parameters())
    for name, weight in one.named_parameters():
        is_shared = weight.data_ptr() == others[name].data_ptr()
        assert is_shared == (not weight.requires_grad), name


@pytest.mark.parametrize("settings", [{}, {"backbone_layers": 1}, {"backbone_rank": 2}])
def test_a_copy_is_restored_from_what_was_trained(settings: dict[str, Any], bert: Backbone) -> None:
    part = tuned_part(bert, TrainingConfig(**settings))
    one, two = part.copied(0), part.copied(1)
    with torch.no_grad():
        for weight in trained_weights(one).values():
            weight.normal_()
    restore(two, trained_weights(one))
    assert all(torch.equal(v, two.state_dict()[name]) for name, v in one.state_dict().items())


def test_equal_texts_are_one_and_a_row_without_text_has_none(bert: Backbone) -> None:
    tokens = tokens_of_texts(["good", "a film", "good", "bad", "a film"], bert)
    tokens.lengths[3] = 0
    once, of_row = distinct(tokens)
    assert len(once.lengths) == 2
    assert of_row[3] == -1
    rows = np.array([0, 1, 2, 4])
    np.testing.assert_array_equal(once.ids[of_row[rows]], tokens.ids[rows])
