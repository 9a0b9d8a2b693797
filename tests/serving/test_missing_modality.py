"""A modality that does not come: erased as trained for, or refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.evaluation.robustness.corruption_inputs import subjects
from cmir.method.networks.features import load_features
from cmir.method.networks.sized_network import network_for
from cmir.registry.logged_models import signature_of
from cmir.serving.predictor import Ensemble
from cmir.serving.trained_ensemble import ensemble_of, erased_modalities
from tests.support.made_data.learning_data import small_config, trained

ROWS = np.arange(5)
ERASING: dict[str, Any] = {
    "environments__view": "erase",
    "environments__rate__text": 0.0,
    "environments__rate__audio": 0.5,
    "environments__rate__vision": 0.5,
}


@pytest.fixture(scope="module")
def ensemble(learning: DevelopmentData) -> Ensemble:
    """Two seeds that were trained with views in which audio or vision is erased."""
    return ensemble_of(trained(learning, small_config((0, 1), **ERASING)), learning)


def request(data: DevelopmentData, *names: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        modality = data.modalities[name]
        found[name] = np.array(modality.array[ROWS])
        if modality.lengths is not None:
            found[f"{name}_lengths"] = modality.lengths[ROWS]
    return found


def erased(config: TrialConfig, data: DevelopmentData) -> tuple[str, ...]:
    return erased_modalities(config, network_for(data, config.model))


@pytest.mark.parametrize("missing", [("vision",), ("audio",), ("audio", "vision")])
def test_its_unimodal_vector_is_zero_as_in_the_views(
    learning: DevelopmentData, ensemble: Ensemble, missing: tuple[str, ...]
) -> None:
    came = [name for name in ensemble.expected if name not in missing]
    found = ensemble.predict(request(learning, *came))["prediction"]
    features = load_features(learning, ensemble.card.model, torch.device("cpu"))
    named = ensemble.network.layout.unpack(ensemble.weights)
    (subject,) = subjects(ensemble.network, named, features, ROWS, torch.device("cpu"), 0)
    zeros = torch.zeros_like(subject.vectors[:, 0])
    wanted = subject.predict(subject.replaced(dict.fromkeys(missing, zeros))).mean(0)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    whole = ensemble.predict(request(learning, *ensemble.expected))["prediction"]
    assert not np.allclose(found, whole)


def test_one_sample_may_lack_it_too(learning: DevelopmentData, ensemble: Ensemble) -> None:
    batch = ensemble.predict(request(learning, "text", "audio"))["prediction"]
    one = {name: values[2] for name, values in request(learning, "text", "audio").items()}
    np.testing.assert_allclose(ensemble.predict(one)["prediction"], batch[2:3], rtol=1e-5)


def test_distances_are_told_of_what_came(learning: DevelopmentData, ensemble: Ensemble) -> None:
    columns = ensemble.predict(request(learning, "text", "audio"), distances=True)
    assert [name for name in columns if name.startswith("distance")] == [
        "distance_audio",
        "distance_text",
    ]


@pytest.mark.parametrize(
    ("came", "message"),
    [
        (("audio", "vision"), r"text: is required.*Only audio and vision may be left out"),
        ((), r"audio: is required, .* but only nothing came"),
    ],
)
def test_what_was_not_trained_for_is_refused(
    learning: DevelopmentData, ensemble: Ensemble, came: tuple[str, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        ensemble.predict(request(learning, *came))


def test_lengths_without_their_modality_are_a_mistake(
    learning: DevelopmentData, ensemble: Ensemble
) -> None:
    given = request(learning, "text", "audio", "vision")
    del given["audio"]
    with pytest.raises(InputError, match=r"audio_lengths: came without audio"):
        ensemble.predict(given)


def test_only_views_that_a_loss_saw_count_as_training_for_it(learning: DevelopmentData) -> None:
    assert erased(small_config(**ERASING), learning) == ("audio", "vision")
    unseen = small_config(**ERASING, loss__invariance=0.0)
    assert erased(unseen, learning) == ()
    predicted = small_config(**ERASING, loss__invariance=0.0, loss__prediction_views="all")
    assert erased(predicted, learning) == ("audio", "vision")
    assert erased(small_config(environments__view="swap"), learning) == ()


def test_the_signature_says_what_may_be_left_out(ensemble: Ensemble) -> None:
    schema = signature_of(ensemble).inputs
    assert schema.required_input_names() == ["text"]
    assert "vision" in schema.optional_input_names()
