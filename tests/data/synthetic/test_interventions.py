"""Interventions on the latents: what changes and what is held."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmir.data import DevelopmentData, load_dataset
from cmir.data.synthetic.generation import Shape, generate
from cmir.data.synthetic.interventions import has_ground_truth, intervened, observed
from cmir.data.synthetic.structural_model import LatentKind
from cmir.errors import InputError

SIZES = {"train": 600, "id_val": 60, "ood_val": 60, "id_test": 30, "ood_test": 30}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shapes: dict[str, Shape] = {"text": (6, 4), "audio": 5, "vision": 7}
    return generate(tmp_path_factory.mktemp("known") / "data", modalities=shapes, samples=SIZES)


@pytest.fixture(scope="module")
def data(folder: Path) -> DevelopmentData:
    return load_dataset(folder).development()


def sorted_rows(values: np.ndarray) -> np.ndarray:
    return values[np.lexsort(values.T)]


@pytest.mark.parametrize(("kind", "held"), [("spurious", "causal"), ("causal", "spurious")])
def test_one_kind_of_latents_is_exchanged_within_environment_and_split(
    kind: LatentKind, held: LatentKind, data: DevelopmentData
) -> None:
    before, after = observed(data), intervened(data, kind)
    for name, old in before.truth.items():
        new = after.truth[name]
        np.testing.assert_array_equal(getattr(new, held), getattr(old, held))
        assert not np.array_equal(getattr(new, kind), getattr(old, kind))
        for number in np.unique(old.environment):
            rows = old.environment == number
            np.testing.assert_array_equal(
                sorted_rows(getattr(new, kind)[rows]), sorted_rows(getattr(old, kind)[rows])
            )


@pytest.mark.parametrize("kind", ["spurious", "causal"])
def test_an_intervention_makes_the_two_kinds_independent(
    kind: LatentKind, data: DevelopmentData
) -> None:
    strongest = observed(data).truth["train"].environment == 0

    def link(truth: object) -> float:
        cause, cue = getattr(truth, "cause")[strongest], getattr(truth, "cue")[strongest]  # noqa: B009
        return abs(float(np.corrcoef(cause, cue)[0, 1]))

    assert link(observed(data).truth["train"]) > 0.5
    assert link(intervened(data, kind).truth["train"]) < 4 / np.sqrt(200)


def test_labels_follow_the_causal_latents_and_nothing_else(data: DevelopmentData) -> None:
    spurious, causal = intervened(data, "spurious"), intervened(data, "causal")
    np.testing.assert_array_equal(spurious.data.train.labels, data.train.labels)
    cause = causal.truth["train"].cause
    assert np.corrcoef(cause, causal.data.train.labels)[0, 1] > 0.8
    assert abs(np.corrcoef(cause, data.train.labels)[0, 1]) < 4 / np.sqrt(len(data.train))


def test_only_a_modality_that_shows_what_was_exchanged_changes(data: DevelopmentData) -> None:
    after = intervened(data, "spurious").data
    for name in ("text", "audio"):
        np.testing.assert_array_equal(after.modalities[name].array, data.modalities[name].array)
    assert not np.array_equal(after.modalities["vision"].array, data.modalities["vision"].array)
    for name, modality in data.modalities.items():
        np.testing.assert_array_equal(after.modalities[name].mean, modality.mean)
        np.testing.assert_array_equal(after.modalities[name].std, modality.std)


def test_the_means_over_steps_are_those_of_the_exchanged_features(data: DevelopmentData) -> None:
    text = intervened(data, "causal").data.modalities["text"]
    assert text.pooled is not None
    assert text.lengths is not None
    assert not np.array_equal(text.array, data.modalities["text"].array)
    wanted = text.array.sum(axis=1, dtype=np.float64) / text.lengths[:, np.newaxis]
    np.testing.assert_allclose(text.pooled, wanted, atol=1e-6)


def test_data_without_ground_truth_is_told_apart(learning: DevelopmentData) -> None:
    assert not has_ground_truth(learning)
    with pytest.raises(InputError, match=r"ground_truth.json: must be there"):
        intervened(learning, "causal")
