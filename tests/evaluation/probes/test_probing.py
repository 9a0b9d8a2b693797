"""Probes for any data, and the representations they read."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from cmir.data import DevelopmentData
from cmir.evaluation.probes.linear_probes import accuracies, explained, linear_readout, r2
from cmir.evaluation.probes.probing import Probes, probe, strength_probe
from cmir.evaluation.probes.representations import TrainedModel, model_of
from cmir.method.networks.replicas import Layout
from cmir.method.training.reports import TrialResult
from tests.support.made_data.learning_data import small_config, trained

NOISE = {"environments__view": "noise", "environments__count": 2, "environments__strength": 2.0}


@pytest.fixture(scope="module")
def result(learning: DevelopmentData) -> TrialResult:
    return trained(learning, small_config((0, 1), **NOISE))


@pytest.fixture(scope="module")
def probes(result: TrialResult, learning: DevelopmentData) -> Probes:
    return probe(result, learning)


def test_predictions_are_made_from_the_invariant_part(
    result: TrialResult, learning: DevelopmentData
) -> None:
    model, rows = model_of(result, learning), learning.ood_val.rows
    parts = model.parts(learning, rows)
    size = result.config.model.representation_size
    assert parts.invariant.shape == parts.spurious.shape == (2, len(rows), 3 * size)
    by_modality = torch.from_numpy(parts.invariant).view(2, -1, 3, size).transpose(1, 2)
    with torch.no_grad():
        predicted = model.network.predict(model.weights, by_modality)
    np.testing.assert_allclose(predicted, model.predictions(learning, rows), atol=1e-5)
    mae = np.abs(model.predictions(learning, rows) - learning.ood_val.labels).mean(axis=1)
    assert mae == pytest.approx(result.by_seed["ood_val/mae"], abs=1e-5)


def test_parts_of_rows_do_not_depend_on_the_other_rows(
    result: TrialResult, learning: DevelopmentData, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = model_of(result, learning), learning.train.rows
    whole = model.parts(learning, rows)
    monkeypatch.setattr("cmir.evaluation.probes.representations.CHUNK", 32)
    pieces = model.parts(learning, rows)
    np.testing.assert_allclose(pieces.both, whole.both, atol=1e-5)
    few = model.parts(learning, rows[[5, 2]])
    np.testing.assert_allclose(few.spurious, whole.spurious[:, [5, 2]], atol=1e-5)


def test_a_weak_penalty_gives_ordinary_least_squares_on_each_target() -> None:
    random = np.random.default_rng(0)
    train, held = random.normal(size=(400, 5)), random.normal(size=(200, 5))
    weights = random.normal(size=(5, 3))
    targets = {"two": train @ weights[:, :2], "one": train @ weights[:, 2]}
    (found,) = linear_readout(train, targets, held)
    low, high = targets["one"].min(), targets["one"].max()
    expected = LinearRegression().fit(train, targets["one"]).predict(held).clip(low, high)
    np.testing.assert_allclose(found["one"][:, 0], expected, atol=2e-3)
    assert found["two"].shape == (200, 2)
    scores = explained(
        train, targets, held, {"two": held @ weights[:, :2], "one": random.normal(size=200)}
    )
    assert scores["two"] > 0.98
    assert scores["one"] < 0.1


def test_r2_is_the_share_of_variance_over_all_columns() -> None:
    random = np.random.default_rng(1)
    wanted, predicted = random.normal(size=(50, 3)) * [1, 5, 0.1], random.normal(size=(50, 3))
    errors = np.square(wanted - predicted).sum()
    spread = np.square(wanted - wanted.mean(axis=0)).sum()
    assert r2(wanted, predicted) == pytest.approx(1 - errors / spread)
    assert np.isnan(r2(np.ones(5), np.zeros(5)))


def test_what_training_has_shrunk_to_a_thousandth_does_not_count() -> None:
    random = np.random.default_rng(2)
    values = random.normal(size=(600, 40))
    for size, expected in ((1.0, 1.0), (1e-3, 0.0)):
        scaled = values * np.where(np.arange(40) == 7, size, 1.0)
        target = {"it": values[:300, 7]}, {"it": values[300:, 7]}
        found = explained(scaled[:300], target[0], scaled[300:], target[1])["it"]
        assert found == pytest.approx(expected, abs=0.1)


def test_answers_stay_within_the_range_of_what_was_fitted() -> None:
    train = np.linspace(-1, 1, 50)[:, None]
    (found,) = linear_readout(train, {"it": train[:, 0]}, np.array([[1000.0], [-1000.0]]))
    assert found["it"][:, 0] == pytest.approx([1, -1])


def test_classes_that_a_line_parts_are_told_apart() -> None:
    random = np.random.default_rng(3)
    values = random.normal(size=(400, 6))
    classes = (values[:, 0] - values[:, 1] > 0).astype(float)
    coin = random.integers(0, 2, 200).astype(float)
    right, guessed = accuracies(
        values[:200], classes[:200], (values[200:], classes[200:]), (values[200:], coin)
    )
    assert right > 0.9
    assert guessed == pytest.approx(0.5, abs=0.15)


def test_label_and_noise_are_probed_for_every_seed(probes: Probes) -> None:
    assert probes.truth is None
    assert probes.label.measure == "r2"
    assert set(probes.label.score) == {"id_val", "ood_val"}
    assert probes.label.score["id_val"]["invariant"].shape == (2,)
    # The planted label is easy to see in every modality but audio.
    assert (probes.label.score["id_val"]["invariant"] > 0.3).all()
    assert probes.strength.levels == (0.0, 2.0, 4.0)
    variance = np.square([-2, 0, 2]).mean()
    for part in ("invariant", "spurious"):
        assert probes.strength.r2[part].shape == (2,)
        implied = 1 - probes.strength.mse[part] / variance
        assert probes.strength.r2[part] == pytest.approx(implied, abs=0.05)


def test_the_same_seed_gives_the_same_probes(
    result: TrialResult, learning: DevelopmentData, probes: Probes
) -> None:
    again, other = probe(result, learning), probe(result, learning, seed=1)
    for part in ("invariant", "spurious"):
        np.testing.assert_array_equal(again.strength.r2[part], probes.strength.r2[part])
        np.testing.assert_array_equal(
            again.label.score["ood_val"][part], probes.label.score["ood_val"][part]
        )
    assert not np.array_equal(other.strength.r2["invariant"], probes.strength.r2["invariant"])


def test_a_part_that_ignores_its_input_tells_nothing(
    result: TrialResult, learning: DevelopmentData
) -> None:
    model = model_of(result, learning)
    layout: Layout = model.network.layout
    stack = model.stack.clone()
    offset = 0
    for name, part in layout.parts.items():
        size = int(np.prod(part.shape))
        if name == "encoder.invariant.weight":
            stack[:, offset : offset + size] = 0
        offset += size
    blind = TrainedModel(model.network, stack)
    ask = partial(
        strength_probe,
        data=learning,
        fit_on=np.arange(len(learning.train)),
        environments=result.config.environments,
    )
    seeing = ask(model, random=np.random.default_rng(0))
    found = ask(blind, random=np.random.default_rng(0))
    assert np.abs(found.r2["invariant"]).max() < 0.05
    np.testing.assert_array_equal(found.r2["spurious"], seeing.r2["spurious"])


def test_a_binary_task_is_scored_against_the_larger_class(
    learning_binary: DevelopmentData,
) -> None:
    found = probe(
        trained(learning_binary, small_config((0, 1), objective="ood_val/accuracy")),
        learning_binary,
    )
    assert found.label.measure == "accuracy"
    labels = learning_binary.id_val.labels
    assert found.label.chance["id_val"] == max(labels.mean(), 1 - labels.mean())
    assert (found.label.score["id_val"]["invariant"] > found.label.chance["id_val"]).all()
    # Not trained on noise: asked about the default environments.
    assert found.strength.levels == (0.0, 0.1, 0.2, 0.3, 0.4)
