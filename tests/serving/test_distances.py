"""Distances to the training features, against a loop, and the limits that a model carries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.serving.distances import distance, training_limits
from cmir.serving.predictor import FILES, Ensemble, load_ensemble
from cmir.serving.trained_ensemble import ensemble_of
from tests.support.made_data.learning_data import small_config, trained


@pytest.fixture(scope="module")
def ensemble(learning: DevelopmentData) -> Ensemble:
    return ensemble_of(trained(learning, small_config((0, 1))), learning)


def request(data: DevelopmentData, rows: np.ndarray) -> dict[str, np.ndarray]:
    parts = data.modalities.values()
    lengths = {f"{p.name}_lengths": p.lengths[rows] for p in parts if p.lengths is not None}
    return {part.name: np.array(part.array[rows]) for part in parts} | lengths


def test_a_distance_is_the_root_mean_square_of_standardised_features() -> None:
    rng = np.random.default_rng(0)
    pooled = rng.normal(size=(5, 3)).astype(np.float32)
    mean, std = rng.normal(size=3).astype(np.float32), np.array([1, 2, 0.5], np.float32)
    for row, found in zip(pooled, distance(pooled, mean, std), strict=True):
        squares = [((row[j] - mean[j]) / std[j]) ** 2 for j in range(3)]
        assert found == pytest.approx((sum(squares) / 3) ** 0.5, rel=1e-5)


def test_a_limit_is_a_quantile_of_the_training_samples_distances(learning: DevelopmentData) -> None:
    limits = training_limits(learning, ["text", "vision"])
    text, vision = learning.modalities["text"], learning.modalities["vision"]
    means = []
    for row in learning.train.rows:
        assert text.lengths is not None
        means.append(text.array[row, : text.lengths[row]].mean(axis=0))
    own = distance(np.array(means, np.float32), text.mean, text.std)
    assert limits["text"] == pytest.approx(np.quantile(own, 0.99), rel=1e-4)
    own = distance(np.array(vision.array[learning.train.rows]), vision.mean, vision.std)
    assert limits["vision"] == pytest.approx(np.quantile(own, 0.99), rel=1e-5)


def test_few_training_samples_are_flagged_and_a_strange_one_is_by_its_modality(
    learning: DevelopmentData, ensemble: Ensemble
) -> None:
    given = request(learning, learning.train.rows)
    columns = ensemble.predict(given, distances=True)
    assert list(columns)[:3] == ["prediction", "std", "outside"]
    # Of 48 samples only the farthest lies beyond the .99 quantile, in each modality.
    assert 1 <= columns["outside"].sum() <= len(ensemble.expected)
    strange = {name: values[:3].copy() for name, values in given.items()}
    strange["vision"][1] += 50.0
    columns = ensemble.predict(strange, distances=True)
    assert columns["outside"].tolist()[1]
    limits = ensemble.card.distance_limits
    beyond = {name: columns[f"distance_{name}"][1] > limits[name] for name in limits}
    assert beyond == {"audio": False, "text": False, "vision": True}


def test_padding_does_not_move_a_distance(learning: DevelopmentData, ensemble: Ensemble) -> None:
    given = request(learning, learning.train.rows[:4])
    wanted = ensemble.predict(given, distances=True)["distance_text"]
    given["text"] = np.pad(given["text"], ((0, 0), (0, 5), (0, 0)), constant_values=99.0)
    found = ensemble.predict(given, distances=True)["distance_text"]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_model_of_before_is_loaded_and_says_that_it_has_no_limits(
    learning: DevelopmentData, ensemble: Ensemble, tmp_path: Path
) -> None:
    paths = ensemble.save(tmp_path)
    file = tmp_path / FILES["card"]
    card = json.loads(file.read_text())
    del card["distance_limits"], card["erased"]
    file.write_text(json.dumps(card))
    old = load_ensemble(paths)
    given = request(learning, learning.train.rows[:4])
    np.testing.assert_array_equal(
        old.predict(given)["prediction"], ensemble.predict(given)["prediction"]
    )
    with pytest.raises(InputError, match=r"registered before they were kept\. Promote again"):
        old.predict(given, distances=True)
