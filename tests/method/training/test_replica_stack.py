"""Several configurations and seeds in one stack: each is trained as it would be alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.method.losses.replica_settings import WEIGHTS
from cmir.method.training.replica_stack import Stack
from cmir.method.training.reports import Diverged, EpochReport, TrialResult
from tests.support.made_data.learning_data import (
    VARIANTS,
    assert_close,
    assert_close_weights,
    ends,
    small_config,
    trained,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_stack_of_seeds_is_each_seed_alone(learning: DevelopmentData, variant: str) -> None:
    seeds = (5, 0, 11)
    together = trained(learning, small_config(seeds, **VARIANTS[variant]))
    assert together.weights.shape[0] == 3
    for place, seed in enumerate(seeds):
        alone = trained(learning, small_config((seed,), **VARIANTS[variant]))
        assert_close_weights(together.weights[place], alone.weights[0])
        assert together.best_epochs[place] == alone.best_epochs[0]
        for name, values in together.by_seed.items():
            assert values[place] == pytest.approx(alone.by_seed[name][0], rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_configurations_of_one_stack_are_each_one_alone(
    learning: DevelopmentData, variant: str
) -> None:
    # The second has no constraints, a seed of the third may leave early: no other may notice.
    plain = {f"loss__{key}": 0.0 for key in WEIGHTS.values()}
    changes: list[dict[str, Any]] = [
        {"training__learning_rate": 0.003, "loss__off_diagonal": 0.2},
        {"training__weight_decay": 0.3, **plain},
        {"training__learning_rate": 0.03, "loss__reconstruction": 0.2},
    ]
    shared = {"training__epochs": 5, "training__patience": 2, **VARIANTS[variant]}
    configs = [small_config((1, 2), **shared | change) for change in changes]
    together = ends(Stack(learning, configs, CPU))
    for index, config in enumerate(configs):
        found = together[index]
        assert isinstance(found, TrialResult)
        assert found.config == config
        assert_close(found, trained(learning, config))


def test_a_configuration_that_is_dropped_leaves_the_others_as_they_are(
    learning: DevelopmentData,
) -> None:
    configs = [small_config((1, 2), training__learning_rate=rate) for rate in (0.01, 0.02, 0.005)]
    stack = Stack(learning, configs, CPU)
    stack.run_epoch()
    stack.drop([0, 2])
    assert stack.running == (1,)
    while stack.running:
        (report,) = stack.run_epoch().values()
    assert isinstance(report, EpochReport)
    assert report.result is not None
    assert_close(report.result, trained(learning, configs[1]))


def test_configurations_of_another_structure_do_not_fit_one_stack(
    learning: DevelopmentData,
) -> None:
    configs = [small_config(), small_config(training__epochs=9)]
    with pytest.raises(InputError, match=r"agree in training\.epochs, but got \[3\] and \[9\]"):
        Stack(learning, configs, CPU)


def test_a_configuration_that_diverges_leaves_the_others_as_they_are(
    learning: DevelopmentData,
) -> None:
    rates = (0.01, 1e30, 0.003)
    configs = [small_config((1, 2), training__learning_rate=rate) for rate in rates]
    together = ends(Stack(learning, configs, CPU))
    fault = together[1]
    assert isinstance(fault, Diverged)
    assert (fault.epoch, fault.seed) == (1, 1)
    for index in (0, 2):
        found = together[index]
        assert isinstance(found, TrialResult)
        assert_close(found, trained(learning, configs[index]))
