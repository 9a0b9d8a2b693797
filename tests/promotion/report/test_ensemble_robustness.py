"""The robustness of an ensemble is that of its weights, standardised as it was trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.evaluation.robustness.robustness_table import evaluate_robustness
from cmir.promotion.report.ensemble_robustness import ensemble_robustness
from cmir.serving.predictor import Ensemble
from cmir.serving.trained_ensemble import ensemble_of
from tests.support.made_data.learning_data import small_config, trained

KINDS = ["gaussian", "delayed"]


@pytest.fixture(scope="module")
def ensemble(learning: DevelopmentData) -> Ensemble:
    return ensemble_of(trained(learning, small_config((0, 1))), learning)


def test_an_ensemble_is_as_robust_as_its_weights(
    learning: DevelopmentData, ensemble: Ensemble
) -> None:
    weights = ensemble.network.layout.unpack(ensemble.weights)
    wanted = evaluate_robustness(ensemble.network, weights, learning, corruptions=KINDS)
    assert ensemble_robustness(ensemble, learning, corruptions=KINDS).equals(wanted)


def test_data_with_other_statistics_are_standardised_as_the_training_data_were(
    learning: DevelopmentData, ensemble: Ensemble
) -> None:
    moved = {n: replace(m, mean=m.mean + 5, std=3 * m.std) for n, m in learning.modalities.items()}
    other = replace(learning, modalities=moved)
    found = ensemble_robustness(ensemble, other, corruptions=KINDS)
    assert found.equals(ensemble_robustness(ensemble, learning, corruptions=KINDS))


def test_the_average_of_the_seeds_is_measured_as_one_model(
    learning: DevelopmentData, ensemble: Ensemble
) -> None:
    found = ensemble_robustness(ensemble, learning, corruptions=[], by_seed=False)
    split = learning.ood_val
    columns = {name: m.array[split.rows] for name, m in learning.modalities.items()}
    for name in ("text", "audio"):
        columns[f"{name}_lengths"] = split.samples[f"{name}_length"].to_numpy()
    served = ensemble.predict(columns)["prediction"]
    (row,) = found.filter(split="ood_val", metric="mae").to_dicts()
    assert row["values"] == pytest.approx([np.abs(served - split.labels).mean()], abs=1e-5)


def test_data_without_a_modality_of_the_model_is_refused(
    learning: DevelopmentData, ensemble: Ensemble
) -> None:
    kept = {name: m for name, m in learning.modalities.items() if name != "audio"}
    with pytest.raises(InputError, match=r"must have sequences of 4 features as 'audio'.*has none"):
        ensemble_robustness(ensemble, replace(learning, modalities=kept))
