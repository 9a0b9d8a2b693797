"""Probes for any data, and the representations they read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.linear_model import LinearRegression

from cmir.data import DevelopmentData
from cmir.evaluation.probes.environment_questions import (
    Asked,
    partition_readout,
    strength_readout,
)
from cmir.evaluation.probes.linear_probes import accuracies, explained, linear_readout, r2
from cmir.evaluation.probes.probing import Probes, group_readout, probe
from cmir.evaluation.probes.readouts import Held, readouts
from cmir.evaluation.probes.representations import Parts, TrainedModel, model_of
from cmir.evaluation.probes.swap_moves import swap_moves
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
    assert {"label/id_val", "label/ood_val", "strength"} <= set(probes.readouts)
    assert "erased" not in probes.readouts
    label, strength = probes.readouts["label/id_val"], probes.readouts["strength"]
    assert (label.measure, strength.measure) == ("r2", "r2")
    assert strength.asked == "how much noise was added (0 to 4, in 3 steps)"
    # The planted label is easy to see in every modality but audio.
    for kind in (label.linear, label.network):
        assert kind["invariant"].shape == (2,)
        assert (kind["invariant"] > 0.3).all()
        assert (kind["both"] > 0.3).all()
    for part in ("invariant", "spurious", "both"):
        assert strength.linear[part].shape == (2,)
        assert (strength.best[part] >= strength.linear[part]).all()


def test_the_same_seed_gives_the_same_probes(
    result: TrialResult, learning: DevelopmentData, probes: Probes
) -> None:
    again, other = probe(result, learning), probe(result, learning, seed=1)
    for name, readout in probes.readouts.items():
        for part in ("invariant", "spurious", "both"):
            np.testing.assert_array_equal(again.readouts[name].linear[part], readout.linear[part])
            np.testing.assert_array_equal(again.readouts[name].network[part], readout.network[part])
    found = other.readouts["strength"].linear["invariant"]
    assert not np.array_equal(found, probes.readouts["strength"].linear["invariant"])


def blinded(model: TrainedModel, part: str) -> TrainedModel:
    """The model with one part a constant."""
    layout: Layout = model.network.layout
    stack, offset = model.stack.clone(), 0
    for name, shape in layout.parts.items():
        size = int(np.prod(shape.shape))
        if name == f"encoder.{part}.weight":
            stack[:, offset : offset + size] = 0
        offset += size
    return TrainedModel(model.network, stack)


def asked(model: TrainedModel, data: DevelopmentData) -> Asked:
    return Asked(model, data, np.arange(len(data.train)), np.random.default_rng(0))


def test_a_part_that_ignores_its_input_tells_nothing(
    result: TrialResult, learning: DevelopmentData
) -> None:
    model, environments = model_of(result, learning), result.config.environments
    seeing = strength_readout(asked(model, learning), environments)
    found = strength_readout(asked(blinded(model, "invariant"), learning), environments)
    assert np.abs(found.linear["invariant"]).max() < 0.05
    assert found.network["invariant"].max() < 0.1
    np.testing.assert_array_equal(found.linear["spurious"], seeing.linear["spurious"])


def test_a_network_reads_what_no_linear_map_tells() -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(1, 900, 4)).astype(np.float32)
    nothing = random.normal(size=(1, 900, 4)).astype(np.float32)
    target = np.abs(values[0, :, 0])
    fitted, held = (Parts(values[:, own], nothing[:, own]) for own in (slice(600), slice(600, 900)))
    (found,) = readouts(fitted, target[:600], [Held("its size", held, target[600:])], "r2")
    assert found.linear["invariant"][0] < 0.1
    assert found.network["invariant"][0] > 0.6
    assert found.best["spurious"][0] < 0.1
    sign = (values[0, :, 0] * values[0, :, 1] > 0).astype(int)
    (found,) = readouts(fitted, sign[:600], [Held("alike", held, sign[600:])], "accuracy")
    assert found.linear["invariant"][0] < found.chance + 0.1
    assert found.network["invariant"][0] > 0.8


def test_an_erased_modality_is_told_from_whatever_holds_vectors(learning: DevelopmentData) -> None:
    settings = {"environments__view": "erase", "environments__count": 1}
    found = probe(trained(learning, small_config((0,), **settings)), learning)
    erased = found.readouts["erased"]
    assert erased.measure == "accuracy"
    assert erased.chance == pytest.approx(1 / 4, abs=0.01)
    assert erased.best["both"][0] > 0.6
    assert "strength" not in found.readouts


def test_a_partition_is_told_from_training_samples_alone(
    result: TrialResult, learning: DevelopmentData
) -> None:
    model = model_of(result, learning)
    environments = small_config(
        (0,), environments__partition="kmeans", environments__groups=2
    ).environments
    found = partition_readout(asked(model, learning), environments)
    assert found is not None
    assert found.measure == "accuracy"
    assert found.best["both"].mean() > found.chance


def test_a_swapped_modality_moves_what_is_made_of_it(
    result: TrialResult, learning: DevelopmentData
) -> None:
    model = model_of(result, learning)
    moves = swap_moves(model, learning)["ood_val"]
    assert set(moves) == set(model.network.sizes)
    # The shares of the modalities make the whole.
    for part in ("invariant", "spurious"):
        total = sum(getattr(one, part) for one in moves.values())
        np.testing.assert_allclose(total, 1.0, atol=1e-6)
    still = swap_moves(blinded(model, "invariant"), learning)["ood_val"]
    assert all(np.abs(one.prediction).max() < 1e-6 for one in still.values())
    assert any(one.prediction.max() > 0.3 for one in moves.values())


def test_who_a_sample_is_of_is_asked_where_training_has_met_them(
    result: TrialResult, learning: DevelopmentData
) -> None:
    model = model_of(result, learning)
    names = np.where(learning.train.labels > 0, "ann", "bob")
    told = np.where(learning.id_val.labels > 0, "ann", "bob")
    told[:3] = "eve"
    known = replace(
        learning,
        train=replace(
            learning.train, samples=learning.train.samples.with_columns(speaker=pl.Series(names))
        ),
        id_val=replace(
            learning.id_val, samples=learning.id_val.samples.with_columns(speaker=pl.Series(told))
        ),
    )
    found = group_readout(asked(model, known))
    assert found is not None
    assert found.asked == "which speaker, of those in training"
    assert (found.linear["invariant"] > found.chance + 0.1).all()


def test_a_binary_task_is_scored_against_the_larger_class(
    learning_binary: DevelopmentData,
) -> None:
    found = probe(
        trained(learning_binary, small_config((0, 1), objective="ood_val/accuracy")),
        learning_binary,
    )
    label = found.readouts["label/id_val"]
    assert label.measure == "accuracy"
    labels = learning_binary.id_val.labels
    assert label.chance == max(labels.mean(), 1 - labels.mean())
    assert (label.linear["invariant"] > label.chance).all()
    # Not trained on environments: there are none to be told.
    assert not {"strength", "erased", "partition"} & set(found.readouts)
