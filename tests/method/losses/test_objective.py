"""The terms of one step put together, and how they are weighted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.data.task import SENTIMENT, Task
from cmir.extensions import VIEWS
from cmir.method.losses.constraints import (
    Reduction,
    decorrelation,
    invariance,
    prediction_invariance,
    reconstruction,
)
from cmir.method.losses.independence import cross_covariance, hsic
from cmir.method.losses.objective import Batch, Objective, prediction_loss, weighted_sum
from cmir.method.losses.penalties import coral, fishr, group_dro, irm, vrex
from cmir.method.losses.replica_settings import CONSTRAINTS, ReplicaSettings, replica_settings
from cmir.method.networks.features import load_features
from cmir.method.networks.sized_network import network_for
from tests.support.made_data.learning_data import small_config
from tests.support.plain_network import random_weights

ROWS = torch.tensor([[0, 5, 9, 40, 3, 8], [7, 1, 0, 30, 31, 2]])
GROUPS = torch.tensor([[0, 1, 2, 0, 1, 2], [0, 0, 0, 0, 1, 1]])
CPU = torch.device("cpu")


class Step:
    """One batch of two replicas, ready to be asked for its terms."""

    def __init__(self, data: DevelopmentData, config: TrialConfig) -> None:
        self.network = network_for(data, config.model)
        features = load_features(data, config.model, CPU)
        labels = torch.from_numpy(data.train.labels)[ROWS]
        inputs = {name: feature.gather(ROWS) for name, feature in features.items()}
        self.batch = Batch(inputs, labels, GROUPS)
        loss = prediction_loss(config, data.task)
        groups = 1 if config.environments.partition == "none" else 3
        self.objective = Objective(self.network, config, loss, groups)
        self.weights = random_weights(self.objective.layout, 2)
        self.memory = self.objective.start_memory(2, CPU)
        self.settings = replica_settings([config] * 2, list(self.network.sizes), CPU)

    def terms(self, wanted: Sequence[str] = CONSTRAINTS) -> dict[str, Tensor]:
        terms, self.memory = self.objective.terms(
            self.weights, self.batch, self.settings, self.sources(), wanted, self.memory
        )
        return terms

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


def leak_by_loop(spurious: Tensor, labels: Tensor) -> Tensor:
    """Variance of a regression of every feature on the label, over all variance, less chance."""
    found = []
    for values, wanted in zip(spurious.detach().numpy(), labels.numpy(), strict=True):
        told = sum(np.polyval(np.polyfit(wanted, column, 1), wanted).var() for column in values.T)
        found.append(told / values.var(axis=0).sum() - 1 / (len(wanted) - 1))
    return torch.tensor(found, dtype=torch.float32)


def over_modalities(term: Callable[[int], Tensor]) -> Tensor:
    return torch.stack([term(modality) for modality in range(3)]).sum(0)


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("view", ["noise", "erase", "swap"])
@pytest.mark.parametrize("width", [None, 3])
def test_the_terms_are_sums_over_modalities(
    learning: DevelopmentData, view: str, reduction: Reduction, width: int | None
) -> None:
    forms: dict[str, Any] = {} if width is None else {"loss__decorrelation": "cross_covariance"}
    config = small_config(
        environments__view=view,
        environments__count=3,
        environments__partition="speaker",
        environments__groups=3,
        loss__reduction=reduction,
        loss__normalise="batch",
        loss__off_diagonal=0.4,
        model__invariant_size=width,
        **forms,
    )
    step = Step(learning, config)
    terms = step.terms()
    features, clean, spurious = step.parts()
    perturbed = VIEWS[view].make(features, 3, step.settings.rates, step.sources())
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
            lambda m: (
                decorrelation(clean[:, m], spurious[:, m], 0.4, "batch", reduction)
                if width is None
                else cross_covariance(clean[:, m], spurious[:, m], reduction)
            )
        ),
        "reconstruction": over_modalities(
            lambda m: reconstruction(features[:, m], rebuilt[:, m], reduction)
        ),
        "label_leak": over_modalities(lambda m: leak_by_loop(spurious[:, m], step.batch.labels)),
        "penalty": vrex(errors, GROUPS, 3),
    }
    assert clean.shape[-1] == (width or config.model.representation_size)
    assert set(terms) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(terms[name], value)


def test_only_the_terms_that_are_wanted_are_computed(learning: DevelopmentData) -> None:
    step = Step(learning, small_config(environments__view="noise"))
    assert set(step.terms([])) == {"prediction"}
    assert set(step.terms(["reconstruction"])) == {"prediction", "reconstruction"}


def test_without_views_there_is_no_invariance_to_pay_for(learning: DevelopmentData) -> None:
    assert Step(learning, small_config()).terms(["invariance"])["invariance"].tolist() == [0, 0]


def test_without_a_partition_there_is_no_penalty(learning: DevelopmentData) -> None:
    step = Step(learning, small_config())
    step.batch = Batch(step.batch.inputs, step.batch.labels, torch.zeros_like(GROUPS))
    assert step.terms(["penalty"])["penalty"].tolist() == [0, 0]


def test_the_prediction_loss_over_all_views_is_the_mean_over_the_clean_and_the_perturbed(
    learning: DevelopmentData,
) -> None:
    config = small_config(
        environments__view="swap", environments__count=2, loss__prediction_views="all"
    )
    step = Step(learning, config)
    features, clean, _ = step.parts()
    perturbed = VIEWS["swap"].make(features, 2, step.settings.rates, step.sources())
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
    swapped = VIEWS["swap"].make(features, 1, step.settings.rates, step.sources())[:, :, 0]
    assert (swapped != features).any(-1).all()
    scores = step.network.predict(step.weights, step.encoded(swapped)[0])
    noisy = (scores - step.batch.labels).square().mean(1)
    own = (step.network.predict(step.weights, clean) - step.batch.labels).square().mean(1)
    torch.testing.assert_close(step.terms([])["prediction"], (noisy + own) / 2)


def settings_of(**changes: Any) -> ReplicaSettings:
    zero = torch.zeros(2)
    values = {
        name: zero for name in (*CONSTRAINTS, "off_diagonal", "group_dro_step", "rates")
    } | changes
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
        "label_leak": [0.0, 1.0],
        "penalty": [0.5, 4.0],
    }
    settings = settings_of(**{name: torch.tensor(value) for name, value in weights.items()})
    before = weighted_sum(terms, settings, penalty_counts=False)
    torch.testing.assert_close(before, torch.tensor([1 + 0.2 + 6.0, 10 + 90 + 20.0 + 50]))
    after = weighted_sum(terms, settings, penalty_counts=True)
    # A weight of the penalty above 1 divides the whole.
    torch.testing.assert_close(after, torch.tensor([7.2 + 3.0, (170 + 240.0) / 4]))


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
        (SENTIMENT, "auto", "mse"),
        (SENTIMENT, "mae", "mae"),
        (Task("binary"), "auto", "bce"),
    ],
)
def test_the_prediction_loss_follows_the_task(task: Task, prediction: str, loss: str) -> None:
    assert prediction_loss(small_config(loss__prediction=prediction), task) == loss


def grouped(**changes: Any) -> TrialConfig:
    return small_config(environments__partition="speaker", environments__groups=3, **changes)


def test_each_penalty_gets_what_it_compares(learning: DevelopmentData) -> None:
    found = {}
    for name in ("vrex", "irm", "coral", "fishr"):
        step = Step(learning, grouped(loss__penalty=name))
        found[name] = step.terms(["penalty"])["penalty"]
    step = Step(learning, grouped())
    _, clean, _ = step.parts()
    last = step.network.last_hidden(step.weights, clean)
    scores, labels = step.network.predict(step.weights, clean), step.batch.labels
    expected = {
        "vrex": vrex((scores - labels).square(), GROUPS, 3),
        "irm": irm(scores, labels, GROUPS, 3, "mse"),
        "coral": over_modalities(lambda m: coral(clean[:, m], GROUPS, 3)),
        "fishr": fishr(scores, labels, last, GROUPS, 3, "mse", torch.zeros(2, 3, 18))[0],
    }
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_group_dro_of_weight_one_is_its_own_loss(learning: DevelopmentData) -> None:
    step = Step(learning, grouped(loss__penalty="group_dro", loss__group_dro_step=0.5))
    _, clean, _ = step.parts()
    errors = (step.network.predict(step.weights, clean) - step.batch.labels).square()
    uniform = torch.full((2, 3), 1 / 3)
    loss, weights = group_dro(errors, GROUPS, 3, uniform, 0.5)
    terms = step.terms(["penalty"])
    torch.testing.assert_close(weighted_sum(terms, step.settings, True), loss)
    torch.testing.assert_close(step.memory.squeeze(-1), weights)
    # The second step goes on from the weights of the first.
    step.terms(["penalty"])
    again = group_dro(errors, GROUPS, 3, weights, 0.5)[1]
    torch.testing.assert_close(step.memory.squeeze(-1), again)


@pytest.mark.parametrize("form", ["cross_covariance", "hsic"])
def test_the_two_parts_are_compared_by_features_where_asked(
    learning: DevelopmentData, form: str
) -> None:
    step = Step(learning, small_config(loss__decorrelation=form))
    _, clean, spurious = step.parts()
    measures: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "cross_covariance": partial(cross_covariance, reduction="mean"),
        "hsic": hsic,
    }
    measure = measures[form]
    expected = over_modalities(lambda m: measure(clean[:, m], spurious[:, m]))
    torch.testing.assert_close(step.terms(["mutual_information"])["mutual_information"], expected)


STANDARD: dict[str, Any] = {
    "environments__view": "swap",
    "environments__count": 2,
    "loss__invariance_form": "predictions",
}


def test_the_standard_invariance_compares_unimodal_predictions(learning: DevelopmentData) -> None:
    step = Step(learning, small_config(**STANDARD))
    features, clean, _ = step.parts()
    perturbed = VIEWS["swap"].make(features, 2, step.settings.rates, step.sources())
    views = [clean, *(step.encoded(perturbed[:, :, e])[0] for e in range(2))]

    def unimodal(invariant: Tensor, modality: int) -> Tensor:
        named = {
            key: step.weights[f"unimodal_predictor.{key}"][:, modality]
            for key in ("first.weight", "first.bias", "second.weight", "second.bias")
        }
        hidden = invariant[:, modality] @ named["first.weight"] + named["first.bias"]
        return (hidden.relu() @ named["second.weight"] + named["second.bias"]).squeeze(-1)

    def distance(modality: int) -> Tensor:
        scores = torch.stack([unimodal(view, modality) for view in views], dim=1)
        return prediction_invariance(scores, "mse")

    terms = step.terms(["invariance"])
    torch.testing.assert_close(terms["invariance"], over_modalities(distance))
    errors = [(unimodal(clean, m) - step.batch.labels).square() for m in range(3)]
    torch.testing.assert_close(terms["unimodal_prediction"], torch.stack(errors).mean((0, 2)))


def test_unimodal_predictors_learn_from_labels_and_encoders_from_the_invariance(
    learning: DevelopmentData,
) -> None:
    step = Step(learning, small_config(**STANDARD))
    for weight in step.weights.values():
        weight.requires_grad_()
    terms = step.terms(["invariance"])
    for term, own in (("invariance", False), ("unimodal_prediction", True)):
        names = list(step.weights)
        slopes = torch.autograd.grad(
            terms[term].sum(), list(step.weights.values()), allow_unused=True, retain_graph=True
        )
        moved = {n for n, g in zip(names, slopes, strict=True) if g is not None and g.any()}
        assert moved
        assert all(name.startswith("unimodal_predictor.") == own for name in moved)
