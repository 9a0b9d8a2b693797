from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmir.errors import InputError
from cmir.method.language.layer_outputs import LayerOutputs, layer_outputs
from cmir.method.language.pretrained.backbones import Backbone, find_backbone
from cmir.method.language.token_vectors import token_vectors
from cmir.method.language.tokens import tokens_of_texts
from tests.support.tiny_backbones import LAYERS, WIDTH, write_backbone

CPU = torch.device("cpu")
TEXTS = ["a good film", "bad", "a very very good film of words", "not bad"]


@pytest.fixture
def bert(backbones: dict[str, Path]) -> Backbone:
    return find_backbone(str(backbones["bert"]))


def outputs(backbone: Backbone, folder: Path | None, cut: int = 1) -> LayerOutputs:
    return layer_outputs(backbone, tokens_of_texts(TEXTS, backbone), cut, CPU, folder)


def refuse(*args: Any) -> Any:
    raise AssertionError("the model was loaded again")


@pytest.mark.parametrize("cut", range(LAYERS + 1))
def test_they_are_what_the_model_itself_says_of_each_layer(bert: Backbone, cut: int) -> None:
    tokens = tokens_of_texts(TEXTS, bert)
    with torch.no_grad():
        wanted = token_vectors(bert.load(), tokens, np.arange(4), CPU, layer=cut)
    found, mask = outputs(bert, None, cut).padded(np.arange(4))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert mask.sum(1).tolist() == tokens.lengths.tolist()


def test_texts_of_any_shape_are_padded_to_the_longest_among_them(bert: Backbone) -> None:
    found = outputs(bert, None)
    values, mask = found.padded(np.array([[3, 1], [1, 0]]))
    assert values.shape == (2, 2, found.lengths[0], WIDTH)
    assert not values[~mask].any()
    assert torch.equal(values[0, 1], values[1, 0])


def test_means_are_over_the_tokens_of_each_text(bert: Backbone) -> None:
    found = outputs(bert, None)
    values, mask = found.padded(np.arange(4))
    wanted = values.sum(1) / mask.sum(1, keepdim=True)
    np.testing.assert_allclose(found.means(), wanted.numpy(), rtol=1e-5, atol=1e-6)


def test_they_are_computed_once_and_mapped(
    bert: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = outputs(bert, tmp_path / "kept")
    monkeypatch.setattr(Backbone, "load", refuse)
    second = outputs(find_backbone(bert.name), tmp_path / "kept")
    assert isinstance(second.values, np.memmap)
    np.testing.assert_array_equal(first.values, second.values)


@pytest.mark.parametrize("change", ["weights", "texts", "cut"])
def test_what_follows_from_something_else_is_another_file(
    change: str, bert: Backbone, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    first = outputs(bert, folder)
    if change == "weights":
        second = outputs(find_backbone(str(write_backbone(tmp_path / "b", seed=1))), folder)
    elif change == "texts":
        tokens = tokens_of_texts(["a bad film", *TEXTS[1:]], bert)
        second = layer_outputs(bert, tokens, 1, CPU, folder)
    else:
        second = outputs(bert, folder, cut=2)
    assert len(list(folder.glob("*.npy"))) == 2
    assert not np.allclose(first.values, second.values)


def test_a_file_that_is_cut_off_is_made_again(bert: Backbone, tmp_path: Path) -> None:
    wanted = np.array(outputs(bert, tmp_path).values)
    (file,) = tmp_path.glob("*.npy")
    file.write_bytes(file.read_bytes()[:-8])
    np.testing.assert_array_equal(outputs(bert, tmp_path).values, wanted)
    assert not list(tmp_path.glob("*.part"))


def test_a_place_that_cannot_be_written_is_named_with_the_room_it_takes(
    bert: Backbone, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/kept: what a language .* \(0 MB\), but it cannot"):
        outputs(bert, tmp_path / "file" / "kept")
