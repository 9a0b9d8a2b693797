"""The label erased from Z_spu: predictions stay, and no linear map tells it any longer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from cmir.data import DevelopmentData
from cmir.evaluation.probes.representations import Parts, model_of
from cmir.method.training.reports import TrialResult
from tests.support.made_data.learning_data import small_config, trained


def parts(result: TrialResult, data: DevelopmentData) -> Parts:
    return model_of(result, data).parts(data, data.train.rows)


def both(data: DevelopmentData, **own: Any) -> tuple[TrialResult, TrialResult]:
    """The same training without erasure and with it."""
    kept = trained(data, small_config((0, 1), **own))
    return kept, trained(data, small_config((0, 1), loss__label_erasure=True, **own))


def test_no_linear_map_tells_the_label_and_predictions_stay(learning: DevelopmentData) -> None:
    kept, erased = both(learning, model__invariant_size=3, loss__decorrelation="hsic")
    assert erased.by_seed == kept.by_seed
    before, after = parts(kept, learning), parts(erased, learning)
    np.testing.assert_array_equal(after.invariant, before.invariant)
    labels = learning.train.labels
    for had, has in zip(before.spurious, after.spurious, strict=True):
        told = LinearRegression().fit(had, labels).score(had, labels)
        left = LinearRegression().fit(has, labels).score(has, labels)
        assert told > 0.3
        assert left == pytest.approx(0.0, abs=1e-4)


def test_it_is_the_map_of_leace_for_every_modality(learning: DevelopmentData) -> None:
    kept, erased = both(learning)
    size, labels = kept.config.model.representation_size, learning.train.labels
    had, has = parts(kept, learning).spurious[1], parts(erased, learning).spurious[1]
    for place in range(had.shape[1] // size):
        own = slice(place * size, (place + 1) * size)
        values = had[:, own].astype(float)
        centred = values - values.mean(0)
        told = centred.T @ (labels - labels.mean())
        seen = np.linalg.pinv(centred.T @ centred, hermitian=True) @ told
        expected = values - np.outer(centred @ seen, told) / (told @ seen)
        np.testing.assert_allclose(has[:, own], expected, atol=2e-3 * np.abs(values).max())


def test_classes_are_erased_as_well(learning_binary: DevelopmentData) -> None:
    kept, erased = both(learning_binary, objective="ood_val/accuracy")
    labels = learning_binary.train.labels
    for had, has in zip(
        parts(kept, learning_binary).spurious, parts(erased, learning_binary).spurious, strict=True
    ):
        gap = had[labels == 1].mean(0) - had[labels == 0].mean(0)
        left = has[labels == 1].mean(0) - has[labels == 0].mean(0)
        assert np.abs(left).max() < 1e-3 * np.abs(gap).max()
