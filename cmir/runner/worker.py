"""A pack of configurations in a Ray worker: members and their data in, one row each per epoch."""

from __future__ import annotations

import os
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import ray
import torch
from ray.tune import Trainable

from cmir.config import TrialConfig
from cmir.data import DevelopmentData, load_dataset
from cmir.method.environments.partitions import Partitions, partition_of
from cmir.method.training.calibration import USABLE, PackTimer, Sizes, useful_sizes
from cmir.method.training.fitting import check, fit
from cmir.method.training.measuring import free_memory
from cmir.method.training.pack import Pack
from cmir.method.training.reports import Diverged, EpochReport, TrialResult
from cmir.plugins import load_plugins
from cmir.runner.placement import device_of
from cmir.runner.weights import save_weights

MEMBERS, ROWS, MEASURE, SIZES = "members", "rows", "measure", "sizes"
# What an epoch costs beside its arithmetic: Ray's way to the driver and back, a share of a start.
RAY_SECONDS = 0.005
Report = EpochReport | Diverged


class CmirTrial(Trainable):
    """Trains a pack of configurations, one epoch a step; actors are reused from pack to pack.

    The configuration that Ray hands over holds `members`, `dataset` (folder), `partitions` (folder
    in which workers share them), `threads` and `plugins`. A member has a `number`, a `trial` (a
    `TrialConfig` as JSON) and `weights` (file for its weights once it has finished). A step returns
    one row for each member in training: `number`, then `epoch`, `objective` and `metrics`, and with
    the last row of a member, its `ending`. With `measure` (`most`, and `sharing`, the number of
    packs that share the memory) the first step only measures the sizes of packs that are worth
    while and possible, and returns them as `sizes`.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Takes a pack; nothing runs, and so nothing fails, before the first step."""
        self._config, self._members = dict(config), config[MEMBERS]
        self._open = set(range(len(self._members)))
        self._training: Training | None = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next pack in the same process."""
        self.setup(new_config)
        return True

    def drop(self, numbers: Collection[int]) -> None:
        """Takes members out of training between two steps; the others do not notice."""
        leaving = {n for n in self._open if self._members[n]["number"] in numbers}
        self._open -= leaving
        if self._training is not None:
            self._training.drop(leaving)

    def step(self) -> dict[str, Any]:
        """Trains one epoch; the last result has `done`.

        An exception ends the pack, not the process: the next pack finds it warm.
        """
        if MEASURE in self._config:
            sizes = self._sizes(self._config.pop(MEASURE))
            return {SIZES: [sizes.worthwhile, sizes.possible], ROWS: [], "done": False}
        try:
            rows = self._epoch() if self._open else []
        except Exception as error:  # Whatever it is, it belongs into the trials' records.
            reason = _explained(error)
            rows = [_failed(self._members[n]["number"], reason) for n in sorted(self._open)]
            self._open.clear()
        return {ROWS: rows, "done": not self._open}

    def _epoch(self) -> list[dict[str, Any]]:
        if self._training is None:
            self._training = self._start(self._configs())
        reports = self._training.run_epoch()
        rows = [self._row(self._members[n], report) for n, report in reports.items()]
        self._open = set(self._training.running)
        return rows

    def _sizes(self, measure: Mapping[str, int]) -> Sizes:
        """The sizes of packs that are useful, 1 where they cannot be measured."""
        try:
            device, data = torch.device(own_device()), development_data(self._config["dataset"])
            timer = PackTimer(data, self._configs()[0], device)
            free = free_memory(device)
            room = None if free is None else int(USABLE * free / measure["sharing"])
            return useful_sizes(timer.cost, measure["most"], RAY_SECONDS, room)
        except Exception:  # What is wrong shows again, and is recorded, when the pack trains.
            return Sizes(1, 1)

    def _configs(self) -> list[TrialConfig]:
        torch.set_num_threads(int(self._config["threads"]))
        load_plugins(self._config.get("plugins", ()), "worker")
        return [TrialConfig.model_validate_json(member["trial"]) for member in self._members]

    def _start(self, configs: Sequence[TrialConfig]) -> Training:
        data = development_data(self._config["dataset"])
        self._partitions = partitions_of(self._config["dataset"], self._config["partitions"])
        training = start_training(data, configs, own_device(), self._partitions)
        found = self._partitions.diagnosis(*partition_of(configs[0].environments))
        self._diagnosis = {} if found is None else found.as_json()
        return training

    def _row(self, member: Mapping[str, Any], report: Report) -> dict[str, Any]:
        row = {"number": member["number"]}
        if isinstance(report, Diverged):
            return row | {"ending": {"outcome": "diverged", "reason": str(report)}}
        row |= {"epoch": report.epoch, "objective": report.objective}
        row |= {"metrics": dict(report.metrics)}
        if report.epoch == 1:
            row |= {"partition": self._diagnosis}
        if report.result is not None:
            save_weights(report.result, Path(member["weights"]))
            row |= {"ending": _ending(report.result)}
        return row


class Training(Protocol):
    """Configurations in training, by their place in the pack; see `Pack`."""

    @property
    def running(self) -> tuple[int, ...]:
        """The configurations that are still in training."""

    def run_epoch(self) -> dict[int, Report]:
        """One epoch of every running configuration."""

    def drop(self, configs: Collection[int]) -> None:
        """Takes configurations out."""


class Alone:
    """One configuration that does not stack: a fine-tuned language model."""

    def __init__(self, reports: Iterator[EpochReport]) -> None:
        self._reports = reports
        self.running: tuple[int, ...] = (0,)

    def run_epoch(self) -> dict[int, Report]:
        """Its next epoch."""
        try:
            report = next(self._reports)
        except Diverged as fault:
            self.running = ()
            return {0: fault}
        self.running = () if report.result is not None else (0,)
        return {0: report}

    def drop(self, configs: Collection[int]) -> None:
        """Ends it."""
        if configs:
            self.running = ()


def start_training(
    data: DevelopmentData, configs: Sequence[TrialConfig], device: str, partitions: Partitions
) -> Training:
    """Starts the training of configurations that agree in structure.

    Raises:
        InputError: a configuration does not fit the data.
    """
    if configs[0].model.backbone:
        return Alone(fit(data, configs[0], device, partitions))
    for config in configs:
        check(data, config, partitions)
    return Pack(data, configs, torch.device(device), partitions)


def _explained(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return f"{type(error).__name__} at {where}: {error}"


def _failed(number: int, reason: str) -> dict[str, Any]:
    return {"number": number, "ending": {"outcome": "failed", "reason": reason}}


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
    if not torch.cuda.is_available():
        return "cpu"
    assigned = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    return device_of(assigned, os.environ.get("CUDA_VISIBLE_DEVICES"))


def _ending(result: TrialResult) -> Mapping[str, Any]:
    return {
        "outcome": "finished",
        "objective": result.objective,
        "metrics": dict(result.metrics),
        "by_seed": {name: list(values) for name, values in result.by_seed.items()},
        "best_epochs": list(result.best_epochs),
    }
