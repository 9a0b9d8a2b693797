"""The ERM baseline as an opponent, and the paper's scheme beside the winner."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cmir.method.baseline_recipes import FACTORS, erm, is_erm, with_rate
from cmir.promotion.baselines import baseline_training, known_baseline, noise_training
from cmir.promotion.candidate import Candidate
from cmir.promotion.promotion_plan import PromotionPlan, PromotionRequest, plan_promotion
from cmir.promotion.trainings import LocalTrainings
from cmir.runner.paths import Paths, control_name
from tests.support.made_data.learning_data import small_config
from tests.support.small_promotion import finished_sweep

VIEWS = {"environments.view": ["none"], "training.learning_rate": [0.003, 0.004, 0.005]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sweeps: `small`, whose views are drawn, and `bare`, which has none."""
    folder = tmp_path_factory.mktemp("contenders")
    swap = {"environments.view": ["swap", "noise"], "training.learning_rate": [0.003, 0.004]}
    finished_sweep(folder, "small", search=swap, start_from=[], epochs=1)
    finished_sweep(folder, "bare", search=VIEWS, start_from=[], epochs=1)
    return folder


def planned(folder: Path, sweep: str) -> PromotionPlan:
    return plan_promotion(PromotionRequest(sweep=sweep, seeds=2), Paths(folder))


def test_the_baseline_keeps_sizes_and_optimiser_and_nothing_else() -> None:
    full = small_config(
        environments__view="swap",
        environments__rate__vision=0.9,
        environments__partition="speaker",
        loss__prediction_views="all",
        loss__penalty="irm",
        loss__prediction="mae",
    )
    bare = erm(full)
    assert is_erm(bare)
    assert not is_erm(full)
    assert bare.model == full.model
    assert bare.training == full.training
    assert bare.loss.prediction == "mae"
    assert (bare.seeds, bare.objective) == (full.seeds, full.objective)


@pytest.mark.parametrize(
    ("changes", "plainly"),
    [
        ({"environments__view": "noise", "loss__invariance": 0.0}, True),
        ({"environments__view": "noise", "loss__invariance": 0.1}, False),
        ({"environments__partition": "speaker", "loss__penalty_weight": 0.0}, True),
        ({"environments__partition": "speaker"}, False),
        ({"loss__reconstruction": 0.1}, False),
        ({"loss__label_leak": 0.1}, False),
    ],
)
def test_a_scheme_that_changes_nothing_is_baseline_training(
    changes: dict[str, Any], plainly: bool
) -> None:
    nothing: dict[str, Any] = {"loss__mutual_information": 0.0, "loss__reconstruction": 0.0}
    assert is_erm(small_config(**(nothing | changes))) is plainly


def test_without_a_plain_trial_the_winners_sizes_are_tuned(folder: Path) -> None:
    plan = planned(folder, "small")
    winner = Candidate(plan.ranked[0], None)
    found = baseline_training(plan, winner, LocalTrainings(plan.data))
    assert found is not None
    assert found.ensemble.card.seeds == plan.seeds
    rate = plan.ranked[0].config.training.learning_rate
    assert found.origin in {
        f"trial {plan.ranked[0].number}'s sizes, learning rate {factor * rate:.2g}"
        for factor in FACTORS
    }


def test_the_best_trial_without_a_scheme_is_taken_and_not_trained_twice(folder: Path) -> None:
    plan = planned(folder, "bare")
    trainings = LocalTrainings(plan.data)
    before = trainings.train(known_baseline(plan))
    found = baseline_training(plan, Candidate(plan.ranked[0], None), trainings)
    assert found is not None
    assert found.origin == f"trial {plan.ranked[0].number} of bare, constraints at zero"
    assert list(before) == [found.origin]
    assert len(trainings.known) == 1


def test_trials_that_tuned_the_baseline_for_an_ablation_come_first(folder: Path) -> None:
    name = control_name("small", "abcdef0123")
    finished_sweep(folder, name, search=VIEWS, start_from=[], trials=1, epochs=1)
    other = folder / "data" / name
    try:
        # The control has data of its own name but the same content, and so the same checksum.
        assert planned(folder, name).data.checksum == planned(folder, "small").data.checksum
        plan = planned(folder, "small")
        assert [record.number for record in plan.tuned_baseline] == [0]
        winner = Candidate(plan.ranked[0], None)
        found = baseline_training(plan, winner, LocalTrainings(plan.data))
        assert found is not None
        assert found.origin == "trial 0 of the tuning of the ERM baseline"
        assert planned(folder, "bare").tuned_baseline == []
    finally:
        Paths(folder).journal(name).unlink()
        shutil.rmtree(other)


def test_a_baseline_that_diverges_is_no_opponent(folder: Path) -> None:
    plan = planned(folder, "bare")
    record = plan.ranked[0]
    wild_rates = {"learning_rate": 1e30, "gradient_clip": 1e30}
    training = record.config.training.model_copy(update=wild_rates)
    config = record.config.model_copy(update={"training": training})
    wild = replace(plan, ranked=[replace(record, config=config)])
    assert baseline_training(wild, Candidate(record, None), LocalTrainings(plan.data)) is None


def test_the_noise_scheme_is_shown_where_the_sweep_has_it(folder: Path) -> None:
    bare = planned(folder, "bare")
    assert noise_training(bare, LocalTrainings(bare.data)) is None
    plan = planned(folder, "small")
    has_noise = any(record.scheme == "noise" for record in plan.ranked)
    found = noise_training(plan, LocalTrainings(plan.data))
    assert (found is not None) is has_noise


def test_another_learning_rate_is_another_configuration() -> None:
    config = small_config()
    assert with_rate(config, 0.5).training.learning_rate == 0.5
    assert with_rate(config, 0.5).fingerprint != config.fingerprint
