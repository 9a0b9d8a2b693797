"""The single record of a sweep: an Optuna study, asked and told here and nowhere else.

A trial costs the storage three writes, whatever its number of epochs: its parameters, its ending
and its state. Trials that were in flight when a sweep was killed stay RUNNING in the storage and
are handed out again, with the same number and parameters, before new ones.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState

from cmir.config import TrialConfig
from cmir.errors import InputError
from cmir.metrics.metric_directions import direction
from cmir.runner.records import Ending, TrialRecord
from cmir.runner.trial_serialisation import (
    CONFIG,
    ENDING,
    RETRY_OF,
    ending_text,
    is_ended,
    record_of,
)
from cmir.space.sampling import sampler_of
from cmir.space.search_space import Assignment, SearchSpace
from cmir.space.space_file import Choice, DataSection, Range, SweepFile, Value

QUESTION, CREATED, PARENT = "question", "created", "mlflow_parent_run"
DEFAULT_QUESTION = SweepFile(name="x", data=DataSection(path="")).question


@dataclass(frozen=True)
class AskedTrial:
    """A trial to run: its number in the study, what was suggested, the whole configuration.

    `is_retry` says that it repeats one that failed.
    """

    number: int
    params: Assignment
    config: TrialConfig
    is_retry: bool = False


class SweepStudy:
    """The study of one sweep. Not for several drivers at once: see `SweepLock`."""

    def __init__(self, study: optuna.Study, space: SearchSpace) -> None:
        self._study, self._space = study, space
        self._open = self._in_flight()
        self._interrupted = list(self._open)
        self._records = {record.number: record for record in _records(study)}
        self._counted = sum(counts(record) for record in self._records.values())
        self._queued = len(study.get_trials(deepcopy=False, states=(TrialState.WAITING,)))

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self._study.study_name

    @property
    def sign(self) -> float:
        """1 where a larger objective is better, else -1."""
        return 1.0 if self._study.direction == StudyDirection.MAXIMIZE else -1.0

    @property
    def parent_run(self) -> str | None:
        """The tracking run of the sweep, once it is known."""
        value = self._study.user_attrs.get(PARENT)
        return None if value is None else str(value)

    def remember_parent_run(self, run_id: str) -> None:
        """Keeps the tracking run's id, so that continuing a sweep continues its run."""
        self._study.set_user_attr(PARENT, run_id)

    @property
    def in_flight(self) -> int:
        """Number of trials asked for and not told."""
        return len(self._open) - len(self._interrupted)

    @property
    def interrupted(self) -> int:
        """Number of trials that an earlier run of the command left in flight."""
        return len(self._interrupted)

    @property
    def queued(self) -> int:
        """Number of trials whose configuration is known: interrupted ones, start points, retries.

        They are asked before new ones.
        """
        return len(self._interrupted) + self._queued

    def ask(self, like: AskedTrial | None = None) -> AskedTrial:
        """The next trial: first what was interrupted, then start points and retries, then TPE.

        Args:
            like: a trial with which one that the sampler makes shall be able to share a stack.

        Raises:
            InputError: the space allows a contradiction that no two of its ends show. The trial
                is dropped, so that it does not stop the sweep again when that is continued.
        """
        given = {} if like is None else like.params
        with self._fixing({key: given[key] for key in self._space.shaping if key in given}):
            return self._ask()

    def _ask(self) -> AskedTrial:
        if self._interrupted:
            trial = self._open[self._interrupted.pop(0)]
        else:
            trial = self._study.ask()
            self._open[trial.number] = trial
            self._queued = max(0, self._queued - 1)
        params = self._suggest(trial)
        try:
            config = self._space.trial(params, f"trial {trial.number}")
        except InputError:
            self._study.tell(self._open.pop(trial.number), state=TrialState.FAIL)
            raise
        if CONFIG not in trial.user_attrs:
            trial.set_user_attr(CONFIG, config.flat())
        return AskedTrial(trial.number, params, config, RETRY_OF in trial.user_attrs)

    @contextmanager
    def _fixing(self, given: Mapping[str, Value]) -> Iterator[None]:
        """Lets the sampler suggest the rest, as it would if these dimensions did not exist."""
        sampler = self._study.sampler
        if given:
            stored = {key: _stored(self._space, key, value) for key, value in given.items()}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self._study.sampler = optuna.samplers.PartialFixedSampler(stored, sampler)
        try:
            yield
        finally:
            self._study.sampler = sampler

    def tell(self, number: int, ending: Ending) -> TrialRecord:
        """Ends a trial. A first failure is tried once more, as a trial of its own.

        Finished is COMPLETE with its value. Pruned is PRUNED with its last value, diverged is
        PRUNED without one, which TPE ranks behind all others; failed is FAIL.
        """
        trial = self._open[number]
        trial.set_user_attr(ENDING, ending_text(ending))
        if ending.outcome == "pruned":
            trial.report(_value(ending), max(len(curve) for curve in ending.curve.values()))
        if ending.outcome == "finished":
            told = self._study.tell(trial, _value(ending))
        else:
            failed = ending.outcome == "failed"
            told = self._study.tell(trial, state=TrialState.FAIL if failed else TrialState.PRUNED)
        del self._open[number]
        if ending.outcome == "failed" and RETRY_OF not in told.user_attrs:
            self._study.enqueue_trial(told.params, user_attrs={RETRY_OF: number})
            self._queued += 1
        record = self._records[number] = record_of(told)
        self._counted += counts(record)
        return record

    def records(self) -> list[TrialRecord]:
        """All ended trials, in order. A failed trial that is retried is among them."""
        return [self._records[number] for number in sorted(self._records)]

    @property
    def counted(self) -> int:
        """Trials that count against the budget: all ended ones but a failure to be retried."""
        return self._counted

    def _in_flight(self) -> dict[int, Trial]:
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {frozen.number: Trial(self._study, frozen._trial_id) for frozen in running}

    def _suggest(self, trial: Trial) -> Assignment:
        values: Assignment = {}
        for key, form in self._space.dimensions.items():
            if self._space.is_active(key, values):
                values[key] = self._suggest_one(trial, key, form)
        return values

    def _suggest_one(self, trial: Trial, key: str, form: Choice | Range) -> Value:
        if isinstance(form, Choice):
            place = trial.suggest_categorical(key, [_shown(value) for value in form.choices])
            return form.choices[[_shown(value) for value in form.choices].index(place)]
        if self._space.is_integer(key):
            low, high, step = int(form.low), int(form.high), int(form.step or 1)
            return trial.suggest_int(key, low, high, step=step, log=form.log)
        return trial.suggest_float(key, form.low, form.high, step=form.step, log=form.log)


def counts(record: TrialRecord) -> bool:
    """Whether a record counts against the budget: all but a failure that is tried once more."""
    return record.outcome != "failed" or record.retry_of is not None


def open_study(
    storage: BaseStorage, name: str, space: SearchSpace, facts: Mapping[str, Any]
) -> SweepStudy:
    """Opens a sweep's study, or begins it with the start points of the space.

    Args:
        storage: where it is or shall be.
        name: of the sweep.
        space: whose question must be the one that the study was begun with.
        facts: what else is kept with the study, such as the data's folder; `data_checksum` is
            required and, like the space's question, must be the one the study was begun with.

    Raises:
        InputError: the study was begun with another space or other data.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    is_new = name not in optuna.get_all_study_names(storage)
    maximise = _maximises(space.file.objective)
    study = optuna.create_study(
        storage=storage,
        study_name=name,
        direction="maximize" if maximise else "minimize",
        load_if_exists=True,
    )
    question = {**space.file.question, "data_checksum": facts["data_checksum"]}
    if is_new or QUESTION not in study.user_attrs:
        _begin(study, space, question)
    _check_question(study.user_attrs[QUESTION], question, name, space.where)
    for key, value in facts.items():
        study.set_user_attr(key, value)
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    study.sampler = sampler_of(space.file, len(ended))
    return SweepStudy(study, space)


def records_of(storage: BaseStorage, name: str) -> list[TrialRecord]:
    """All ended trials of a sweep, without opening it for writing."""
    return _records(optuna.load_study(study_name=name, storage=storage))


def _records(study: optuna.Study) -> list[TrialRecord]:
    return [record_of(trial) for trial in study.get_trials(deepcopy=False) if is_ended(trial)]


def study_attributes(storage: BaseStorage, name: str) -> dict[str, Any]:
    """What the study was begun with: question, time of creation, tracking run."""
    return dict(optuna.load_study(study_name=name, storage=storage).user_attrs)


def _begin(study: optuna.Study, space: SearchSpace, question: Mapping[str, Any]) -> None:
    for start in space.file.start_from:
        values = {key: _stored(space, key, value) for key, value in space.complete(start).items()}
        study.enqueue_trial(values, skip_if_exists=True)
    study.set_user_attr(CREATED, time.strftime("%Y-%m-%dT%H:%M:%S%z"))
    study.set_user_attr(QUESTION, dict(question))


def _stored(space: SearchSpace, key: str, value: Value) -> Any:
    return _shown(value) if isinstance(space.dimensions[key], Choice) else value


def _shown(value: Value) -> Any:
    """A choice as Optuna stores it: lists have no place there and become text."""
    return json.dumps(value) if isinstance(value, list) else value


def _check_question(
    begun: Mapping[str, Any], now: Mapping[str, Any], name: str, where: str
) -> None:
    then = _filled(begun, DEFAULT_QUESTION)
    changed = sorted(key for key in now if now[key] != then.get(key))
    if changed:
        raise InputError(
            f"{where}: the sweep '{name}' was begun with another {', '.join(changed)}; trials of "
            f"both cannot be compared. Give --fresh to begin a new sweep, or undo the change."
        )


def _filled(begun: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked, with the defaults of keys that are younger than the sweep."""
    filled = {**defaults, **begun}
    for key, value in defaults.items():
        if isinstance(value, Mapping):
            filled[key] = _filled(filled[key], value)
    return filled


def _maximises(objective: str) -> bool:
    return direction(objective.partition("/")[2]) == "max"


def _value(ending: Ending) -> float:
    assert ending.objective is not None
    return ending.objective
