"""The sampler of a sweep: TPE to the bit while there are few trials, TPE of a window beyond."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from cmir.space.sampling import (
    BEST,
    MOST_RANDOM,
    NEWEST,
    WINDOW,
    WindowedTPE,
    best_of,
    sampler_of,
    window,
)
from cmir.space.space_file import parse_sweep
from tests.support.small_sweep import SMALL

Direction = Literal["minimize", "maximize"]
RATE, VIEW = FloatDistribution(1e-4, 1.0, log=True), CategoricalDistribution(["none", "swap"])


def tpe(kind: type[TPESampler]) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return kind(seed=3, n_startup_trials=10, multivariate=True, group=True)


def suggest(trial: Trial) -> dict[str, Any]:
    params: dict[str, Any] = {"view": trial.suggest_categorical("view", ["none", "swap"])}
    if params["view"] == "swap":
        params["rate"] = trial.suggest_float("rate", 1e-4, 1.0, log=True)
    return params | {"size": trial.suggest_int("size", 1, 9)}


def course(sampler: TPESampler, direction: Direction, trials: int = 40) -> list[dict[str, Any]]:
    """Suggestions of a sweep with two trials at a time, of which some are pruned or diverge."""
    study = optuna.create_study(sampler=sampler, direction=direction)
    study.enqueue_trial({"view": "swap", "rate": 0.5, "size": 2})
    found, open_trials = [], [study.ask()]
    suggest(open_trials[0])
    for place in range(trials):
        open_trials.append(study.ask())
        found.append(suggest(open_trials[-1]))
        # Sometimes the later of the two ends first.
        ending = open_trials.pop(place % 3 == 1)
        if place % 5 == 1:
            ending.report(place / 10, 3 + place % 2)
        if place % 5 in (1, 2):
            study.tell(ending, state=TrialState.PRUNED)
        elif place % 11 == 7:
            study.tell(ending, state=TrialState.FAIL)
        else:
            study.tell(ending, abs(ending.params["size"] - 4) + ending.params.get("rate", 0.7))
    return found


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_with_few_trials_it_is_tpe_to_the_bit(direction: Direction) -> None:
    assert course(tpe(WindowedTPE), direction) == course(tpe(TPESampler), direction)


def ended(number: int, value: float, state: TrialState = TrialState.COMPLETE) -> FrozenTrial:
    params = {"view": "swap", "rate": 0.5} if number % 2 else {"view": "none"}
    distributions: dict[str, BaseDistribution] = {"view": VIEW}
    distributions |= {"rate": RATE} if number % 2 else {}
    complete = state == TrialState.COMPLETE
    return create_trial(
        state=state,
        value=value if complete or state == TrialState.PRUNED else None,
        params=params,
        distributions=distributions,
        intermediate_values={} if complete else {number % 7 + 1: value},
    )


def filled(values: Sequence[float], direction: Direction = "minimize") -> Study:
    study = optuna.create_study(sampler=tpe(WindowedTPE), direction=direction)
    study.add_trials([ended(number, value) for number, value in enumerate(values)])
    return study


def test_tpe_never_weighs_more_than_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=3 * WINDOW)
    study, weighed = filled(list(values)), []
    study.sampler = sampler_of(parse_sweep(SMALL | {"trials": 9 * WINDOW}, "s.yaml"), len(values))
    split = optuna.samplers._tpe.sampler._split_trials

    def count(given: Study, trials: list[FrozenTrial], below: int) -> Any:
        weighed.append(len(trials))
        return split(given, trials, below)

    monkeypatch.setattr(optuna.samplers._tpe.sampler, "_split_trials", count)
    for _ in range(3):
        suggest(study.ask())
    assert weighed
    assert MOST_RANDOM <= max(weighed) <= WINDOW + 2


def numbers_shown(study: Study) -> list[int]:
    trials = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    best = best_of(trials, study.directions)
    return [trial.number for trial in window({t.number: t for t in trials}, best)]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_window_has_the_best_trials_the_newest_and_an_even_sample(direction: Direction) -> None:
    values = np.random.default_rng(1).normal(size=4 * WINDOW)
    numbers = numbers_shown(filled(list(values), direction))
    best = np.argsort(values if direction == "minimize" else -values)[:BEST]
    assert set(best) <= set(numbers)
    assert numbers == sorted(set(numbers))
    older = len(values) - NEWEST
    assert set(range(older, len(values))) <= set(numbers)
    sample = [number for number in numbers if number < older and number not in best]
    assert max(np.diff([0, *sample, older - 1])) <= 3 * len(values) / NEWEST


def test_the_window_ranks_pruned_trials_as_tpe_does() -> None:
    rng = np.random.default_rng(2)
    study = optuna.create_study(sampler=tpe(WindowedTPE))
    for number in range(WINDOW + 200):
        state = TrialState.PRUNED if number % 40 else TrialState.COMPLETE
        study.add_trial(ended(number, float(rng.normal()), state))
    below, _ = optuna.samplers._tpe.sampler._split_trials(study, study.trials, BEST)
    assert {trial.number for trial in below} <= set(numbers_shown(study))


def test_the_same_history_gives_the_same_suggestion_however_it_was_seen() -> None:
    values = list(np.random.default_rng(3).normal(size=2 * WINDOW))
    seen, sampler = optuna.create_study(), tpe(WindowedTPE)
    for number, value in enumerate(values):
        seen.add_trial(ended(number, value))
        if number % 100 == 0:
            sampler.infer_relative_search_space(seen, seen.trials[-1])
    seen.sampler = sampler
    assert suggest(seen.ask()) == suggest(filled(values).ask())


def test_a_third_of_the_budget_is_random_but_no_more_than_so_many() -> None:
    def startup(trials: int) -> int:
        sampler = sampler_of(parse_sweep(SMALL | {"trials": trials}, "s.yaml"), 0)
        assert isinstance(sampler, WindowedTPE)
        return sampler._n_startup_trials

    assert [startup(trials) for trials in (6, 72, 10_000)] == [10, 24, MOST_RANDOM]


def test_a_random_sweep_has_a_random_sampler() -> None:
    file = parse_sweep(SMALL | {"sampler": "random"}, "s.yaml")
    assert isinstance(sampler_of(file, 0), RandomSampler)


def ended_pair(number: int, values: Sequence[float]) -> FrozenTrial:
    one = ended(number, 0.0)
    one.values = list(values)
    return one


def course_of_pair(sampler: TPESampler, trials: int = 40) -> list[dict[str, Any]]:
    """Suggestions of a sweep with two objectives, of which some trials are pruned."""
    study = optuna.create_study(sampler=sampler, directions=["minimize", "maximize"])
    found = []
    for place in range(trials):
        trial = study.ask()
        found.append(suggest(trial))
        if place % 3 == 1:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            rate = trial.params.get("rate", 0.7)
            study.tell(trial, [abs(trial.params["size"] - 4) + rate, rate])
    return found


def test_with_few_trials_of_two_objectives_it_is_multi_objective_tpe_to_the_bit() -> None:
    assert course_of_pair(tpe(WindowedTPE)) == course_of_pair(tpe(TPESampler))


def test_the_window_of_two_objectives_has_their_front() -> None:
    values = np.random.default_rng(4).normal(size=(2 * WINDOW, 2))
    study = optuna.create_study(sampler=tpe(WindowedTPE), directions=["minimize", "maximize"])
    for number, pair in enumerate(values):
        study.add_trial(ended_pair(number, pair))
    assert {trial.number for trial in study.best_trials} <= set(numbers_shown(study))
    assert suggest(study.ask())
