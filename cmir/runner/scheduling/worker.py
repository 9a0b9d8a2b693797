"""A trial in a Ray worker: a configuration and its data in, one report per epoch out."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy.typing as npt
import ray
import torch
from ray.tune import Trainable

from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.data.transport.node_cache import node_cache
from cmir.errors import PlaceError, place_fault
from cmir.evaluation.measures import measured
from cmir.hidden_secrets import without_secrets
from cmir.method.environments.partitions import Partitions, partition_of
from cmir.method.training.fitting import fit
from cmir.method.training.reports import Diverged, EpochReport, State, TrialResult
from cmir.plugins import load_plugins
from cmir.runner.checkpoints import StatePlace
from cmir.runner.driver_disk import DriverDisk
from cmir.runner.scheduling.data_identity import DataIdentity, data_here, same_data
from cmir.runner.scheduling.kept_state import Cadence, KeptState
from cmir.runner.scheduling.placement import device_of
from cmir.runner.weights import packed_weights, save_weights

REPORT = "report"
# Characters; Python's own folds repeated frames, so that only values are longer.
LONGEST_TRACEBACK = 30_000

Arrays = Mapping[str, npt.NDArray[Any]]
# From the data, a finished training and the device to what is kept beside its weights.
Score = Callable[[DevelopmentData, TrialResult, str], Arrays]


@dataclass
class WorkerReport:
    """One epoch of a trial, or its end, as it travels from a worker to the driver.

    Attributes:
        epoch: counted from 1; 0 where the trial ended without one.
        objective: mean over the seeds of the best value so far.
        metrics: as in `EpochReport`.
        partition: the diagnosis of its partition as plain values, with the first epoch only.
        ending: fields of `Ending` that the worker knows; empty while the trial goes on.
        is_kept: whether the driver's disk holds the trial's state after this epoch.
        unusable: why the trial cannot go on from its kept state: it has not ended, it shall begin.
        place: why the place, not the trial, is at fault: the trial has not ended, it shall run
            again. Empty where all is well.
        host: Ray's id of the host that trains, or that is this place.
        notice: what the driver shall say of this host.
        weights: packed, of a finished trial on a host that does not see the driver's disk.
    """

    epoch: int = 0
    objective: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    partition: Mapping[str, Any] = field(default_factory=dict)
    ending: Mapping[str, Any] = field(default_factory=dict)
    is_kept: bool = False
    unusable: str = ""
    place: str = ""
    host: str = ""
    notice: str = ""
    weights: bytes = b""

    @property
    def is_last(self) -> bool:
        """Whether no report follows."""
        return bool(self.ending or self.place or self.unusable)

    def forget(self) -> None:
        """Lets go of what the driver has read: Ray keeps the last report of every trial."""
        self.metrics = self.partition = self.ending = {}
        self.weights = b""


class CmirTrial(Trainable):
    """Trains a configuration, one epoch a step; actors are reused from trial to trial.

    The configuration that Ray hands over holds `trial` (a `TrialConfig`), `plugins` (modules that
    it needs), `weights` (file for its weights once it has finished), `disk` (a `DriverDisk`, which
    tells whether the driver's files can be reached), `data` (a `DataIdentity`),
    `partitions` and `language` (the driver's folders in which workers share what is costly to
    compute; workers that do not see its disk share folders of their host),
    `state` (a `StatePlace`: where its state is kept, and from which it goes on), `threads` and,
    where finished trainings are scored there, `score`; `measures` names what is measured of them,
    see `cmir.evaluation.measures`. A step returns a `WorkerReport`.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Takes a trial; nothing runs, and so nothing fails, before the first step."""
        self._config = dict(config)
        self._reports: Iterator[EpochReport] | None = None
        place: StatePlace = config["state"]
        self._kept_state = KeptState(place, config["disk"], config["data"].source)
        self._cadence = Cadence(place.epoch)
        self._is_first, self._can_keep = True, True

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Takes the next trial in the same process."""
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Trains one epoch; the last result has `done`.

        An exception ends the trial, not the process: the next trial finds it warm.
        """
        try:
            report = self._epoch()
        except Exception as error:  # Whatever it is, it belongs into the trial's record.
            report = self._failed(error)
        return {REPORT: report, "done": report.is_last}

    def _epoch(self) -> WorkerReport:
        if self._reports is None:
            self._reports = self._start()
        try:
            report = next(self._reports)
        except Diverged as fault:
            return WorkerReport(ending={"outcome": "diverged", "reason": str(fault)})
        found = WorkerReport(report.epoch, report.objective, dict(report.metrics))
        if self._is_first:
            found.partition = self._diagnosis()
            found.host = own_host()
            found.notice = data_here(self._config["data"]).told_once()
            self._is_first = False
        if report.result is not None:
            wanted = self._config.get("measures", ())
            result = measured(report.result, same_data(self._config["data"]), wanted)
            found.weights = self._kept(result)
            found.ending = _ending(result)
        if report.state is not None and self._is_due(report):
            self._keep_state(report.state(), found)
        return found

    def _is_due(self, report: EpochReport) -> bool:
        epochs = self._trial().training.epochs
        return self._can_keep and self._cadence.is_due(report.epoch, epochs, report.seconds)

    def _keep_state(self, state: State, report: WorkerReport) -> None:
        """Keeps the state of the trial; where that fails, training goes on without."""
        began = time.perf_counter()
        try:
            self._kept_state.write(report.epoch, state)
            report.is_kept = True
        except Exception as error:  # torch and Ray raise their own.
            self._can_keep = False
            report.host = own_host()
            told = without_secrets(_explained(error))
            report.notice = f"the state of a trial cannot be kept, it goes on without: {told}"
        self._cadence.note(report.epoch, time.perf_counter() - began)

    def _failed(self, error: Exception) -> WorkerReport:
        fault, told = place_fault(error), _explained(error)
        if fault:
            return WorkerReport(place=without_secrets(fault), host=own_host())
        if self._is_first and self._kept_state.place.epoch:
            return WorkerReport(unusable=without_secrets(told))
        whole = shortened("".join(traceback.format_exception(error)))
        return WorkerReport(ending={"outcome": "failed", "reason": told, "traceback": whole})

    def _kept(self, result: TrialResult) -> bytes:
        """Writes the weights where the driver finds them; else they are for the report."""
        scores = self._scores(result)
        disk: DriverDisk = self._config["disk"]
        if not disk.is_here():
            return packed_weights(result, scores)
        save_weights(result, Path(self._config["weights"]), scores)
        return b""

    def _start(self) -> Iterator[EpochReport]:
        torch.set_num_threads(int(self._config["threads"]))
        load_plugins(self._config.get("plugins", ()), "worker")
        data, state = same_data(self._config["data"]), self._kept_state.read()
        shared = self._partitions(), self._shared("language")
        return fit(data, self._trial(), own_device(), *shared, state)

    def _scores(self, result: TrialResult) -> Arrays:
        score: Score | None = self._config.get("score")
        data = same_data(self._config["data"])
        return {} if score is None else score(data, result, own_device())

    def _trial(self) -> TrialConfig:
        trial: TrialConfig = self._config["trial"]
        return trial

    def _partitions(self) -> Partitions:
        return partitions_of(self._config["data"], self._shared("partitions"))

    def _shared(self, what: str) -> Path:
        """The folder that processes share: the driver's, or this host's own."""
        disk: DriverDisk = self._config["disk"]
        return Path(self._config[what]) if disk.is_here() else node_cache() / what

    def _diagnosis(self) -> Mapping[str, Any]:
        found = self._partitions().diagnosis(*partition_of(self._trial().environments))
        return {} if found is None else found.as_json()


def shortened(text: str) -> str:
    """A traceback without its middle where it is very long: an endless recursion, a huge value."""
    cut = len(text) - LONGEST_TRACEBACK
    half = LONGEST_TRACEBACK // 2
    return text if cut <= 0 else f"{text[:half]}\n... {cut} characters ...\n{text[-half:]}"


def _explained(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno}"
    return f"{type(error).__name__} at {where}: {error}"


@lru_cache(maxsize=1)
def partitions_of(identity: DataIdentity, cache: Path) -> Partitions:
    """The partitions of a data set, shared by all trials of a process; the driver has them."""
    ask = None if identity.source is None else identity.source.partition
    return Partitions(same_data(identity), cache, ask)


def own_host() -> str:
    """Ray's id of the host that this process runs on; empty without Ray."""
    return ray.get_runtime_context().get_node_id() if ray.is_initialized() else ""


def own_device() -> str:
    """The device that Ray assigned: a GPU if the trial asked for one, else the CPU.

    A process may see more GPUs than are its own, so that the assigned id decides.

    Raises:
        PlaceError: Ray counts on a GPU that is not there.
    """
    context = ray.get_runtime_context() if ray.is_initialized() else None
    assigned = context.get_accelerator_ids().get("GPU", []) if context else []
    if assigned and not torch.cuda.is_available():
        raise PlaceError(
            f"Ray assigned GPU {assigned[0]}, but torch {torch.__version__} finds none there. "
            "Install a torch and a driver that see it, or start the node with --num-gpus=0."
        )
    return device_of(assigned, os.environ.get("CUDA_VISIBLE_DEVICES"))


def _ending(result: TrialResult) -> Mapping[str, Any]:
    return {
        "outcome": "finished",
        "objective": result.objective,
        "metrics": dict(result.metrics),
        "by_seed": {name: list(values) for name, values in result.by_seed.items()},
        "best_epochs": list(result.best_epochs),
    }
