"""Methods of others in training: each seed alone, nothing at weight zero, and what they are for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from cmir.config import TrialConfig
from cmir.data import DevelopmentData, load_dataset, write_dataset
from cmir.errors import InputError
from cmir.evaluation.probes.linear_probes import accuracies
from cmir.evaluation.probes.representations import model_of
from cmir.method.training.fitting import check
from cmir.method.training.reports import TrialResult
from tests.support.made_data.learning_data import (
    assert_identical,
    small_config,
    trained,
)

SPEAKERS = {"environments__partition": "speaker", "environments__groups": 3}
PENALTIES = ("mmd", "dann", "sal", "mixup")
METHODS: dict[str, dict[str, Any]] = {
    **{name: {**SPEAKERS, "loss__penalty": name} for name in PENALTIES},
    "swad": {"training__averaging": "swad", "training__epochs": 12},
    "ogm_ge": {"training__modulation": "ogm_ge", "training__modulation_strength": 0.8},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_stack_of_seeds_is_each_seed_alone(learning: DevelopmentData, method: str) -> None:
    together = trained(learning, small_config((5, 0), **METHODS[method]))
    for place, seed in enumerate((5, 0)):
        alone = trained(learning, small_config((seed,), **METHODS[method]))
        # Kernels lose more to rounding than means do, and Adam makes steps of what is lost.
        assert (together.weights[place] - alone.weights[0]).abs().mean() < 1e-5
        assert together.best_epochs[place] == alone.best_epochs[0]


@pytest.mark.parametrize("method", PENALTIES)
def test_a_penalty_of_weight_zero_changes_no_bit(learning: DevelopmentData, method: str) -> None:
    plain = trained(learning, small_config((5, 0), loss__penalty_weight=0.0, **SPEAKERS))
    config = small_config((5, 0), loss__penalty_weight=0.0, **METHODS[method])
    found = trained(learning, config)
    assert torch.equal(found.weights, plain.weights)
    assert found.by_seed == plain.by_seed


@pytest.mark.parametrize(
    ("method", "task"),
    [
        *(("sal", "binary"), ("ogm_ge", "binary"), ("dann", "classes"), ("swad", "classes")),
        *(("ogm_ge", "classes"), ("mixup", "multilabel"), ("ogm_ge", "multilabel")),
    ],
)
def test_each_learns_names_as_well(request: pytest.FixtureRequest, method: str, task: str) -> None:
    data = request.getfixturevalue(f"learning_{task}")
    changes = {**METHODS[method], "training__epochs": 1}
    objective = "ood_val/accuracy" if task == "binary" else "ood_val/macro_f1"
    config = small_config((0,), **changes).model_copy(update={"objective": objective})
    assert trained(data, config).weights.isfinite().all()


@pytest.mark.parametrize("method", METHODS)
def test_each_takes_a_narrow_invariant_part(learning: DevelopmentData, method: str) -> None:
    narrow = {"model__invariant_size": 3, "loss__decorrelation": "cross_covariance"}
    config = small_config((0,), **{**METHODS[method], **narrow, "training__epochs": 1})
    assert trained(learning, config).weights.isfinite().all()


def test_the_same_seed_gives_the_same_numbers(learning: DevelopmentData) -> None:
    for method in ("mixup", "sal", "ogm_ge"):
        config = small_config((3,), **METHODS[method])
        assert_identical(trained(learning, config), trained(learning, config))


def test_what_swad_keeps_is_an_average_and_no_epoch(learning: DevelopmentData) -> None:
    raw = {"training__averaging": "none", "training__epochs": 12}
    dense = trained(learning, small_config((0,), **METHODS["swad"]))
    single = trained(learning, small_config((0,), **raw))
    assert dense.best_epochs == single.best_epochs
    assert not torch.equal(dense.weights, single.weights)


def test_modulation_needs_something_to_compare(learning: DevelopmentData) -> None:
    alone: dict[str, Any] = {"model__modalities": ["text"], "training__modulation": "ogm"}
    with pytest.raises(InputError, match=r"compares modalities .* needs 2, but got text"):
        check(learning, small_config(**alone))
    with pytest.raises(InputError, match=r"modulation_strength has no effect with modulation"):
        small_config(training__modulation_strength=0.5)


VOICES = 4


def voices(folder: Path) -> DevelopmentData:
    """`text` is the cause; `vision` shows who speaks, and known speakers differ in their labels.

    Of unknown speakers the face says nothing of the label.
    """
    rng = np.random.default_rng(0)
    sizes = {"train": 240, "id_val": 80, "ood_val": 80}
    split = np.repeat(list(sizes), list(sizes.values()))
    voice, cause = rng.integers(0, VOICES, len(split)), rng.normal(size=len(split))
    shown = np.where(split == "ood_val", rng.permutation(voice), voice)
    label = (cause + shown - (VOICES - 1) / 2).clip(-3, 3)
    face = 3.0 * np.eye(VOICES)[voice] + rng.normal(size=(len(split), VOICES))
    heard = cause[:, None] * np.ones(3) + 0.3 * rng.normal(size=(len(split), 3))
    samples = pl.DataFrame(
        {
            "id": [str(number) for number in range(len(split))],
            "split": split.tolist(),
            "label": label.astype(np.float32),
            "speaker": [f"{voice[n]}{'n' * (split[n] == 'ood_val')}" for n in range(len(split))],
        }
    )
    write_dataset(
        folder,
        samples=samples,
        features={"text": heard.astype(np.float32), "vision": face.astype(np.float32)},
        task="regression",
        label_range=(-3.0, 3.0),
        name="voices",
        source={"file": "none"},
        shift={"scheme": "none"},
    )
    return load_dataset(folder).development()


def grouped(penalty: str, weight: float, **changes: Any) -> TrialConfig:
    config = small_config(
        (0, 1),
        environments__partition="speaker",
        environments__groups=VOICES,
        loss__penalty=penalty,
        loss__penalty_weight=weight,
        training__epochs=20,
        training__patience=20,
        training__batch_size=40,
        **changes,
    )
    return config.model_copy(update={"objective": "id_val/mae"})


def speaker_from_invariant(data: DevelopmentData, result: TrialResult) -> float:
    """Accuracy of a linear probe of the speaker on known speakers, mean over the seeds."""
    model, known = model_of(result, data), (data.train, data.id_val)
    names = [split.samples["speaker"].to_numpy() for split in known]
    fitted, held = (model.parts(data, split.rows).invariant for split in known)
    found = [accuracies(fitted[s], names[0], (held[s], names[1]))[0] for s in (0, 1)]
    return float(np.mean(found))


def moved_by_face(data: DevelopmentData, result: TrialResult) -> float:
    """How far predictions of new speakers move when `vision` alone is somebody else's."""
    model, rows = model_of(result, data), data.ood_val.rows
    vision = np.array(data.modalities["vision"].array)
    vision[rows] = vision[np.roll(rows, 7)]
    other = replace(data.modalities["vision"], array=vision, pooled=None)
    exchanged = replace(data, modalities={**data.modalities, "vision": other})
    moved = model.predictions(exchanged, rows) - model.predictions(data, rows)
    return float(np.abs(moved).mean())


@pytest.fixture(scope="module")
def confounded(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    return voices(tmp_path_factory.mktemp("confounded") / "data")


@pytest.fixture(scope="module")
def plain(confounded: DevelopmentData) -> TrialResult:
    return trained(confounded, grouped("mmd", 0.0))


@pytest.mark.parametrize(
    ("penalty", "weight", "settings"),
    [
        ("dann", 10.0, {}),
        ("mmd", 30.0, {}),
        ("sal", 1.0, {"loss__penalty_settings__sal__noise": 30.0}),
    ],
)
def test_predictions_turn_from_who_speaks(
    confounded: DevelopmentData,
    plain: TrialResult,
    penalty: str,
    weight: float,
    settings: dict[str, float],
) -> None:
    found = trained(confounded, grouped(penalty, weight, **settings))
    assert moved_by_face(confounded, plain) > 1.0
    assert moved_by_face(confounded, found) < 0.8 * moved_by_face(confounded, plain)
    assert speaker_from_invariant(confounded, found) < speaker_from_invariant(confounded, plain)
    assert found.metrics["ood_val/mae"] < plain.metrics["ood_val/mae"] - 0.05
