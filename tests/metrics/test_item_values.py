"""The values of single samples: their mean is the metric."""

from __future__ import annotations

import numpy as np
import pytest

from cmir.errors import InputError
from cmir.metrics.field_metrics import (
    classification_metrics_by_replica,
    regression_metrics_by_replica,
)
from cmir.metrics.item_values import classification_item_values, regression_item_values

NO_MEANS = {"corr", "f1", "f1_has0", "f1_non0", "auc"}
SCALES = [(-3.0, 3.0), (-1.0, 1.0), None]


@pytest.mark.parametrize("scale", SCALES)
def test_the_mean_of_the_values_is_the_metric_of_a_regression(
    scale: tuple[float, float] | None,
) -> None:
    rng = np.random.default_rng(0)
    bound = 2.0 if scale is None else scale[1]
    labels = np.round(rng.uniform(-bound, bound, 60), 1)
    predictions = labels + bound * rng.normal(size=(3, 60))
    metrics = regression_metrics_by_replica(predictions, labels, label_range=scale)
    for name, wanted in metrics.items():
        values = regression_item_values(predictions, labels, name, label_range=scale)
        if name in NO_MEANS:
            assert values is None
        else:
            assert values is not None
            assert values.shape == (3, 60)
            assert np.nanmean(values, axis=1) == pytest.approx(wanted)


def test_the_mean_of_the_values_is_the_metric_of_a_classification() -> None:
    rng = np.random.default_rng(0)
    labels, logits = rng.integers(0, 2, 60), rng.normal(size=(3, 60))
    for name, wanted in classification_metrics_by_replica(logits, labels).items():
        values = classification_item_values(logits, labels, name)
        assert (values is None) == (name in NO_MEANS)
        if values is not None:
            assert values.mean(axis=1) == pytest.approx(wanted)


def test_a_neutral_sample_does_not_count_without_neutral_ones() -> None:
    values = regression_item_values([[1.0, 1.0, -1.0]], [0.0, 2.0, 1.0], "acc2_non0")
    np.testing.assert_array_equal(values, [[np.nan, 1.0, 0.0]])


def test_labels_that_are_no_classes_are_refused() -> None:
    with pytest.raises(InputError, match="labels: must be 0 or 1"):
        classification_item_values([[1.0, 2.0]], [0.0, 2.0], "accuracy")
