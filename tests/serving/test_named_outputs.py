"""A model of classes, or of several labels, answers with their names and chances."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import expit, softmax

from cmir.data import DevelopmentData
from cmir.data.task import Task
from cmir.method.training.task_metrics import task_metrics
from cmir.registry.logged_models import signature_of
from cmir.serving.outputs import averaged, decided_names
from cmir.serving.predictor import Ensemble, load_ensemble
from cmir.serving.score_files import score_source
from cmir.serving.trained_ensemble import ensemble_of, fitted_temperature, with_temperature
from tests.support.made_data.learning_data import small_config, trained

CLASSES = Task("classes", names=("bad", "neutral", "good"))


def ensemble(data: DevelopmentData, metric: str) -> Ensemble:
    config = small_config(seeds=(0, 1), training__epochs=6)
    result = trained(data, config.model_copy(update={"objective": f"ood_val/{metric}"}))
    return ensemble_of(result, data)


@pytest.fixture(scope="module")
def of_classes(learning_classes: DevelopmentData) -> Ensemble:
    return ensemble(learning_classes, "uar")


@pytest.fixture(scope="module")
def of_labels(learning_multilabel: DevelopmentData) -> Ensemble:
    return ensemble(learning_multilabel, "macro_f1")


def surely(classes: np.ndarray) -> np.ndarray:
    """Scores of one seed that is as good as certain of these classes, `(1, n, 3)`."""
    return np.asarray(8 * np.eye(3)[classes.astype(int)][None])


def request(data: DevelopmentData, count: int) -> dict[str, np.ndarray]:
    rows = data.ood_val.rows[:count]
    return {name: np.asarray(one.array[rows]) for name, one in data.modalities.items()}


def test_classes_are_answered_with_a_name_and_a_chance_for_each(
    learning_classes: DevelopmentData, of_classes: Ensemble
) -> None:
    columns = of_classes.predict(request(learning_classes, 24))
    names = ("bad", "neutral", "good")
    each = [f"{what}_{name}" for name in names for what in ("probability", "std")]
    assert list(columns) == ["prediction", *each]
    chances = np.stack([columns[f"probability_{name}"] for name in names], axis=1)
    np.testing.assert_allclose(chances.sum(1), 1)
    assert columns["prediction"].tolist() == [names[place] for place in chances.argmax(1)]
    right = columns["prediction"] == np.array(names)[learning_classes.ood_val.labels.astype(int)]
    assert right.mean() > 0.5


def test_several_labels_are_answered_with_all_names_above_one_half(
    learning_multilabel: DevelopmentData, of_labels: Ensemble
) -> None:
    columns = of_labels.predict(request(learning_multilabel, 24))
    for row, told in enumerate(columns["prediction"]):
        held = [n for n in ("happy", "moved") if columns[f"probability_{n}"][row] >= 0.5]
        assert told == ", ".join(held)


@pytest.mark.parametrize("name", ["of_classes", "of_labels"])
def test_a_saved_model_answers_the_same(
    name: str, request: pytest.FixtureRequest, learning_classes: DevelopmentData, tmp_path: Path
) -> None:
    one: Ensemble = request.getfixturevalue(name)
    warm = replace(one, card=one.card.model_copy(update={"temperature": 1.5}))
    loaded = load_ensemble(warm.save(tmp_path))
    assert (loaded.card.task, loaded.card.temperature) == (one.card.task, 1.5)
    rows = learning_classes.ood_val.rows[:3]
    asked = {n: np.asarray(m.array[rows]) for n, m in learning_classes.modalities.items()}
    for key, values in warm.predict(asked).items():
        np.testing.assert_array_equal(loaded.predict(asked)[key], values)
    assert len(loaded.predict({n: v[:0] for n, v in asked.items()})["prediction"]) == 0


def test_the_card_of_a_scale_says_nothing_of_names(learning: DevelopmentData) -> None:
    card = ensemble(learning, "mae").card.model_dump_json(by_alias=True)
    assert not any(key in card for key in ('"names"', '"threshold"', '"temperature"'))


def test_the_signature_has_a_column_for_each_name(of_classes: Ensemble) -> None:
    outputs = {column.name: column.type.name for column in signature_of(of_classes).outputs}
    assert outputs["prediction"] == "string"
    assert outputs["probability_good"] == outputs["std_good"] == "double"


def test_a_folder_is_scored_with_names(
    learning_classes: DevelopmentData, of_classes: Ensemble
) -> None:
    table = score_source(of_classes, learning_classes.path, "ood_val")
    assert table["prediction"].dtype == pl.String
    assert set(table["prediction"].unique()) <= {"bad", "neutral", "good"}


def test_what_is_served_is_the_mean_of_the_seeds_chances() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 5, 3))
    np.testing.assert_allclose(
        softmax(averaged(scores, CLASSES, 2.0)[0], axis=1), softmax(scores / 2, axis=2).mean(0)
    )
    several = Task("multilabel", names=("a", "b", "c"))
    np.testing.assert_allclose(expit(averaged(scores, several)[0]), expit(scores).mean(0))
    assert decided_names(np.array([[0.5, 0.1, 0.9]]), several).tolist() == ["a, c"]


def test_a_temperature_is_kept_only_where_it_helps_out_of_distribution(
    learning_classes: DevelopmentData, of_classes: Ensemble
) -> None:
    data = learning_classes
    rng = np.random.default_rng(0)
    sure = {
        name: surely(np.where(rng.random(len(split)) < 0.7, split.labels, 0))
        for name, split in data.splits.items()
    }
    found = fitted_temperature(sure["id_val"], data.id_val, data.task)
    assert found > 1
    for name in ("id_val", "ood_val"):
        labels = data.splits[name].labels
        served = [averaged(sure[name], data.task, t) for t in (found, 1.0)]
        losses = [task_metrics(one, labels, data.task)["log_loss"][0] for one in served]
        assert losses[0] < losses[1]
    assert with_temperature(of_classes, sure, data).card.temperature == found
    right = {"id_val": sure["id_val"], "ood_val": surely(data.ood_val.labels)}
    assert with_temperature(of_classes, right, data).card.temperature == 1.0
