"""The ERM twin of a champion."""

from pathlib import Path

import pytest

from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.data.synthetic import generate
from cmir.method.baseline_recipes import is_erm
from cmir.sweep.modalities.erm_twin import erm_twin, trained_twin

CHAMPION = {
    "environments.view": "swap",
    "environments.rate.vision": 0.9,
    "loss.prediction_views": "all",
    "model.representation_size": 8,
    "model.hidden_size": 8,
    "training.epochs": 2,
    "training.learning_rate": 2e-3,
}


def champion(**more: object) -> TrialConfig:
    return trial_config(CHAMPION | more, objective="ood_val/mae", seeds=(3, 4))


@pytest.fixture
def data(tmp_path: Path) -> DevelopmentData:
    shapes = {"text": 8, "vision": 8}
    samples = {"train": 96, "id_val": 40, "ood_val": 40}
    return load_dataset(
        generate(tmp_path / "data", modalities=shapes, samples=samples)
    ).development()


def test_it_has_the_champions_sizes_and_seeds_and_none_of_its_schemes() -> None:
    twin = erm_twin(champion())
    assert is_erm(twin)
    assert twin.environments.view == "none"
    assert twin.model == champion().model
    assert (twin.seeds, twin.training) == ((3, 4), champion().training)


def test_its_epochs_are_chosen_on_known_groups() -> None:
    assert erm_twin(champion()).objective == "id_val/mae"


def test_it_is_trained_where_that_is_quick(data: DevelopmentData) -> None:
    found, missing = trained_twin(data, champion())
    assert found is not None
    assert (len(found.weights), missing) == (2, "")


def test_a_training_that_takes_too_long_is_given_up(data: DevelopmentData) -> None:
    found, missing = trained_twin(data, champion(), seconds=0.0)
    assert found is None
    assert "takes more than 0 s" in missing


def test_a_language_model_is_not_trained_again(data: DevelopmentData) -> None:
    found, missing = trained_twin(data, champion(**{"model.backbone.text": "minilm"}))
    assert found is None
    assert "language model" in missing


def test_what_cannot_be_measured_in_known_groups_is_said(data: DevelopmentData) -> None:
    found, missing = trained_twin(
        data, champion(**{"training.batch_size": 4, "loss.prediction": "bce"})
    )
    assert found is None
    assert "cannot be trained: loss.prediction" in missing
