"""A search space as the source of a study's trials: start points first, then what is sampled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.trial import Trial

from cmir.config import TrialConfig
from cmir.space.sampling import sampler_of
from cmir.space.search_space import Assignment, SearchSpace
from cmir.space.space_file import Choice, DataSection, Range, SweepFile, Value

DEFAULT_QUESTION = SweepFile(name="x", data=DataSection(path="")).question


class SpaceSource:
    """What a sweep trains: configurations that its sampler draws from its search space."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self.where, self.objectives = space.where, space.file.objectives

    @property
    def question(self) -> Mapping[str, Any]:
        """What may not change while a sweep is continued."""
        return self._space.file.question

    @property
    def defaults(self) -> Mapping[str, Any]:
        """What a question is taken to have said of keys that are younger than it."""
        return DEFAULT_QUESTION

    @property
    def total(self) -> int:
        """The budget of the sweep."""
        return self._space.file.trials

    def missing(self, study: optuna.Study, counted: int) -> int:
        """What is left of the budget."""
        return max(0, self.total - counted)

    def begin(self, study: optuna.Study) -> None:
        """Asks for the start points first."""
        for start in self._space.file.start_from:
            full = self._space.complete(start)
            values = {key: self._stored(key, value) for key, value in full.items()}
            study.enqueue_trial(values, skip_if_exists=True)

    def resume(self, study: optuna.Study) -> None:
        """Nothing is asked for beyond what the sampler makes."""

    def sampler(self, drawn: int) -> BaseSampler:
        """The sampler of a study that has so many trials, ended or begun."""
        return sampler_of(self._space.file, drawn)

    def wants(self, trial: Trial) -> bool:
        """Every trial of the sweep is wanted."""
        return True

    def config(self, trial: Trial) -> TrialConfig:
        """What a trial shall train.

        Raises:
            InputError: the space allows a contradiction that no two of its ends show.
        """
        values: Assignment = {}
        for key, form in self._space.dimensions.items():
            if self._space.is_active(key, values):
                values[key] = self._suggested(trial, key, form)
        return self._space.trial(values, f"trial {trial.number}")

    def _suggested(self, trial: Trial, key: str, form: Choice | Range) -> Value:
        if isinstance(form, Choice):
            shown = [_shown(value) for value in form.choices]
            return form.choices[shown.index(trial.suggest_categorical(key, shown))]
        if self._space.is_integer(key):
            low, high, step = int(form.low), int(form.high), int(form.step or 1)
            return trial.suggest_int(key, low, high, step=step, log=form.log)
        return trial.suggest_float(key, form.low, form.high, step=form.step, log=form.log)

    def _stored(self, key: str, value: Value) -> Any:
        return _shown(value) if isinstance(self._space.dimensions[key], Choice) else value


def _shown(value: Value) -> Any:
    """A choice as Optuna stores it: lists have no place there and become text."""
    return json.dumps(value) if isinstance(value, list) else value
