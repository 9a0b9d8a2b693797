"""One trial in a Ray worker: a configuration and its data in, one result per epoch out."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import ray
import torch
from ray.tune import Trainable

from cmir.config import TrialConfig
from cmir.data import DevelopmentData, load_dataset
from cmir.learning.evaluation import goal_of
from cmir.learning.partitions import Partitions
from cmir.learning.reports import Diverged, TrialResult
from cmir.learning.training import fit
from cmir.sweep.weights import save_weights

EPOCH, SCORE, REPORT, ENDING = "epoch", "score", "report", "ending"
PARTITION = "partition"
WORST_SCORE = -1e30


class CmirTrial(Trainable):
    """Trains one configuration, one epoch a step; actors are reused from trial to trial.

    The configuration that Ray hands over holds `trial` (a `TrialConfig` as plain values),
    `dataset` (folder), `partitions` (folder in which workers share them), `weights` (file for the
    finished trial's weights) and `threads`.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Takes a configuration; nothing runs, and so nothing fails, before the first step."""
        self._results = _results(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next trial in the same process."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Trains one epoch; the last result has `done` and how the trial ended.

        An exception ends the trial, not the process: the next trial finds it warm.
        """
        try:
            return next(self._results)
        except Diverged as fault:
            return _ended(fault.epoch, "diverged", str(fault))
        except Exception as error:  # Whatever it is, it belongs into the trial's record.
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            return _ended(1, "failed", f"{type(error).__name__} at {where}: {error}")


def _results(config: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    torch.set_num_threads(int(config["threads"]))
    trial = TrialConfig.model_validate_json(config["trial"])
    data = development_data(config["dataset"])
    sign = goal_of(trial.objective, data.task, data.label_range).sign
    partitions = partitions_of(config["dataset"], config["partitions"])
    for report in fit(data, trial, own_device(), partitions):
        shown = {"objective": report.objective, "metrics": dict(report.metrics)}
        row = {EPOCH: report.epoch, SCORE: -sign * report.objective, REPORT: [shown]}
        if report.epoch == 1:
            row |= {PARTITION: [_diagnosis(partitions, trial)]}
        if report.result is not None:
            save_weights(report.result, Path(config["weights"]))
            row |= {"done": True, ENDING: [_ending(report.result)]}
        yield row


def _ended(epoch: int, outcome: str, reason: str) -> dict[str, Any]:
    ending = {"outcome": outcome, "reason": reason}
    return {EPOCH: epoch, SCORE: WORST_SCORE, "done": True, ENDING: [ending]}


@lru_cache(maxsize=1)
def development_data(folder: str) -> DevelopmentData:
    """The development part of a dataset folder, opened once per process."""
    return load_dataset(folder).development()


@lru_cache(maxsize=1)
def partitions_of(folder: str, cache: str) -> Partitions:
    """The partitions of a dataset folder, shared by all trials of a process."""
    return Partitions(development_data(folder), Path(cache))


def own_device() -> str:
    """The device that Ray assigned: a GPU if the trial asked for one, else the CPU.

    A process may see more GPUs than are its own, so the assigned id decides.
    """
    assigned = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    if not assigned or not torch.cuda.is_available():
        return "cpu"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    return f"cuda:{visible.index(assigned[0]) if assigned[0] in visible else int(assigned[0])}"


def _diagnosis(partitions: Partitions, trial: TrialConfig) -> Mapping[str, Any]:
    environments = trial.environments
    found = partitions.diagnosis(environments.partition, environments.group_count)
    return {} if found is None else found.as_json()


def _ending(result: TrialResult) -> Mapping[str, Any]:
    return {
        "outcome": "finished",
        "objective": result.objective,
        "metrics": dict(result.metrics),
        "by_seed": {name: list(values) for name, values in result.by_seed.items()},
        "best_epochs": list(result.best_epochs),
        "seconds": result.seconds,
    }
