"""An ended trial as attributes of an Optuna trial: configuration, outcome, scores, curves."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from optuna.trial import FrozenTrial

from cmir.runner.studies.records import Ending, TrialRecord, config_of

CONFIG, ENDING, RETRY_OF, JOB, LABEL = "config", "ending", "retry_of", "job", "label"
# Of an ending these are large, and hardly anything reads them again.
LARGE = ("curve", "by_seed")


class StoredTable(Mapping[str, Sequence[float]]):
    """A curve, or values by seed, that stays text until it is read.

    The study's storage holds the text anyway; as numbers it takes three times the memory.

    Example:
        >>> table = StoredTable('{"curve": {"train/mae": [0.9, 0.7]}}', "curve")
        >>> table["train/mae"], len(table)
        ([0.9, 0.7], 1)
    """

    def __init__(self, ending: str, field: str) -> None:
        self._ending, self._field = ending, field

    def __getitem__(self, name: str) -> Sequence[float]:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> Mapping[str, Sequence[float]]:
        table: Mapping[str, Sequence[float]] = _parsed(self._ending).get(self._field, {})
        return table


def ending_text(ending: Ending) -> str:
    """An ending as the study keeps it."""
    return json.dumps(ending.as_json())


def is_ended(trial: FrozenTrial) -> bool:
    """Whether the study has been told how a trial ended."""
    return ENDING in trial.user_attrs and trial.state.is_finished()


def record_of(trial: FrozenTrial) -> TrialRecord:
    """The record of an ended trial."""
    text = trial.user_attrs[ENDING]
    values = json.loads(text)
    values |= {field: StoredTable(text, field) for field in LARGE}
    values["metrics"] = {sys.intern(key): value for key, value in values["metrics"].items()}
    asked = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    ending = Ending(**values)
    # A trial that was interrupted was asked for long before it began for the last time.
    started = ending.began or asked
    ended = trial.datetime_complete.timestamp() if trial.datetime_complete else started
    return TrialRecord(
        number=trial.number,
        params=dict(trial.params),
        config=config_of(trial.user_attrs[CONFIG], f"trial {trial.number}"),
        ending=ending,
        retry_of=trial.user_attrs.get(RETRY_OF),
        started=started,
        ended=ended,
        label=str(trial.user_attrs.get(LABEL, "")),
        job=str(trial.user_attrs.get(JOB, "")),
    )


@lru_cache(maxsize=2)
def _parsed(ending: str) -> Any:
    return json.loads(ending)
