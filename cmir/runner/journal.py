"""The journal of a sweep that this process alone writes: few writes, each of them kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import TrialState

from cmir.runner.trial_serialisation import ENDING

WAITING = (
    JournalOperation.SET_TRIAL_PARAM,
    JournalOperation.SET_TRIAL_SYSTEM_ATTR,
    JournalOperation.SET_TRIAL_INTERMEDIATE_VALUE,
)


class OwnJournal(BaseJournalBackend):
    """A journal file whose entries wait for the one that they belong to.

    Optuna writes each suggested value by itself, locks the file and waits for the disk. Here what
    a trial was given waits for its configuration, with which it is kept before the trial is handed
    out, and its ending for its state: two waits for the disk a trial in place of two dozen. What
    waits when the process ends belongs to a trial that nobody was given, or that runs again.
    Entries are not read back from the file, so this is for the only writer, the holder of the
    sweep's lock; anyone may read.
    """

    def __init__(self, path: Path) -> None:
        self._file = JournalFileBackend(str(path))
        self._waiting: list[dict[str, Any]] = []
        self._unread: list[dict[str, Any]] = []
        self._known, self._is_read = 0, False

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Entries from a number on: the file's at first, then those that were appended."""
        skipped = log_number_from - (self._known - len(self._unread))
        if not self._is_read or skipped < 0:
            return self._read_file(log_number_from)
        found, self._unread = self._unread[skipped:], []
        return found

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Takes entries; writes all that wait, unless more must follow before any is of use."""
        self._waiting += logs
        # As a reader of the file would get them.
        self._unread += [json.loads(json.dumps(log)) for log in logs]
        self._known += len(logs)
        if not all(map(_waits, logs)):
            self._keep()

    def _read_file(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        self._keep()
        self._known, self._unread, self._is_read = log_number_from, [], False
        for log in self._file.read_logs(log_number_from):
            self._known += 1
            yield log
        self._is_read = True

    def _keep(self) -> None:
        if self._waiting:
            self._file.append_logs(self._waiting)
            self._waiting = []


def _waits(log: dict[str, Any]) -> bool:
    operation = log["op_code"]
    if operation == JournalOperation.CREATE_TRIAL:
        return "state" not in log  # One that is enqueued has a state.
    if operation == JournalOperation.SET_TRIAL_STATE_VALUES:
        return bool(log["state"] == TrialState.RUNNING)
    return operation in WAITING or ENDING in log.get("user_attr", {})
