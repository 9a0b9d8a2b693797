"""The Optuna study that is the single record of a sweep; asked and told here and nowhere else.

A trial costs the storage three writes, whatever its number of epochs: its parameters, its ending
and its state. Trials that were in flight when a sweep was killed stay RUNNING in the storage and
are handed out again, with the same number and parameters, before new ones.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import optuna
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState

from cmir.config import TrialConfig
from cmir.errors import InputError
from cmir.metrics.metric_directions import direction
from cmir.runner.studies.records import Ending, TrialRecord, scheme_of
from cmir.runner.studies.trial_serialisation import (
    CONFIG,
    ENDING,
    JOB,
    LABEL,
    RETRY_OF,
    ending_text,
    is_ended,
    record_of,
)

QUESTION, CREATED, PARENT = "question", "created", "mlflow_parent_run"
# Of every tracking store that has logged the study, and what names it there.
PARENTS, KEY = "mlflow_parent_runs", "key"
# Of a trial that is tried once more, what stays.
GIVEN = (CONFIG, JOB, LABEL)


class JobSource(Protocol):
    """Where the configurations of a study come from: a sampler over a space, or a list."""

    @property
    def where(self) -> str:
        """What the message of an error starts with."""

    @property
    def objectives(self) -> tuple[str, ...]:
        """`split/metric` of each value that the study is told; the first ranks and prunes."""

    @property
    def question(self) -> Mapping[str, Any]:
        """What may not change while the study is continued."""

    @property
    def defaults(self) -> Mapping[str, Any]:
        """What a question is taken to have said of keys that are younger than it."""

    @property
    def total(self) -> int:
        """Number of trials that shall have ended."""

    def missing(self, study: optuna.Study, counted: int) -> int:
        """Number of trials that have not, of a study of which so many count."""

    def begin(self, study: optuna.Study) -> None:
        """Asks for what comes first, when the study is new."""

    def resume(self, study: optuna.Study) -> None:
        """Asks for what is missing, whenever the study is opened."""

    def sampler(self, drawn: int) -> BaseSampler:
        """The sampler of a study that has so many trials, ended or begun."""

    def wants(self, trial: Trial) -> bool:
        """Whether a trial that an earlier start of the command has left shall be trained."""

    def config(self, trial: Trial) -> TrialConfig:
        """What a trial shall train; raises InputError where that is a contradiction."""


@dataclass(frozen=True)
class AskedTrial:
    """A trial to run: its number in the study, the whole configuration, and what it is called.

    `retry_of` is the number of the failed trial that it repeats.
    """

    number: int
    config: TrialConfig
    label: str = ""
    retry_of: int | None = None

    @property
    def name(self) -> str:
        """What it is called: the label that it was given, else its scheme."""
        return self.label or scheme_of(self.config)


class TrialStudy:
    """The study of a sweep or of a list of jobs, of which one driver at a time may ask and tell."""

    def __init__(
        self, study: optuna.Study, source: JobSource, check_alone: Callable[[], None]
    ) -> None:
        self._study, self._source, self._check_alone = study, source, check_alone
        self._open = self._in_flight()
        self._interrupted = list(self._open)
        self._records = {record.number: record for record in _records(study)}
        self._counted = sum(counts(record) for record in self._records.values())

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self._study.study_name

    @property
    def sign(self) -> float:
        """1 where a larger first objective is better, else -1."""
        return 1.0 if self._study.directions[0] == StudyDirection.MAXIMIZE else -1.0

    @property
    def key(self) -> str:
        """What no other study is known by, of the same name neither; empty for an older study."""
        return str(self._study.user_attrs.get(KEY, ""))

    @property
    def parent_runs(self) -> list[str]:
        """Its runs in the tracking stores that have logged it, the latest first."""
        kept = self._study.user_attrs
        known = [*kept.get(PARENTS, ()), *([kept[PARENT]] if PARENT in kept else [])]
        return list(dict.fromkeys(reversed(known)))

    def remember_parent_run(self, run_id: str) -> None:
        """Keeps the tracking run's id, so that continuing a sweep continues its run."""
        if self.parent_runs[:1] == [run_id]:
            return
        others = [one for one in reversed(self.parent_runs) if one != run_id]
        self._study.set_user_attr(PARENTS, [*others, run_id])
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
    def unended(self) -> set[int]:
        """Numbers of the trials that have begun and not ended."""
        return set(self._open)

    def ask(self) -> AskedTrial:
        """The next trial: first what was interrupted, then start points and retries, then TPE.

        Raises:
            InputError: the space allows a contradiction that no two of its ends show. The trial
                is dropped, so that it does not stop the sweep again when that is continued.
                Or another driver has the study.
        """
        self._check_alone()
        trial = self._next()
        while not self._source.wants(trial):
            self._drop(trial)
            trial = self._next()
        try:
            config = self._source.config(trial)
        except InputError:
            self._drop(trial)
            raise
        if CONFIG not in trial.user_attrs:
            trial.set_user_attr(CONFIG, config.flat())
        label = str(trial.user_attrs.get(LABEL, ""))
        return AskedTrial(trial.number, config, label, trial.user_attrs.get(RETRY_OF))

    def hand_back(self, number: int) -> None:
        """Takes back a trial that shall be asked for again, under its number, before new ones."""
        self._interrupted.append(number)

    def _next(self) -> Trial:
        if self._interrupted:
            return self._open[self._interrupted.pop(0)]
        trial = self._study.ask()
        self._open[trial.number] = trial
        return trial

    def _drop(self, trial: Trial) -> None:
        self._study.tell(self._open.pop(trial.number), state=TrialState.FAIL)

    def tell(self, number: int, ending: Ending) -> TrialRecord:
        """Ends a trial. A first failure is tried once more, as a trial of its own, unless final.

        Finished is COMPLETE with its values. Pruned is PRUNED with its last value, diverged is
        PRUNED without one, which TPE ranks behind all others; failed is FAIL. With two objectives
        a pruned trial has no second value, and Optuna takes no single one: it is told none, so
        that it ranks behind all that finished, and its record keeps the first.

        Raises:
            InputError: another driver has the study.
        """
        self._check_alone()
        trial = self._open[number]
        trial.set_user_attr(ENDING, ending_text(ending))
        if ending.outcome == "pruned" and len(self._source.objectives) == 1:
            trial.report(_value(ending), max(len(curve) for curve in ending.curve.values()))
        if ending.outcome == "finished":
            told = self._study.tell(trial, self._values(ending))
        else:
            failed = ending.outcome == "failed"
            told = self._study.tell(trial, state=TrialState.FAIL if failed else TrialState.PRUNED)
        del self._open[number]
        is_final = ending.is_final or RETRY_OF in told.user_attrs
        if ending.outcome == "failed" and not is_final:
            kept = {key: told.user_attrs[key] for key in GIVEN if key in told.user_attrs}
            self._study.enqueue_trial(told.params, user_attrs={**kept, RETRY_OF: number})
        record = self._records[number] = record_of(told)
        self._counted += counts(record)
        return record

    def _values(self, ending: Ending) -> list[float]:
        """Of each objective, the first as the training knows it."""
        others = [ending.metrics[name] for name in self._source.objectives[1:]]
        return [_value(ending), *others]

    def records(self) -> list[TrialRecord]:
        """All ended trials, in order. A failed trial that is retried is among them."""
        return [self._records[number] for number in sorted(self._records)]

    @property
    def counted(self) -> int:
        """Trials that count against the budget: all ended ones but a failure to be retried."""
        return self._counted

    @property
    def total(self) -> int:
        """Number of trials that shall have ended."""
        return self._source.total

    @property
    def missing(self) -> int:
        """Number of them that have not."""
        return self._source.missing(self._study, self._counted)

    def _in_flight(self) -> dict[int, Trial]:
        running = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return {frozen.number: Trial(self._study, frozen._trial_id) for frozen in running}


def counts(record: TrialRecord) -> bool:
    """Whether a record counts against the budget: all but a failure that is tried once more."""
    is_final = record.retry_of is not None or record.ending.is_final
    return record.outcome != "failed" or is_final


def open_study(
    storage: BaseStorage,
    name: str,
    source: JobSource,
    facts: Mapping[str, Any],
    check_alone: Callable[[], None] = lambda: None,
) -> TrialStudy:
    """Opens a study, or begins it with what its source asks for first.

    Args:
        storage: where it is or shall be.
        name: of the sweep, or of the list of jobs.
        source: whose question must be the one that the study was begun with.
        facts: what else is kept with the study, such as the data's folder; `data_checksum` is
            required and, where the source has a question, must be the one that the study was begun
            with, as the question must.
        check_alone: raises InputError where another driver has taken the study since.

    Raises:
        InputError: the study was begun with another question or other data.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    question = dict(source.question)
    if question:
        question["data_checksum"] = facts["data_checksum"]
    study = _found_or_made(storage, name, source.objectives)
    kept = study.user_attrs
    # Before anything is written: a study that is refused stays as it was.
    if QUESTION in kept:
        _check_question(kept[QUESTION], question, name, source)
    else:
        source.begin(study)
        study.set_user_attr(CREATED, time.strftime("%Y-%m-%dT%H:%M:%S%z"))
        study.set_user_attr(KEY, uuid.uuid4().hex)
        study.set_user_attr(QUESTION, question)
    for key, value in facts.items():
        if key not in kept or kept[key] != value:
            study.set_user_attr(key, value)
    source.resume(study)
    # A killed sweep has drawn for its trials in flight too: to begin with what ended would repeat.
    drawn = [t for t in study.get_trials(deepcopy=False) if t.state != TrialState.WAITING]
    study.sampler = source.sampler(len(drawn))
    return TrialStudy(study, source, check_alone)


def _found_or_made(storage: BaseStorage, name: str, objectives: Sequence[str]) -> optuna.Study:
    if name in optuna.get_all_study_names(storage):
        return optuna.load_study(study_name=name, storage=storage)
    directions = [_direction(objective) for objective in objectives]
    return optuna.create_study(storage=storage, study_name=name, directions=directions)


def records_of(storage: BaseStorage, name: str) -> list[TrialRecord]:
    """All ended trials of a sweep, without opening it for writing."""
    return _records(optuna.load_study(study_name=name, storage=storage))


def _records(study: optuna.Study) -> list[TrialRecord]:
    return [record_of(trial) for trial in study.get_trials(deepcopy=False) if is_ended(trial)]


def study_attributes(storage: BaseStorage, name: str) -> dict[str, Any]:
    """What the study was begun with: question, time of creation, tracking run."""
    return dict(optuna.load_study(study_name=name, storage=storage).user_attrs)


def _check_question(
    begun: Mapping[str, Any], now: Mapping[str, Any], name: str, source: JobSource
) -> None:
    then = _filled(begun, source.defaults)
    changed = sorted(key for key in now if now[key] != then.get(key))
    if changed:
        raise InputError(
            f"{source.where}: the sweep '{name}' was started with a different "
            f"{', '.join(changed)}; trials of both cannot be compared. Give --fresh to start a new "
            "sweep, or undo the change."
        )


def _filled(begun: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked, with the defaults of keys that are younger than the sweep."""
    filled = {**defaults, **begun}
    for key, value in defaults.items():
        if isinstance(value, Mapping):
            filled[key] = _filled(filled[key], value)
    return filled


def _direction(objective: str) -> StudyDirection:
    is_max = direction(objective.partition("/")[2]) == "max"
    return StudyDirection.MAXIMIZE if is_max else StudyDirection.MINIMIZE


def _value(ending: Ending) -> float:
    assert ending.objective is not None
    return ending.objective
