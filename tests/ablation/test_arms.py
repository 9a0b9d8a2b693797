"""The arms of an ablation: what each changes, which are one training, what is held fixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmir.ablation.arm import FAMILIES, Arm, changed, distinct, effective
from cmir.ablation.arms import MOST_VIEWS, arms
from cmir.ablation.matched_baseline import trained_parameters, untuned_baseline
from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.errors import InputError
from cmir.method.networks.sized_network import network_for
from tests.support.made_data.learning_data import assert_identical, small_config, trained
from tests.support.small_sweep import write_data

PENALISED: dict[str, Any] = {
    "environments__partition": "speaker",
    "environments__groups": 3,
    "loss__penalty_weight": 2.0,
}


def noisy(**changes: Any) -> TrialConfig:
    settings = {"environments__view": "noise", "environments__count": 4, **changes}
    return small_config(seeds=(1000, 1001), **settings)


def by_name(rows: list[Arm]) -> dict[str, Arm]:
    named = {arm.name: arm for arm in rows}
    assert len(named) == len(rows)
    return named


def strongest(config: TrialConfig, modality: str = "text") -> float:
    """Noise of the last view, or probability that it is perturbed."""
    environments = config.environments
    rate = environments.rate_of(modality)
    if environments.view == "noise":
        return environments.noise_strength * environments.views * rate
    return rate


def test_all_arms_share_the_seeds_and_the_objective(learning: DevelopmentData) -> None:
    full = noisy(**PENALISED)
    rows = arms(full, learning)
    assert {arm.family for arm in rows} == {"full", *FAMILIES}
    assert {arm.config.seeds for arm in rows} == {full.seeds}
    assert {arm.config.objective for arm in rows} == {full.objective}
    assert {arm.config.training for arm in rows} == {full.training}


def test_each_row_has_its_name_once_and_equal_trainings_are_found(
    learning: DevelopmentData,
) -> None:
    rows = arms(noisy(**PENALISED), learning)
    named = by_name(rows)
    trainings = distinct(rows)
    assert len(trainings) < len(rows)
    full = named["full"].fingerprint
    same = {name for name, arm in named.items() if arm.fingerprint == full} - {"full"}
    assert same == {
        "K = 4, budget fixed",
        "K = 4, budget grows",
        "view noise",
        "partition speaker",
        "penalty vrex",
    }
    assert named["random partition"].fingerprint == named["partition random"].fingerprint


def test_a_constraint_is_removed_and_its_weight_is_zeroed(learning: DevelopmentData) -> None:
    full = noisy(loss__prediction_views="all", **PENALISED)
    named = by_name(arms(full, learning, families=["constraints"]))
    removed, zeroed = named["no views, no invariance"], named["invariance weight 0"]
    assert removed.config.environments.view == "none"
    assert zeroed.config.environments.view == "noise"
    assert zeroed.config.loss.invariance == 0
    assert zeroed.config.loss.prediction_views == "all"
    assert removed.config.environments.partition == "speaker"
    for term in ("mutual_information", "reconstruction"):
        name = term.replace("_", " ")
        assert named[f"no {name}"] == Arm(
            f"no {name}",
            "constraints",
            named[f"{name} weight 0"].config,
            "removed or weight 0: no gradient",
        )
        assert getattr(named[f"no {name}"].config.loss, term) == 0
    unpenalised = named["no partition, no penalty"]
    assert unpenalised.config.environments.partition == "none"
    assert unpenalised.fingerprint == named["penalty weight 0"].fingerprint


def test_without_prediction_over_views_both_forms_of_the_invariance_are_one(
    learning: DevelopmentData,
) -> None:
    named = by_name(arms(noisy(), learning, families=["constraints"]))
    zeroed = named["invariance weight 0"]
    assert named["no views, no invariance"].fingerprint == zeroed.fingerprint
    assert "no term looks at the views" in zeroed.note


def test_what_the_full_lacks_is_said(learning: DevelopmentData) -> None:
    rows = arms(small_config(seeds=(1,)), learning)
    named = by_name(rows)
    assert "has no views" in named["invariance weight 0"].note
    assert "has no penalty" in named["no partition, no penalty"].note
    control = named["random partition"]
    assert "the full configuration has no penalty: vrex, weight 1" in control.note
    assert control.config.environments.groups == 4
    assert (control.config.loss.penalty, control.config.loss.penalty_weight) == ("vrex", 1.0)
    assert not [arm for arm in rows if arm.family == "count"]


@pytest.mark.parametrize(
    "changes",
    [
        {"environments__view": "noise", "loss__invariance": 0.0},
        {"environments__partition": "speaker", "loss__penalty_weight": 0.0},
        {"environments__view": "swap", "environments__count": 2},
        {"loss__mutual_information": 0.0, "loss__normalise": "batch", "loss__off_diagonal": 0.3},
        {"loss__invariance": 0.7, "loss__prediction_views": "all"},
    ],
)
def test_the_effective_form_trains_alike_to_the_last_bit(
    learning: DevelopmentData, changes: dict[str, Any]
) -> None:
    config = small_config(**changes)
    short = effective(config, list(learning.modalities))
    assert short != config
    assert effective(short, list(learning.modalities)) == short
    found, wanted = trained(learning, short), trained(learning, config)
    assert_identical(found, wanted)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss__reconstruction": 0.0},
        {"loss__reconstruction": 0.0, "loss__mutual_information": 0.0},
        {"environments__view": "erase", "loss__invariance_form": "predictions"},
        {"loss__invariance_form": "predictions"},
    ],
)
def test_trained_parameters_are_those_that_an_epoch_without_decay_moves(
    learning: DevelopmentData, changes: dict[str, Any]
) -> None:
    still: dict[str, Any] = {
        "training__weight_decay": 0.0,
        "training__epochs": 1,
        "training__averaging": "none",
    }
    config = small_config(**still, **changes)
    layout = network_for(learning, config.model).layout
    moved = (trained(learning, config).weights[0] != layout.initial(0)[: layout.size])[None]
    parts = layout.unpack(moved)
    found = sum(part[0].numel() for part in parts.values() if part.any())
    form = config.loss.invariance_form == "predictions" and config.environments.views > 0
    size, hidden = config.model.representation_size, config.model.hidden_size
    beside = len(learning.modalities) * (size * hidden + hidden + hidden + 1) if form else 0
    assert trained_parameters(config, learning) == found + beside


@pytest.mark.parametrize("hidden", [16, 48, 100])
@pytest.mark.parametrize("weight", [0.01, 0.0])
def test_the_baseline_has_as_many_trained_parameters(
    learning: DevelopmentData, hidden: int, weight: float
) -> None:
    full = small_config(
        model__hidden_size=hidden, model__representation_size=32, loss__reconstruction=weight
    )
    plain, note = untuned_baseline(full, learning)
    wanted, found = trained_parameters(full, learning), trained_parameters(plain, learning)
    assert abs(found - wanted) <= 0.02 * wanted
    assert f"{found:,} trained parameters against {wanted:,}" in note
    assert plain.model.hidden_size > full.model.hidden_size
    for change in (-1, 1):
        other = changed(plain, {"model.hidden_size": plain.model.hidden_size + change})
        assert abs(trained_parameters(other, learning) - wanted) >= abs(found - wanted)


def test_the_baseline_has_no_constraint_left(learning: DevelopmentData) -> None:
    full = noisy(**PENALISED)
    tuned = changed(untuned_baseline(full, learning)[0], {"training.learning_rate": 0.5})
    _, first, second = arms(full, learning, tuned, "best of 3", families=["plain"])
    assert (first.name, second.name) == ("ERM, tuned", "ERM, untuned")
    assert first.note.startswith("best of 3; hidden ")
    assert first.config.training.learning_rate == 0.5
    for config in (first.config, second.config):
        loss, environments = config.loss, config.environments
        assert (loss.invariance, loss.mutual_information, loss.reconstruction) == (0.0, 0.0, 0.0)
        assert (environments.view, environments.partition) == ("none", "none")


@pytest.mark.parametrize("view", ["noise", "erase", "swap"])
def test_the_fixed_budget_is_fixed_and_the_other_grows(
    learning: DevelopmentData, view: str
) -> None:
    rates: dict[str, Any] = {"environments__rate__text": 0.3, "environments__rate__vision": 0.2}
    full = small_config(environments__view=view, environments__count=4, **rates)
    named = by_name(arms(full, learning, families=["count"]))
    for count in range(1, MOST_VIEWS + 1):
        fixed = named[f"K = {count}, budget fixed"].config
        grows = named[f"K = {count}, budget grows"].config
        assert fixed.environments.views == grows.environments.views == count
        for modality in learning.modalities:
            usual = strongest(full, modality)
            assert strongest(fixed, modality) == pytest.approx(usual)
            limit = np.inf if view == "noise" else 1.0
            grown = min(limit, usual * count / 4)
            assert strongest(grows, modality) == pytest.approx(grown)


def test_each_scheme_and_penalty_is_tried(learning: DevelopmentData) -> None:
    named = by_name(arms(noisy(**PENALISED), learning, families=["schemes", "penalties"]))
    assert [name for name in named if name.startswith("view ")] == [
        f"view {name}" for name in ("none", "noise", "erase", "swap")
    ]
    partitions = ("random", "kmeans", "label_kmeans", "speaker", "error", "eiil")
    assert [n for n in named if n.startswith("partition ")] == [
        f"partition {p}" for p in partitions
    ]
    assert named["partition error"].config.environments.groups is None
    assert named["view erase"].config.environments.strength is None
    dro = named["penalty group_dro"].config
    assert dro.loss.penalty_weight == 1.0
    assert named["penalty irm"].config.loss.penalty_weight == 2.0
    assert named["penalty irm"].config.environments.partition == "speaker"


def test_true_environments_are_a_scheme_where_they_are_known(tmp_path: Path) -> None:
    data = load_dataset(write_data(tmp_path / "data")).development()
    full = trial_config({"environments.partition": "oracle"})
    named = by_name(arms(full, data))
    assert named["partition oracle"].fingerprint == named["full"].fingerprint
    assert named["random partition"].config.environments.groups == 3
    # One video of each speaker: the same partition is not tried twice.
    assert "partition speaker" in named
    assert "partition video" not in named


def test_the_control_of_inferred_environments_has_two(learning: DevelopmentData) -> None:
    named = by_name(arms(small_config(environments__partition="eiil"), learning))
    assert named["random partition"].config.environments.groups == 2
    assert "partition oracle" not in named


def test_views_get_an_invariance_where_the_full_has_none(learning: DevelopmentData) -> None:
    full = small_config(loss__invariance=0.0)
    named = by_name(arms(full, learning, families=["schemes"]))
    assert named["view swap"].config.loss.invariance > 0
    assert "the full configuration has none" in named["view swap"].note


def test_an_unknown_family_is_refused(learning: DevelopmentData) -> None:
    with pytest.raises(InputError, match=r"'scheme' is no family.*Did you mean 'schemes'"):
        arms(small_config(), learning, families=["scheme"])
