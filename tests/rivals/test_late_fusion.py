from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import softmax

from cmir.data import SplitData
from cmir.data.task import SENTIMENT, Task
from cmir.method.training.split_scores import split_metrics
from cmir.rivals.late_fusion import (
    PENALTY,
    ClassFusion,
    EachFusion,
    fitted,
    fused,
    fusions,
    inputs_of,
    stacked,
)


def split(name: str, labels: np.ndarray) -> SplitData:
    speakers = [f"{name}{index // 10}" for index in range(len(labels))]
    return SplitData(name, np.arange(len(labels)), labels, pl.DataFrame({"speaker": speakers}))


@pytest.fixture
def case() -> tuple[list[dict[str, np.ndarray]], dict[str, SplitData]]:
    """Two models that each see half of what makes the label."""
    rng = np.random.default_rng(0)
    models: list[dict[str, np.ndarray]] = [{}, {}]
    splits = {}
    for name, count in (("id_val", 80), ("ood_val", 100)):
        halves = rng.normal(size=(2, count))
        splits[name] = split(name, (halves.sum(axis=0) * 0.8).clip(-3, 3))
        for model, half in zip(models, halves, strict=True):
            noise = 0.1 * rng.normal(size=(3, count))
            model[name] = half + noise
            model[f"noise_{name}"] = np.stack([half + 3 * noise] * 2)
    return models, splits


def test_it_is_better_than_each_model_and_keeps_the_shapes(case: Any) -> None:
    models, splits = case
    found = stacked(models, splits, SENTIMENT)
    assert {key: value.shape for key, value in found.items()} == {
        key: value.shape for key, value in models[0].items()
    }

    def error(scores: np.ndarray) -> float:
        return float(np.abs(scores - splits["ood_val"].labels).mean())

    assert error(found["ood_val"]) < 0.3 * min(error(model["ood_val"]) for model in models)
    assert error(found["noise_ood_val"][0]) < min(error(model["ood_val"]) for model in models)


def test_no_sample_is_judged_by_a_fusion_that_has_seen_its_group(case: Any) -> None:
    models, splits = case
    before = stacked(models, splits, SENTIMENT)["ood_val"]
    labels = splits["ood_val"].labels.copy()
    labels[:10] = -labels[:10]  # The first speaker's.
    after = stacked(models, {**splits, "ood_val": split("ood_val", labels)}, SENTIMENT)["ood_val"]
    np.testing.assert_array_equal(before[:, :10], after[:, :10])
    assert np.abs(before[:, 10:] - after[:, 10:]).max() > 0.01


def test_the_weights_are_those_that_made_the_label(case: Any) -> None:
    models, splits = case
    for fusion in fusions(models, splits, SENTIMENT):
        assert isinstance(fusion, EachFusion)
        np.testing.assert_allclose(fusion.weights, 0.8, atol=0.05)
        assert abs(float(fusion.offsets[0])) < 0.05


def test_two_classes_are_fused_in_logits() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(400, 2))
    labels = (scores.sum(axis=1) > 0).astype(float)
    task = Task("binary", None)
    inputs = inputs_of(list(scores.T), task)
    found = fitted(inputs, labels, task)(inputs)[:, 0]
    assert ((found >= 0) == (labels > 0.5)).mean() > 0.97


MOODS = Task("classes", names=("joy", "anger", "fear"))
SIGNS = Task("multilabel", names=("moved", "loud"))


def named_case(task: Task) -> tuple[list[dict[str, np.ndarray]], dict[str, SplitData]]:
    """Two models: the first tells the first name from the rest, the second the last."""
    rng = np.random.default_rng(0)
    models: list[dict[str, np.ndarray]] = [{}, {}]
    splits, count = {}, task.outputs
    for name, samples in (("id_val", 120), ("ood_val", 150)):
        true = rng.normal(size=(samples, count))
        labels = (true > 0).astype(float) if task.kind == "multilabel" else true.argmax(axis=1)
        splits[name] = split(name, labels)
        for place, model in enumerate(models):
            seen = np.zeros((2, samples, count))
            seen[..., -place] = true[:, -place]
            seen += 0.2 * rng.normal(size=seen.shape)
            model[name], model[f"noise_{name}"] = seen, np.stack([seen, seen, seen])
    return models, splits


@pytest.mark.parametrize("task", [MOODS, SIGNS])
def test_names_are_fused_better_than_each_model_and_keep_their_shapes(task: Task) -> None:
    models, splits = named_case(task)
    found = stacked(models, splits, task)
    assert {key: value.shape for key, value in found.items()} == {
        key: value.shape for key, value in models[0].items()
    }
    goal = f"ood_val/{task.group_metric}"

    def score(scores: np.ndarray) -> float:
        return float(split_metrics(scores, splits["ood_val"], task)[goal].mean())

    assert score(found["ood_val"]) > 0.05 + max(score(model["ood_val"]) for model in models)
    np.testing.assert_array_equal(found["noise_ood_val"][1], found["ood_val"])


@pytest.mark.parametrize("task", [MOODS, SIGNS])
def test_no_name_is_judged_by_a_fusion_that_has_seen_its_group(task: Task) -> None:
    models, splits = named_case(task)
    before = stacked(models, splits, task)["ood_val"]
    labels = np.asarray(splits["ood_val"].labels).copy()
    labels[:10] = 1 - labels[:10] if task is SIGNS else (labels[:10] + 1) % 3
    after = stacked(models, {**splits, "ood_val": split("ood_val", labels)}, task)["ood_val"]
    np.testing.assert_array_equal(before[:, :10], after[:, :10])
    assert np.abs(before[:, 10:] - after[:, 10:]).max() > 1e-3


def test_classes_are_fused_by_a_multinomial_regression_on_log_probabilities() -> None:
    """The two conditions of its optimum, the gradients by offsets and by weights, by hand."""
    models, splits = named_case(MOODS)
    inputs = inputs_of([model["ood_val"][0] for model in models], MOODS)
    np.testing.assert_allclose(np.exp(inputs).sum(axis=1), 1)
    labels = np.asarray(splits["ood_val"].labels)
    fusion = fitted(inputs, labels, MOODS)
    assert isinstance(fusion, ClassFusion)
    flat, count = inputs.reshape(len(inputs), -1), len(inputs)
    rows = np.concatenate([flat, flat.mean(axis=0, keepdims=True)])
    shares = softmax(rows @ fusion.weights.T + fusion.offsets, axis=1)
    wanted = np.concatenate([np.eye(3)[labels], np.full((1, 3), 1 / 3)])
    np.testing.assert_allclose((shares - wanted).sum(axis=0), 0, atol=0.01)
    slopes = (shares - wanted).T @ rows + PENALTY * count * fusion.weights
    np.testing.assert_allclose(slopes, 0, atol=0.02)


def test_two_names_are_fused_as_yes_and_no() -> None:
    task = Task("classes", names=("no", "yes"))
    logits = np.random.default_rng(1).normal(size=(2, 300))
    scores = [np.stack([np.zeros(300), own], axis=-1) for own in logits]
    labels = (logits.sum(axis=0) > 0).astype(float)
    inputs = inputs_of(scores, task)
    assert (fitted(inputs, labels, task)(inputs).argmax(axis=1) == labels).mean() > 0.97


@pytest.mark.parametrize("task", [MOODS, SIGNS])
def test_a_name_that_no_fitted_sample_has_gets_finite_scores_and_is_not_said(task: Task) -> None:
    models, splits = named_case(task)
    inputs = inputs_of([model["ood_val"][0] for model in models], task)
    labels = np.asarray(splits["ood_val"].labels).copy()
    if task is SIGNS:
        labels[:, 1] = 0
    else:
        labels[labels == 2] = 1
    found = fitted(inputs, labels, task)(inputs)
    assert np.isfinite(found).all()
    said = found[:, 1] >= 0 if task is SIGNS else found.argmax(axis=1) == 2
    assert not said.any()


def test_a_fusion_of_all_validation_data_is_applied_seed_by_seed() -> None:
    models, splits = named_case(MOODS)
    by_seed = fusions(models, splits, MOODS)
    scores = [model["noise_ood_val"] for model in models]
    found = fused(by_seed, scores, MOODS)
    assert found.shape == scores[0].shape
    alone = by_seed[1](inputs_of([one[2, 1] for one in scores], MOODS))
    np.testing.assert_allclose(found[2, 1], alone)
