"""What the other stacks are told to do: one JSON file in their folder, and one that they leave."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna import Trial

JOB, DONE = "job.json", "done.json"


@dataclass(frozen=True)
class Job:
    """The same work for every stack.

    Attributes:
        data: dataset folder.
        epochs: per seed.
        seeds: 0, 1, ... of each configuration.
        fixed: what all configurations share, dotted key to value.
        configurations: dotted key to value, active dimensions only.
        search: the dimensions of the space, in an order in which conditions come last.
    """

    data: str
    epochs: int
    seeds: int
    fixed: Mapping[str, Any]
    configurations: Sequence[dict[str, Any]]
    search: Mapping[str, Any]

    def write(self, folder: Path) -> None:
        """Leaves the job where a stack looks for it."""
        (folder / JOB).write_text(json.dumps(asdict(self)))


@dataclass(frozen=True)
class Done:
    """What a stack did: epochs trained, and the objective of each configuration and seed."""

    epochs: int
    objectives: Sequence[float]

    def write(self, folder: Path) -> None:
        """Leaves the record in the folder."""
        (folder / DONE).write_text(json.dumps(asdict(self)))


def read_job(folder: Path = Path()) -> Job:
    """The job of a stack that runs in a folder."""
    return Job(**json.loads((folder / JOB).read_text()))


def read_done(folder: Path) -> Done:
    """What a stack left in its folder."""
    return Done(**json.loads((folder / DONE).read_text()))


def suggest(trial: Trial, search: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration from Optuna, dimension by dimension."""
    values: dict[str, Any] = {}
    for key, form in search.items():
        conditions = form.get("when", {}) if isinstance(form, dict) else {}
        if all(values.get(parent) in allowed for parent, allowed in conditions.items()):
            values[key] = _suggest_one(trial, key, form)
    return values


def _suggest_one(trial: Trial, key: str, form: Any) -> Any:
    if isinstance(form, list):
        return trial.suggest_categorical(key, form)
    if "choices" in form:
        return trial.suggest_categorical(key, form["choices"])
    low, high, log = form["low"], form["high"], form.get("log", False)
    if isinstance(low, int):
        return trial.suggest_int(key, low, high, log=log)
    return trial.suggest_float(key, low, high, log=log)
