"""The reference predictor against scikit-learn fold by fold, its losses against differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.metrics import log_loss
from sklearn.model_selection import KFold, StratifiedKFold

from cmir.data import DevelopmentData, SplitData
from cmir.data.task import Task
from cmir.errors import InputError
from cmir.method.environments.reference import (
    LOGISTIC_STRENGTHS,
    RIDGE_STRENGTHS,
    Reference,
    train_reference,
)
from cmir.method.networks.features import pooled_features

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=40)
REGRESSION, BINARY = Task("regression"), Task("binary")
LABELS: dict[Task, np.ndarray] = {
    REGRESSION: RNG.uniform(-3, 3, 40),
    BINARY: RNG.integers(0, 2, 40).astype(np.float64),
}
TASKS = (REGRESSION, BINARY)


def standardised(data: DevelopmentData, rows: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Features of some training samples, with mean and deviation of others."""
    features = pooled_features(data, data.train.rows).astype(np.float64)
    return np.asarray((features[rows] - features[like].mean(0)) / features[like].std(0))


def test_ridge_scores_are_those_of_models_that_have_not_seen_the_sample(
    learning: DevelopmentData,
) -> None:
    labels = learning.train.labels.astype(np.float64)
    every = np.arange(len(labels))
    strength = RidgeCV(RIDGE_STRENGTHS).fit(standardised(learning, every, every), labels).alpha_
    found = train_reference(learning).scores
    for seen, unseen in KFold(5, shuffle=True, random_state=0).split(every):
        model = Ridge(strength).fit(standardised(learning, seen, seen), labels[seen])
        wanted = model.predict(standardised(learning, unseen, seen))
        np.testing.assert_allclose(found[unseen], wanted, atol=1e-8)


def test_logistic_scores_are_those_of_models_that_have_not_seen_the_sample(
    learning_binary: DevelopmentData,
) -> None:
    data, labels = learning_binary, learning_binary.train.labels
    folds = list(StratifiedKFold(5, shuffle=True, random_state=0).split(labels, labels))

    def out_of_fold(strength: float) -> np.ndarray:
        scores = np.zeros(len(labels))
        for seen, unseen in folds:
            model = LogisticRegression(C=strength, max_iter=2000)
            model.fit(standardised(data, seen, seen), labels[seen])
            scores[unseen] = model.decision_function(standardised(data, unseen, seen))
        return scores

    candidates = [out_of_fold(strength) for strength in LOGISTIC_STRENGTHS]
    losses = [
        np.mean([log_loss(labels[rows], 1 / (1 + np.exp(-scores[rows]))) for _, rows in folds])
        for scores in candidates
    ]
    wanted = candidates[int(np.argmin(losses))]
    np.testing.assert_allclose(train_reference(data).scores, wanted, atol=1e-4)


def test_the_reference_finds_the_planted_signal_and_is_repeatable(
    learning: DevelopmentData,
) -> None:
    first, second = train_reference(learning), train_reference(learning)
    assert np.array_equal(first.scores, second.scores)
    assert np.corrcoef(first.scores, first.labels)[0, 1] > 0.8


def test_only_the_training_split_is_read(learning: DevelopmentData) -> None:
    unknown = replace(learning.ood_val, labels=np.full(len(learning.ood_val), np.nan, np.float32))
    without = replace(learning, ood_val=unknown, id_val=unknown)
    assert np.array_equal(train_reference(learning).scores, train_reference(without).scores)


@pytest.mark.parametrize("task", TASKS)
def test_the_scale_gradient_is_the_difference_quotient_of_the_loss(task: Task) -> None:
    step = 1e-6
    ahead = Reference((1 + step) * SCORES, LABELS[task], task).losses
    behind = Reference((1 - step) * SCORES, LABELS[task], task).losses
    found = Reference(SCORES, LABELS[task], task).scale_gradients
    np.testing.assert_allclose(found, (ahead - behind) / (2 * step), atol=1e-7)


def test_losses_are_squared_errors_or_cross_entropies() -> None:
    squared = Reference(SCORES, LABELS[REGRESSION], REGRESSION).losses
    np.testing.assert_allclose(squared, (SCORES - LABELS[REGRESSION]) ** 2)
    crossed = Reference(SCORES, LABELS[BINARY], BINARY).losses
    assert crossed.mean() == pytest.approx(log_loss(LABELS[BINARY], 1 / (1 + np.exp(-SCORES))))


def test_a_large_score_has_a_finite_loss() -> None:
    extreme = Reference(np.array([-2000.0, 2000.0]), np.array([1.0, 1.0]), BINARY)
    assert extreme.losses.tolist() == [2000, 0]
    assert extreme.scale_gradients.tolist() == [2000, 0]


@pytest.mark.parametrize("task", TASKS)
def test_the_strength_is_chosen_on_part_of_many_samples(
    learning: DevelopmentData,
    learning_binary: DevelopmentData,
    task: Task,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = learning if task == REGRESSION else learning_binary
    whole = train_reference(data).scores
    monkeypatch.setattr("cmir.method.environments.reference.ENOUGH", 24)
    part = train_reference(data).scores
    assert np.corrcoef(whole, part)[0, 1] > 0.9
    assert len(part) == len(whole)


def first_rows(data: DevelopmentData, keep: np.ndarray) -> DevelopmentData:
    train = data.train
    part = SplitData("train", train.rows[keep], train.labels[keep], train.samples[keep.tolist()])
    return replace(data, train=part)


def test_too_few_samples_are_refused(
    learning: DevelopmentData, learning_binary: DevelopmentData
) -> None:
    with pytest.raises(InputError, match=r"at least 5 training samples, but 'learning' has 4"):
        train_reference(first_rows(learning, np.arange(4)))
    positive, negative = (np.flatnonzero(learning_binary.train.labels == x) for x in (1, 0))
    few = np.concatenate([positive[:3], negative])
    with pytest.raises(InputError, match=r"at least 5 training samples of each class, .* has 3"):
        train_reference(first_rows(learning_binary, few))
