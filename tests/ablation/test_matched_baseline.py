"""The sweep that tunes the ERM baseline of an ablation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cmir.ablation.matched_baseline import tuning_file, untuned_baseline
from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData
from cmir.promotion.promotion_plan import PromotionRequest, plan_promotion
from cmir.runner.paths import Paths, control_name
from cmir.space.search_space import checked_space
from cmir.space.space_file import SweepFile, parse_sweep
from tests.support.small_promotion import finished_sweep
from tests.support.small_sweep import SMALL

SEARCH: dict[str, Any] = {
    "environments.view": ["none", "swap"],
    "loss.prediction_views": {"choices": ["clean", "all"], "when": {"environments.view": ["swap"]}},
    "loss.mutual_information": {"low": 1e-4, "high": 1.0, "log": True},
    "loss.prediction": ["mse", "mae"],
    "model.hidden_size": [8, 16],
    "training.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True},
    "training.weight_decay": {"low": 0.0, "high": 1.0, "when": {"loss.prediction": ["mae"]}},
}
STARTS = [
    {"environments.view": "swap", "training.learning_rate": 0.002, "loss.prediction": "mse"},
    {"environments.view": "none", "training.learning_rate": 0.002, "loss.prediction": "mse"},
]


def derived(learning: DevelopmentData, **full: Any) -> tuple[SweepFile, TrialConfig]:
    space = parse_sweep(SMALL | {"search": SEARCH, "start_from": STARTS}, "small.yaml")
    config = trial_config(
        {**space.fixed, "model.unimodal.audio": "pool", "training.epochs": 7, **full},
        objective=space.objective,
        seeds=(1000,),
    )
    plain, _ = untuned_baseline(config, learning)
    return tuning_file(space, config, plain, "data/small"), plain


def test_it_searches_what_is_no_constraint_and_no_size(learning: DevelopmentData) -> None:
    file, plain = derived(learning)
    assert list(file.search) == [
        "loss.prediction",
        "training.learning_rate",
        "training.weight_decay",
    ]
    assert file.dimensions["training.weight_decay"].when == {"loss.prediction": ["mae"]}
    space = checked_space(file, "plain", tuple(learning.modalities))
    for _, values in space.corners():
        config = space.trial(values)
        assert config.model == plain.model
        assert (config.loss.mutual_information, config.environments.view) == (0.0, "none")
        assert config.training.epochs == 7


def test_it_starts_from_the_full_and_from_the_spaces_own_points(learning: DevelopmentData) -> None:
    rate = {"training.learning_rate": 0.005, "loss.prediction": "mse"}
    file, _ = derived(learning, **rate)
    first, second = file.start_from
    assert first == rate
    assert second == {"training.learning_rate": 0.002, "loss.prediction": "mse"}


def test_what_lies_outside_the_space_is_no_start_point(learning: DevelopmentData) -> None:
    file, _ = derived(learning, **{"training.learning_rate": 0.5, "loss.prediction": "mae"})
    assert file.start_from == [{"training.learning_rate": 0.002, "loss.prediction": "mse"}]
    assert checked_space(file, "plain", tuple(learning.modalities))


def test_its_name_follows_from_what_it_asks(learning: DevelopmentData) -> None:
    one, other = (derived(learning, **{"model.hidden_size": size})[0] for size in (8, 9))
    again = derived(learning, **{"model.hidden_size": 8})[0]
    assert one.fingerprint == again.fingerprint != other.fingerprint


def test_promotion_takes_no_tuning_sweep_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_sweep(tmp_path, trials=1)
    control = control_name("small", "0123456789ab")
    finished_sweep(tmp_path, name=control, trials=1)
    assert Paths(tmp_path).sweeps()[-1] == control
    assert plan_promotion(PromotionRequest(), Paths(tmp_path)).sweep == "small"
    assert plan_promotion(PromotionRequest(sweep=control), Paths(tmp_path)).sweep == control
