from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.errors import InputError
from cmir.method.language.pretrained.backbones import find_backbone
from cmir.method.language.pretrained.tuned_part import (
    TunedPart,
    restore,
    trained_weights,
    tuned_part,
)
from cmir.method.language.text_sources import CutTexts, WholeTexts
from cmir.method.training.fitting import check, fit
from cmir.method.training.reports import Diverged, EpochReport, TrialResult
from cmir.runner.weights import load_backbones, save_weights
from tests.support.made_data.learning_data import (
    assert_close,
    assert_identical,
    small_config,
    trained,
)
from tests.support.tiny_backbones import FAMILIES, WIDTH, write_backbone, write_spoken


def config(folder: Path, seeds: tuple[int, ...] = (0,), **changes: Any) -> TrialConfig:
    defaults = {"model__backbone__text": str(folder), "training__backbone_learning_rate": 1e-3}
    return small_config(seeds, **(defaults | changes))


def moved(result: TrialResult, folder: Path) -> float:
    """The largest change of any weight of the first seed's language model."""
    start = find_backbone(str(folder)).load().state_dict()
    kept = result.backbones[0]
    return max(float((kept[f"text.{name}"] - value).abs().max()) for name, value in start.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_fine_tuning_moves_the_language_model_and_learns_more_than_a_still_one(
    family: str, spoken: DevelopmentData, backbones: dict[str, Path]
) -> None:
    # From the one text alone, whose word tells the sign.
    only: dict[str, Any] = {
        "model__modalities": ("text",),
        "training__epochs": 6,
        "training__learning_rate": 3e-3,
    }
    folder = backbones[family]
    losses = {}
    for rate in (1e-12, 3e-3):
        reports = list(fit(spoken, config(folder, training__backbone_learning_rate=rate, **only)))
        losses[rate] = [report.metrics["train/loss_prediction"] for report in reports]
        assert reports[-1].result is not None
        distance = moved(reports[-1].result, folder)
        assert (distance < 1e-6) == (rate == 1e-12)
    assert losses[3e-3][-1] < losses[3e-3][0]
    assert losses[3e-3][-1] < losses[1e-12][-1]


def test_without_a_language_model_the_result_holds_none(spoken: DevelopmentData) -> None:
    assert trained(spoken, small_config(training__epochs=1)).backbones == ()


def test_two_seeds_differ_and_each_trains_as_it_would_alone(
    spoken: DevelopmentData, backbones: dict[str, Path]
) -> None:
    view: dict[str, Any] = {"environments__view": "swap"}
    both = trained(spoken, config(backbones["bert"], (3, 8), **view))
    assert not torch.allclose(both.weights[0], both.weights[1])
    for place, seed in enumerate((3, 8)):
        alone = trained(spoken, config(backbones["bert"], (seed,), **view))
        assert torch.equal(alone.weights[0], both.weights[place])
        assert alone.best_epochs == both.best_epochs[place : place + 1]
        assert {k: v[0] for k, v in alone.by_seed.items()} == {
            k: v[place] for k, v in both.by_seed.items()
        }
        for name, value in alone.backbones[0].items():
            assert torch.equal(value, both.backbones[place][name])


def test_the_same_seeds_give_the_same_bits_dropout_included(
    spoken: DevelopmentData, tmp_path: Path
) -> None:
    folder = write_backbone(tmp_path / "bert", dropout=0.2)
    one, two = (trained(spoken, config(folder, (0, 1))) for _ in range(2))
    assert_identical(one, two)
    assert all(torch.equal(v, two.backbones[1][k]) for k, v in one.backbones[1].items())


@pytest.mark.parametrize("kind", ["pool", "transformer"])
def test_a_batch_in_parts_trains_as_the_whole_batch_does(
    kind: str, spoken: DevelopmentData, backbones: dict[str, Path]
) -> None:
    settings: dict[str, Any] = {
        "model__unimodal__text": kind,
        "environments__view": "swap",
        "environments__partition": "speaker",
        "environments__groups": 3,
        "loss__penalty": "vrex",
        "loss__penalty_weight": 2.0,
        "loss__penalty_anneal_epochs": 1,
        "loss__normalise": "batch",
        "loss__mutual_information": 0.1,
        "training__epochs": 2,
    }
    whole = trained(spoken, config(backbones["bert"], **settings))
    parts = trained(spoken, config(backbones["bert"], training__backbone_batch_size=3, **settings))
    assert_close(parts, whole)


def test_the_result_is_that_of_each_seeds_best_epoch(
    spoken: DevelopmentData, backbones: dict[str, Path]
) -> None:
    settings: dict[str, Any] = {
        "training__epochs": 8,
        "training__patience": 2,
        "training__learning_rate": 0.05,
    }
    reports = list(fit(spoken, config(backbones["bert"], (0, 1), **settings)))
    assert [report.epoch for report in reports] == list(range(1, len(reports) + 1))
    assert [report.result is None for report in reports[:-1]] == [True] * (len(reports) - 1)
    result = reports[-1].result
    assert result is not None
    assert result.objective == pytest.approx(reports[-1].objective)
    assert len(reports) <= max(result.best_epochs) + 2
    for place, best in enumerate(result.best_epochs):
        alone = list(fit(spoken, config(backbones["bert"], (place,), **settings)))
        for metric in ("ood_val/mae", "id_val/mae"):
            shown = alone[best - 1].metrics[metric]
            assert result.by_seed[metric][place] == pytest.approx(shown, rel=1e-5)
    values = result.by_seed["ood_val/mae"]
    assert result.metrics["ood_val/mae_std"] == pytest.approx(float(np.std(values, ddof=1)))


def test_each_report_is_the_mean_over_the_seeds(
    spoken: DevelopmentData, backbones: dict[str, Path]
) -> None:
    both = list(fit(spoken, config(backbones["albert"], (0, 1), training__epochs=2)))
    alone = [
        list(fit(spoken, config(backbones["albert"], (s,), training__epochs=2))) for s in (0, 1)
    ]
    for name in ("train/loss_prediction", "ood_val/mae"):
        values = [run[0].metrics[name] for run in alone]
        assert both[0].metrics[name] == pytest.approx(float(np.mean(values)))
        assert both[0].metrics[f"{name}_std"] == pytest.approx(float(np.std(values, ddof=1)))
    assert both[0].objective == pytest.approx(float(np.mean([run[0].objective for run in alone])))


def test_changing_held_out_texts_and_labels_changes_nothing(
    backbones: dict[str, Path], tmp_path: Path
) -> None:
    results = []
    for name, seed in (("one", 0), ("two", 9)):
        folder = write_spoken(tmp_path / name, heldout_seed=seed)
        data = load_dataset(folder).development()
        results.append(trained(data, config(backbones["bert"], training__epochs=1)))
    assert_identical(*results)


def test_a_language_model_may_stand_in_the_place_of_vectors(
    spoken: DevelopmentData, backbones: dict[str, Path]
) -> None:
    folder = str(backbones["bert"])
    settings: dict[str, Any] = {"model__backbone__vision": folder, "training__epochs": 1}
    result = trained(spoken, small_config(**settings))
    assert {name.split(".")[0] for name in result.backbones[0]} == {"vision"}
    both = trained(spoken, config(backbones["albert"], **settings))
    assert {name.split(".")[0] for name in both.backbones[0]} == {"text", "vision"}


def test_streams_are_fused_into_the_means_of_a_language_model_not_into_its_steps(
    spoken: DevelopmentData, backbones: dict[str, Path]
) -> None:
    fused: dict[str, Any] = {"model__fuse__audio": "text", "training__epochs": 1}
    result = trained(spoken, config(backbones["bert"], **fused))
    assert np.isfinite(result.objective)
    sequential = config(backbones["bert"], model__unimodal__text="transformer", **fused)
    with pytest.raises(InputError, match=r"model\.fuse\.audio: must have the steps of text"):
        check(spoken, sequential)


def test_a_diverged_seed_ends_the_trial(
    spoken: DevelopmentData, backbones: dict[str, Path]
) -> None:
    wild = config(backbones["bert"], (0, 4), training__learning_rate=1e30)
    with pytest.raises(Diverged, match="became non-finite in epoch 1 for seed 0"):
        list(fit(spoken, wild))


def test_kept_weights_hold_the_language_models(
    spoken: DevelopmentData, backbones: dict[str, Path], tmp_path: Path
) -> None:
    result = trained(spoken, config(backbones["bert"], (0, 7), training__epochs=1))
    save_weights(result, tmp_path / "w.safetensors")
    stored = load_file(tmp_path / "w.safetensors")
    name = "embeddings.word_embeddings.weight"
    assert stored["weights"].shape[0] == 2
    assert stored[f"backbone.7.text.{name}"].shape[1] == WIDTH
    assert torch.equal(stored[f"backbone.7.text.{name}"], result.backbones[1][f"text.{name}"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__backbone__words": "x"}, "'learning' has the modalities .* names 'words'"),
        ({"model__backbone__text": "./none"}, r"model\.backbone\.text: \./none: there is no such"),
        ({"model__modalities": ("audio",)}, r"'text' is not among model\.modalities \(audio\)"),
        ({"model__unimodal__text": "mlp"}, "text must be pool or transformer or"),
    ],
)
def test_what_does_not_fit_is_found_before_anything_is_loaded(
    changes: dict[str, Any], message: str, spoken: DevelopmentData, backbones: dict[str, Path]
) -> None:
    with pytest.raises(InputError, match=message):
        check(spoken, config(backbones["bert"], **changes))


def test_a_data_set_without_text_is_refused(
    learning: DevelopmentData, backbones: dict[str, Path]
) -> None:
    with pytest.raises(
        InputError, match=r"model\.backbone\.text: 'learning': .* raw_text or text_bert, but there"
    ):
        check(learning, config(backbones["bert"]))


@pytest.mark.parametrize(
    ("key", "value"),
    [("learning_rate", 1e-4), ("batch_size", 1), ("layers", 1), ("rank", 1)],
)
def test_settings_of_language_models_without_one_are_refused(key: str, value: object) -> None:
    with pytest.raises(
        InputError, match=rf"training\.backbone_{key} has no effect without a language"
    ):
        trial_config({f"training.backbone_{key}": value})


PARTS: dict[str, dict[str, Any]] = {
    "whole": {},
    "top": {"training__backbone_layers": 1},
    "adapters": {"training__backbone_rank": 2},
    "top adapters": {"training__backbone_layers": 1, "training__backbone_rank": 2},
}


@pytest.mark.parametrize(
    ("part", "family"),
    [("top", "bert"), ("top", "modernbert"), ("adapters", "bert"), ("top adapters", "albert")],
)
def test_whatever_is_trained_moves_and_learns(
    part: str, family: str, spoken: DevelopmentData, backbones: dict[str, Path]
) -> None:
    only: dict[str, Any] = {
        "model__modalities": ("text",),
        "training__epochs": 6,
        "training__learning_rate": 3e-3,
        "training__averaging": "none",
    }
    losses = {}
    moving = 1e-2 if "adapters" in part else 3e-3
    for rate in (1e-12, moving):
        settings = {**only, **PARTS[part], "training__backbone_learning_rate": rate}
        reports = list(fit(spoken, config(backbones[family], **settings)))
        losses[rate] = reports[-1].metrics["train/loss_prediction"]
    assert losses[moving] < losses[1e-12]


def test_top_layers_train_as_they_would_in_the_whole_model_with_all_else_still(
    spoken: DevelopmentData, backbones: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = backbones["bert"]
    top = trained(spoken, config(folder, **PARTS["top"]))

    def still(backbone: Any, training: Any) -> TunedPart:
        model = backbone.load().requires_grad_(False)
        model.encoder.layer[1].requires_grad_(True)
        return TunedPart(model, "", None)

    monkeypatch.setattr("cmir.method.training.finetuning.tuned_part", still)
    whole = trained(spoken, config(folder))
    assert_close(top, whole)
    assert set(top.backbones[0]) == set(whole.backbones[0])


def test_a_frozen_model_gives_features_and_trains_all_seeds_as_one_stack(
    spoken: DevelopmentData, backbones: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = {"training__backbone_layers": 0, "training__backbone_learning_rate": None}
    both = trained(spoken, config(backbones["bert"], (3, 8), **frozen))
    assert both.backbones == ()
    assert both.bases == {"text": find_backbone(str(backbones["bert"])).sha256}
    for place, seed in enumerate((3, 8)):
        alone = trained(spoken, config(backbones["bert"], (seed,), **frozen))
        torch.testing.assert_close(alone.weights[0], both.weights[place], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("kind", ["pool", "transformer"])
def test_a_frozen_model_is_one_whose_rate_is_nil(
    kind: str, spoken: DevelopmentData, backbones: dict[str, Path]
) -> None:
    own: dict[str, Any] = {"model__unimodal__text": kind}
    nil = config(backbones["bert"], training__backbone_learning_rate=1e-12, **own)
    frozen = config(
        backbones["bert"],
        training__backbone_layers=0,
        training__backbone_learning_rate=None,
        **own,
    )
    assert_close(trained(spoken, frozen), trained(spoken, nil))


def test_trials_share_what_the_lower_layers_make_and_views_do_not_run_them_again(
    spoken: DevelopmentData,
    backbones: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings: dict[str, Any] = {**PARTS["top"], "training__epochs": 1}
    first = _last(fit(spoken, config(backbones["bert"], **settings), cache=tmp_path))
    assert len(list(tmp_path.glob("*.npy"))) == 1
    monkeypatch.setattr("cmir.method.language.layer_outputs._computed", _refuse)
    runs: list[int] = []
    known = CutTexts.vectors

    def counted(self: CutTexts, model: Any, texts: Any, *rest: Any) -> Any:
        runs.append(len(texts))
        return known(self, model, texts, *rest)

    monkeypatch.setattr(CutTexts, "vectors", counted)
    assert_identical(
        first, _last(fit(spoken, config(backbones["bert"], **settings), cache=tmp_path))
    )
    plain = runs.copy()
    runs.clear()
    views: dict[str, Any] = {
        "environments__view": "swap",
        "environments__count": 4,
        "loss__invariance": 0.5,
    }
    _last(fit(spoken, config(backbones["bert"], **settings, **views), cache=tmp_path))
    assert runs == plain


def test_equal_texts_are_encoded_once_in_a_batch(
    spoken: DevelopmentData, backbones: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    known = WholeTexts.vectors

    def counted(self: WholeTexts, model: Any, texts: Any, *rest: Any) -> Any:
        seen.append(len(texts))
        assert len(set(texts.tolist())) == len(texts)
        return known(self, model, texts, *rest)

    monkeypatch.setattr(WholeTexts, "vectors", counted)
    trained(spoken, config(backbones["bert"], training__epochs=1, training__batch_size=48))
    texts = [split.samples["raw_text"].n_unique() for split in spoken.splits.values()]
    # One batch of 48 in training, then both validation splits, then all of them for the result.
    assert sum(seen) <= 2 * sum(texts)


@pytest.mark.parametrize("part", PARTS)
def test_a_kept_result_holds_what_was_trained_and_names_its_base(
    part: str, spoken: DevelopmentData, backbones: dict[str, Path], tmp_path: Path
) -> None:
    changes = {**PARTS[part], "training__epochs": 1, "training__backbone_learning_rate": 0.01}
    result = trained(spoken, config(backbones["bert"], (0, 7), **changes))
    save_weights(result, tmp_path / "w.safetensors")
    backbones_kept, bases = load_backbones(tmp_path / "w.safetensors", (0, 7))
    base = find_backbone(str(backbones["bert"]))
    assert bases == result.bases == {"text": base.sha256}
    size = sum(t.numel() for t in backbones_kept[1].values())
    whole = sum(t.numel() for t in base.load().state_dict().values())
    assert size == whole if part == "whole" else size < 0.5 * whole
    # Base and trained part together are the model again.
    own = tuned_part(base, result.config.training).copied(0)
    restore(own, {k.removeprefix("text."): v for k, v in backbones_kept[1].items()})
    for name, value in trained_weights(own).items():
        assert torch.equal(value, result.backbones[1][f"text.{name}"])


def test_more_layers_than_the_model_has_are_found_before_anything_is_loaded(
    spoken: DevelopmentData, backbones: dict[str, Path]
) -> None:
    with pytest.raises(InputError, match=r"training\.backbone_layers must be all, or at most 2, "):
        check(spoken, config(backbones["bert"], training__backbone_layers=3))


def _refuse(*given: object) -> None:
    raise AssertionError("the lower layers ran again")


def _last(reports: Iterator[EpochReport]) -> TrialResult:
    *_, last = reports
    assert last.result is not None
    return last.result
