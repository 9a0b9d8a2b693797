from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cmir.config import TrainingConfig
from cmir.method.language.pretrained.backbones import find_backbone
from cmir.method.language.text_sources import WholeTexts, distinct
from cmir.method.language.tokens import Tokens, tokens_of_texts
from cmir.method.training.tuned_backbone import TunedBackbone
from tests.support.tiny_backbones import FAMILIES, WIDTH, write_backbone

CPU = torch.device("cpu")
TEXTS = ["a good film", "bad", "a very very good film of words", "not bad", "film", "very good"]
BATCH = torch.tensor([[3, 0, 5, 2, 4]])


def parts_of(folder: Path) -> tuple[torch.nn.Module, Tokens]:
    backbone = find_backbone(str(folder))
    return backbone.load(), tokens_of_texts(TEXTS, backbone)


def tuned(
    folder: Path, is_pooled: bool = True, seed: int = 0, **training: Any
) -> tuple[TunedBackbone, torch.nn.Module]:
    """The feature, and a copy of the model that it started from."""
    model, tokens = parts_of(folder)
    settings = {"backbone_learning_rate": 0.01, "averaging": "none", **training}
    start = copy.deepcopy(model)
    config = TrainingConfig(**settings)
    texts = WholeTexts(*distinct(tokens))
    return TunedBackbone(model, texts, is_pooled, config, seed, CPU), start


def spelled_out(model: torch.nn.Module, tokens: Tokens, row: int) -> Tensor:
    """The last hidden states of one text alone."""
    ids = torch.from_numpy(tokens.ids[row, : tokens.lengths[row]].astype(np.int64))[None]
    vectors: Tensor = model(input_ids=ids).last_hidden_state[0]
    return vectors


@pytest.fixture(scope="module")
def with_dropout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_backbone(tmp_path_factory.mktemp("dropout") / "bert", dropout=0.3)


@pytest.mark.parametrize("family", FAMILIES)
def test_gathered_are_the_means_of_the_models_vectors(
    family: str, backbones: dict[str, Path]
) -> None:
    feature, model = tuned(backbones[family])
    _, tokens = parts_of(backbones[family])
    wanted = torch.stack([spelled_out(model, tokens, int(row)).mean(0) for row in BATCH[0]])
    for mode in (torch.enable_grad(), torch.no_grad()):
        with mode:
            found = feature.gather(BATCH)
        assert found.mask is None
        torch.testing.assert_close(found.values[0], wanted, rtol=1e-4, atol=1e-5)


def test_sequences_come_with_their_mask_and_zeros_beyond(backbones: dict[str, Path]) -> None:
    feature, model = tuned(backbones["bert"], is_pooled=False, backbone_batch_size=2)
    _, tokens = parts_of(backbones["bert"])
    for mode in (torch.enable_grad(), torch.no_grad()):
        with mode:
            found = feature.gather(BATCH)
        assert found.mask is not None
        assert found.values.shape == (1, 5, int(tokens.lengths.max()), WIDTH)
        assert not found.values[~found.mask].any()
        for place, row in enumerate(BATCH[0].tolist()):
            own = found.values[0, place][found.mask[0, place]]
            wanted = spelled_out(model, tokens, row)
            torch.testing.assert_close(own, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [None, 1, 2, 4])
@pytest.mark.parametrize("is_pooled", [True, False])
def test_a_step_is_that_of_erm_on_the_whole_batch(
    size: int | None, is_pooled: bool, backbones: dict[str, Path]
) -> None:
    feature, model = tuned(backbones["bert"], is_pooled, backbone_batch_size=size, weight_decay=0.1)
    _, tokens = parts_of(backbones["bert"])
    goal = torch.randn(WIDTH, generator=torch.Generator().manual_seed(0))

    # The samples of the batch meet in this loss, as they do in Eq. 5.
    def loss_of(means: Tensor) -> Tensor:
        return ((means @ goal).softmax(0) * torch.arange(5)).sum()

    found = feature.gather(BATCH)
    values = found.values[0]
    means = values if is_pooled else values.sum(1) / tokens_in(tokens)[:, None]
    (slope,) = torch.autograd.grad(loss_of(means), feature.vectors)
    feature.step(slope)

    means = torch.stack([spelled_out(model, tokens, int(row)).mean(0) for row in BATCH[0]])
    loss_of(means).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for parameter in model.parameters():
        decay = 0.1 if parameter.ndim > 1 else 0.0
        torch.optim.AdamW([parameter], lr=0.01, weight_decay=decay).step()
    feature.keep()
    compared = 0
    for name, wanted in model.named_parameters():
        assert wanted.grad is not None
        # Adam turns the rounding of a gradient that is nil, such as a key's bias has, into a step.
        clear = wanted.grad.abs() > 1e-4
        torch.testing.assert_close(
            feature.kept[name][clear], wanted.detach()[clear], rtol=1e-4, atol=1e-5
        )
        compared += int(clear.sum())
    assert compared > 1000


def tokens_in(tokens: Tokens) -> Tensor:
    return torch.from_numpy(tokens.lengths[BATCH[0].numpy()])


def test_parts_see_the_same_dropout_in_both_passes(with_dropout: Path) -> None:
    feature, _ = tuned(with_dropout, backbone_batch_size=2)
    shown = feature.gather(BATCH).values[0].clone()
    again = torch.cat([feature._run(part) for part in feature._parts])[feature._batch.places]
    torch.testing.assert_close(again, shown)
    assert not torch.allclose(feature.gather(BATCH).values[0], shown)


def test_dropout_follows_the_seed_and_leaves_other_randomness_alone(with_dropout: Path) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (
        tuned(with_dropout, seed=seed)[0].gather(BATCH).values for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_evaluation_has_no_dropout_and_goes_text_by_text(
    with_dropout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feature, _ = tuned(with_dropout)
    with torch.no_grad():
        whole = feature.gather(BATCH).values
        assert torch.equal(whole, feature.gather(BATCH).values)
        monkeypatch.setattr("cmir.method.training.tuned_backbone.EVALUATED_AT_ONCE", 2)
        torch.testing.assert_close(feature.gather(BATCH).values, whole)


def test_the_average_is_that_of_the_networks_own_weights(backbones: dict[str, Path]) -> None:
    feature, model = tuned(backbones["bert"], averaging="polynomial")
    plain, _ = tuned(backbones["bert"], averaging="none")
    name = "encoder.layer.0.attention.self.query.weight"
    average = model.state_dict()[name]
    for count in range(1, 6):
        for each in (feature, plain):
            each.gather(BATCH)
            each.step(torch.ones_like(each.vectors))
            each.keep()
        share = 9 / (count + 8)
        average = (1 - share) * average + share * plain.kept[name]
        torch.testing.assert_close(feature.kept[name], average)
    assert not torch.allclose(feature.kept[name], plain.kept[name])


def test_what_was_kept_comes_back(backbones: dict[str, Path]) -> None:
    feature, _ = tuned(backbones["bert"])
    with torch.no_grad():
        start = feature.gather(BATCH).values
    feature.gather(BATCH)
    feature.step(torch.ones_like(feature.vectors))
    with torch.no_grad():
        assert not torch.allclose(feature.gather(BATCH).values, start)
        feature.restore()
        assert torch.equal(feature.gather(BATCH).values, start)


def test_forgotten_moments_make_the_next_step_a_first_one(backbones: dict[str, Path]) -> None:
    feature, _ = tuned(backbones["bert"], weight_decay=0.0)
    name = "encoder.layer.0.attention.self.query.weight"

    def step(direction: float) -> float:
        feature.keep()
        before = feature.kept[name]
        feature.gather(BATCH)
        slope = torch.zeros_like(feature.vectors)
        slope[0] = direction
        slope[0, ::2] = -direction
        feature.step(slope)
        feature.keep()
        return float((feature.kept[name] - before).abs().median())

    step(1.0)
    feature.forget()
    # Adam's first step is the learning rate in every weight, whatever the gradient.
    assert step(1e-3) == pytest.approx(0.01, rel=0.05)
    assert step(1e-6) < 0.009
