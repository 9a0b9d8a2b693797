"""The conductor of a sweep: opens the study and the tracker, lets Ray Tune run what is missing."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import ray
import torch
from optuna.storages import BaseStorage
from ray.tune import Trainable

from cmir.runner.background_ray import BackgroundRay
from cmir.runner.interrupts import terminate_as_interrupt
from cmir.runner.packs import widest_pack
from cmir.runner.paths import Places
from cmir.runner.placement import Resources, resources_for
from cmir.runner.provenance import provenance
from cmir.runner.ray_tune import Plan, run_trials
from cmir.runner.records import TrialRecord
from cmir.runner.storage import journal_storage, release_left_lock, storage_at, storing
from cmir.runner.study import AskedTrial, SweepStudy, open_study
from cmir.runner.trials_in_flight import Progress
from cmir.runner.weights import WeightsKeeper
from cmir.runner.worker import MEMBERS, CmirTrial
from cmir.sweep.preparation import PreparedSweep, prepare_sweep, sweep_name

# MLflow, and what draws, are imported where they are used: while Ray's processes start and end.
if TYPE_CHECKING:
    from cmir.runner.tracking.sweep_tracker import SweepTracker
    from cmir.sweep.findings import Findings


@dataclass(frozen=True)
class SweepRequest:
    """What the command line asks for.

    Attributes:
        space: the sweep file.
        overrides: `trials`, `seeds`, `epochs` in place of the file's.
        concurrency: packs at a time; None: one per processor, or per share of a GPU.
        trials_per_gpu: packs that share one GPU.
        pack: largest number of configurations that train as one stacked network; None: as many as
            measuring shows to be worth while.
        fresh: begin a new sweep beside the old one.
        address: of a Ray cluster.
        storage: of the study, in place of a journal file.
        trainable: the class that trains.
    """

    space: Path
    overrides: dict[str, int]
    concurrency: int | None = None
    trials_per_gpu: int = 4
    pack: int | None = None
    fresh: bool = False
    address: str | None = None
    storage: str | None = None
    trainable: type[Trainable] = CmirTrial


@dataclass(frozen=True)
class SweepStart:
    """What is known when a sweep starts: for the display."""

    sweep: str
    prepared: PreparedSweep
    resources: Resources
    pack: int | None
    done: int
    interrupted: int
    tracking_uri: str
    sign: float
    records: Sequence[TrialRecord] = ()


@dataclass(frozen=True)
class SweepOutcome:
    """What a sweep ended with.

    Attributes:
        sweep: its name.
        records: all ended trials, of earlier runs of the command too.
        budget: trials that were to end.
        counted: trials that count against the budget.
        findings: what is shown of them.
    """

    sweep: str
    records: Sequence[TrialRecord]
    budget: int
    counted: int
    findings: Findings

    @property
    def is_complete(self) -> bool:
        """Whether the whole budget has been spent."""
        return self.counted >= self.budget


def conduct(
    request: SweepRequest,
    places: Places,
    display: Callable[[SweepStart], Progress],
) -> SweepOutcome:
    """Runs or continues a sweep.

    Args:
        request: what is asked for.
        places: where files are.
        display: called once when all is checked; the progress it returns is told of every event.

    Returns:
        the outcome, also where SIGINT or SIGTERM ended it early: what ended is in the study.

    Raises:
        InputError: nothing was started.
    """
    # Before Ray starts: its processes are forked, which a product of matrices that runs in another
    # thread of the driver does not survive, and partitions take such products.
    prepared = prepare_sweep(request.space, request.overrides, places)
    places.make()
    resources = _resources(request, len(os.sched_getaffinity(0)), torch.cuda.device_count())
    name = sweep_name(prepared.file.name, _known_sweeps(request, places), request.fresh)
    with places.lock(name), terminate_as_interrupt(), BackgroundRay(resources) as cluster:
        study = open_study(_storage(request, places, name), name, prepared.space, _facts(prepared))
        is_complete = study.counted >= prepared.file.trials
        if not is_complete:
            cluster.start()
        tracker = _tracker(study, prepared)
        if request.address is not None and not is_complete:
            cluster.wait()
            found = ray.cluster_resources()  # type: ignore[no-untyped-call]
            resources = _resources(request, int(found.get("CPU", 1)), int(found.get("GPU", 0)))
        start = SweepStart(
            name,
            prepared,
            resources,
            request.pack,
            study.counted,
            study.interrupted,
            tracker.uri,
            study.sign,
            study.records(),
        )
        keeper = WeightsKeeper(places, name, prepared.file.keep_models, study.sign, study.records())
        progress = _with_tracking(display(start), tracker, keeper)
        if not is_complete:
            with storing(request.storage):
                cluster.wait()
                _run(study, prepared, request, places, resources, progress)
        with cluster.ending():
            from cmir.sweep.findings import publish

            findings = publish(tracker, study.records(), prepared, keeper, study.counted)
        return SweepOutcome(name, study.records(), prepared.file.trials, study.counted, findings)


def _run(
    study: SweepStudy,
    prepared: PreparedSweep,
    request: SweepRequest,
    places: Places,
    resources: Resources,
    progress: Progress,
) -> None:
    file, dataset = prepared.file, str(prepared.data.path.resolve())

    def member(asked: AskedTrial) -> dict[str, Any]:
        return {
            "number": asked.number,
            "trial": asked.config.model_dump_json(),
            "weights": str(places.weights_of(study.name, asked.number).resolve()),
        }

    def worker_config(pack: Sequence[AskedTrial]) -> dict[str, Any]:
        return {
            MEMBERS: [member(asked) for asked in pack],
            "dataset": dataset,
            "partitions": str(places.partitions.resolve()),
            "threads": resources.cpus_per_trial,
            "plugins": file.plugins,
        }

    plan = Plan(
        budget=file.trials,
        epochs=file.epochs,
        early_stopping=file.early_stopping,
        worker_config=worker_config,
        storage=places.scheduler(study.name),
        pack=request.pack,
        widest=widest_pack(prepared.space),
        trainable=request.trainable,
    )
    run_trials(study, plan, resources, progress)


def _tracker(study: SweepStudy, prepared: PreparedSweep) -> SweepTracker:
    """The runs of the sweep, with what earlier runs of the command could not write on its way."""
    from cmir.runner.tracking.sweep_tracker import SweepTracker, answering, connect

    client = connect()
    with answering(client):
        tracker = SweepTracker(client, prepared.file.name, study.name, study.parent_run)
        study.remember_parent_run(tracker.parent)
        _describe(tracker, prepared, study.name)
    tracker.write_missing(study.records())
    return tracker


def _with_tracking(progress: Progress, tracker: SweepTracker, keeper: WeightsKeeper) -> Progress:
    def on_end(record: TrialRecord) -> None:
        keeper.add(record)
        tracker.write(record)
        progress.on_end(record)

    return replace(progress, on_end=on_end)


def _describe(tracker: SweepTracker, prepared: PreparedSweep, name: str) -> None:
    from cmir.runner.tracking.sweep_tracker import dataset_input

    file, data = prepared.file, prepared.data
    params = {key: getattr(file, key) for key in ("objective", "trials", "seeds", "epochs")}
    tags = provenance() | {
        "sweep": name,
        "space": str(prepared.path),
        "space.fingerprint": file.fingerprint,
        "data": str(data.path),
        "data.checksum": data.checksum,
        "data.synthetic": str(prepared.is_synthetic).lower(),
    }
    profile = {split: len(part.rows) for split, part in data.splits.items()}
    dataset = dataset_input(data.name, data.checksum, data.path, profile)
    tracker.describe(params, tags, dataset)
    tracker.attach(prepared.path, "space")


def _facts(prepared: PreparedSweep) -> dict[str, Any]:
    return {
        "data_checksum": prepared.data.checksum,
        "dataset": str(prepared.data.path.resolve()),
        "space_name": prepared.file.name,
        "space_file": str(prepared.path),
        "gates": prepared.file.gates.model_dump(mode="json"),
    }


def _resources(request: SweepRequest, cpus: int, gpus: int) -> Resources:
    """What trials may take of so many processors and GPUs, of this machine or of a cluster."""
    per_gpu, address = request.trials_per_gpu, request.address
    return resources_for(cpus, gpus, request.concurrency, per_gpu, address)


def _known_sweeps(request: SweepRequest, places: Places) -> list[str]:
    if request.storage is None:
        return places.sweeps()
    return list(optuna.get_all_study_names(storage_at(request.storage)))


def _storage(request: SweepRequest, places: Places, name: str) -> BaseStorage:
    if request.storage is not None:
        return storage_at(request.storage)
    release_left_lock(places.journal(name))
    return journal_storage(places.journal(name), alone=True)
