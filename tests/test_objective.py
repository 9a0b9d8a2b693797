"""The terms of one step put together, and how they are weighted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from learning_data import small_config
from plain_network import random_weights
from torch import Tensor

from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.learning.environments import VIEWS
from cmir.learning.features import load_features
from cmir.learning.losses import (
    Reduction,
    decorrelation,
    invariance,
    reconstruction,
    risk_variance,
)
from cmir.learning.model import network_for
from cmir.learning.objective import (
    CONSTRAINTS,
    Batch,
    Objective,
    ReplicaSettings,
    prediction_loss,
    replica_settings,
    weighted_sum,
)

ROWS = torch.tensor([[0, 5, 9, 40, 3, 8], [7, 1, 0, 30, 31, 2]])
GROUPS = torch.tensor([[0, 1, 2, 0, 1, 2], [0, 0, 0, 0, 1, 1]])
CPU = torch.device("cpu")


class Step:
    """One batch of two replicas, ready to be asked for its terms."""

    def __init__(self, data: DevelopmentData, config: TrialConfig) -> None:
        self.network = network_for(data, config.model)
        self.weights = random_weights(self.network.layout, 2)
        features = load_features(data, config.model, CPU)
        labels = torch.from_numpy(data.train.labels)[ROWS]
        inputs = {name: feature.gather(ROWS) for name, feature in features.items()}
        self.batch = Batch(inputs, labels, GROUPS)
        loss, count = prediction_loss(config, data.task), int(GROUPS.max()) + 1
        self.objective = Objective(self.network, config, loss, count)
        self.settings = replica_settings([config] * 2, list(self.network.sizes), CPU)

    def terms(self, wanted: Sequence[str] = CONSTRAINTS) -> dict[str, Tensor]:
        sources = self.sources()
        return self.objective.terms(self.weights, self.batch, self.settings, sources, wanted)

    def sources(self) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in (3, 4)]

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Unimodal vectors, Z_inv, Z_spu of the clean samples."""
        features = self.network.unimodal(self.weights, self.batch.inputs)
        return features, *self.encoded(features)

    def encoded(self, features: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.network.hidden(self.weights, features)
        network, weights = self.network, self.weights
        return network.invariant(weights, hidden), network.spurious(weights, hidden)


def over_modalities(term: Callable[[int], Tensor]) -> Tensor:
    return torch.stack([term(modality) for modality in range(3)]).sum(0)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("view", ["noise", "erase", "swap"])
def test_the_terms_are_sums_over_modalities(
    learning: DevelopmentData, view: str, reduction: Reduction
) -> None:
    config = small_config(
        environments__view=view,
        environments__count=3,
        environments__partition="speaker",
        environments__groups=3,
        loss__reduction=reduction,
        loss__normalise="batch",
        loss__off_diagonal=0.4,
    )
    step = Step(learning, config)
    terms = step.terms()
    features, clean, spurious = step.parts()
    perturbed = VIEWS[view](features, 3, step.settings.rates, step.sources())
    views = [step.encoded(perturbed[:, :, e])[0] for e in range(3)]
    rebuilt = step.network.reconstruct(step.weights, clean, spurious)
    errors = (step.network.predict(step.weights, clean) - step.batch.labels).square()
    expected = {
        "prediction": errors.mean(1),
        "invariance": over_modalities(
            lambda m: invariance(
                torch.stack([clean[:, m], *(v[:, m] for v in views)], dim=1), reduction
            )
        ),
        "mutual_information": over_modalities(
            lambda m: decorrelation(clean[:, m], spurious[:, m], 0.4, "batch", reduction)
        ),
        "reconstruction": over_modalities(
            lambda m: reconstruction(features[:, m], rebuilt[:, m], reduction)
        ),
        "risk_variance": risk_variance(errors, GROUPS, 3),
    }
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def test_only_the_terms_that_are_wanted_are_computed(learning: DevelopmentData) -> None:
    step = Step(learning, small_config(environments__view="noise"))
    assert set(step.terms([])) == {"prediction"}
    assert set(step.terms(["reconstruction"])) == {"prediction", "reconstruction"}


def test_without_views_there_is_no_invariance_to_pay_for(learning: DevelopmentData) -> None:
    assert Step(learning, small_config()).terms(["invariance"])["invariance"].tolist() == [0, 0]


def test_without_a_partition_there_is_no_risk_variance(learning: DevelopmentData) -> None:
    step = Step(learning, small_config())
    step.batch = Batch(step.batch.inputs, step.batch.labels, torch.zeros_like(GROUPS))
    assert step.terms(["risk_variance"])["risk_variance"].tolist() == [0, 0]


def test_the_prediction_loss_over_all_views_is_the_mean_over_the_clean_and_the_perturbed(
    learning: DevelopmentData,
) -> None:
    config = small_config(
        environments__view="swap", environments__count=2, loss__prediction_views="all"
    )
    step = Step(learning, config)
    features, clean, _ = step.parts()
    perturbed = VIEWS["swap"](features, 2, step.settings.rates, step.sources())
    versions = [clean, *(step.encoded(perturbed[:, :, e])[0] for e in range(2))]
    errors = [
        (step.network.predict(step.weights, version) - step.batch.labels).square()
        for version in versions
    ]
    torch.testing.assert_close(step.terms([])["prediction"], torch.stack(errors).mean((0, 2)))


def test_a_swapped_sample_keeps_its_own_label(learning: DevelopmentData) -> None:
    # All modalities of all samples come from elsewhere, so the loss is that of wrong pairs.
    rates: dict[str, Any] = {f"environments__rate__{name}": 1.0 for name in learning.modalities}
    config = small_config(
        environments__view="swap",
        environments__count=1,
        loss__prediction_views="all",
        **rates,
    )
    step = Step(learning, config)
    features, clean, _ = step.parts()
    swapped = VIEWS["swap"](features, 1, step.settings.rates, step.sources())[:, :, 0]
    assert (swapped != features).any(-1).all()
    scores = step.network.predict(step.weights, step.encoded(swapped)[0])
    noisy = (scores - step.batch.labels).square().mean(1)
    own = (step.network.predict(step.weights, clean) - step.batch.labels).square().mean(1)
    torch.testing.assert_close(step.terms([])["prediction"], (noisy + own) / 2)


def settings_of(**changes: Any) -> ReplicaSettings:
    zero = torch.zeros(2)
    values = {name: zero for name in (*CONSTRAINTS, "off_diagonal", "rates")} | changes
    return ReplicaSettings(**values)


def test_the_objective_is_the_weighted_sum_of_its_terms() -> None:
    terms = {
        name: torch.tensor([1.0, 10.0]) * place
        for place, name in enumerate(("prediction", *CONSTRAINTS), start=1)
    }
    weights = {
        "invariance": [0.1, 0.0],
        "mutual_information": [2.0, 3.0],
        "reconstruction": [0.0, 0.5],
        "risk_variance": [0.5, 4.0],
    }
    settings = settings_of(**{name: torch.tensor(value) for name, value in weights.items()})
    before = weighted_sum(terms, settings, risk_variance_counts=False)
    torch.testing.assert_close(before, torch.tensor([1 + 0.2 + 6.0, 10 + 90 + 20.0]))
    after = weighted_sum(terms, settings, risk_variance_counts=True)
    # A weight of the risk variance above 1 divides the whole.
    torch.testing.assert_close(after, torch.tensor([7.2 + 2.5, (120 + 200.0) / 4]))


def test_replicas_have_settings_of_their_own(learning: DevelopmentData) -> None:
    first = small_config(
        environments__view="noise",
        environments__strength=0.5,
        environments__rate__vision=0.2,
        loss__invariance=0.0,
        loss__reconstruction=0.0,
    )
    second = small_config(environments__view="noise", loss__reconstruction=0.0)
    settings = replica_settings([first, second], list(learning.modalities), CPU)
    torch.testing.assert_close(settings.rates, torch.tensor([[0.5, 0.5, 0.1], [0.1, 0.1, 0.1]]))
    torch.testing.assert_close(settings.invariance, torch.tensor([0.0, 0.01]))
    assert settings.active() == ("invariance", "mutual_information")
    assert settings.at(torch.tensor([0])).active() == ("mutual_information",)


@pytest.mark.parametrize(("view", "rate"), [("none", 0.0), ("erase", 0.5), ("swap", 0.5)])
def test_rates_have_the_defaults_of_their_view(
    learning: DevelopmentData, view: str, rate: float
) -> None:
    settings = replica_settings(
        [small_config(environments__view=view)], list(learning.modalities), CPU
    )
    assert settings.rates.tolist() == [[rate] * 3]


@pytest.mark.parametrize(
    ("task", "prediction", "loss"),
    [
        ("regression", "auto", "mse"),
        ("regression", "mae", "mae"),
        ("binary", "auto", "bce"),
    ],
)
def test_the_prediction_loss_follows_the_task(task: str, prediction: str, loss: str) -> None:
    assert prediction_loss(small_config(loss__prediction=prediction), task) == loss
