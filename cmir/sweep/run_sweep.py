"""A sweep from its file to its findings: prepared, run or continued, published."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from ray.tune import Trainable

from cmir.process.interruption import THIS
from cmir.runner.paths import Paths
from cmir.runner.provenance import provenance
from cmir.runner.runner import LIVE_SECONDS, Jobs, Runner, RunStart, TrackedRun
from cmir.runner.scheduling.placement import Placement
from cmir.runner.scheduling.trials_in_flight import Progress
from cmir.runner.scheduling.worker import CmirTrial
from cmir.runner.studies.records import TrialRecord
from cmir.runner.studies.storage import storage_at
from cmir.runner.studies.study import counts
from cmir.space.space_source import SpaceSource
from cmir.sweep.memory_check import check_memory
from cmir.sweep.preparation import PreparedSweep, prepare_sweep, sweep_name

# MLflow and what draws take seconds to import: a faulty file is refused without them.
if TYPE_CHECKING:
    from cmir.runner.tracking.sweep_tracker import SweepTracker
    from cmir.sweep.findings import Findings


@dataclass(frozen=True)
class SweepRequest:
    """What the command line asks for.

    Attributes:
        space: the sweep file.
        overrides: keys of the sweep file, `trials` or `fixed`, to stand in its place.
        placement: where its trials run.
        fresh: begin a new sweep beside the old one.
        storage: of the study, in place of a journal file.
        trainable: the class that trains.
        live_seconds: between two writings of running trials to MLflow; 0: none.
    """

    space: Path
    overrides: Mapping[str, Any]
    placement: Placement = field(default_factory=Placement)
    fresh: bool = False
    storage: str | None = None
    trainable: type[Trainable] = CmirTrial
    live_seconds: float = LIVE_SECONDS


@dataclass(frozen=True)
class SweepStart:
    """What is known when a sweep starts: for the display."""

    prepared: PreparedSweep
    run: RunStart


@dataclass(frozen=True)
class SweepOutcome:
    """What a sweep ended with.

    Attributes:
        sweep: its name.
        records: all ended trials, of earlier runs of the command too.
        budget: trials that were to end.
        counted: trials that count against the budget.
        findings: what is shown of them.
        kept: files with the weights of the best trials.
    """

    sweep: str
    records: Sequence[TrialRecord]
    budget: int
    counted: int
    findings: Findings
    kept: Sequence[Path] = ()

    @property
    def is_complete(self) -> bool:
        """Whether the whole budget has been spent."""
        return self.counted >= self.budget

    @property
    def failed(self) -> int:
        """Trials that count against the budget and failed."""
        return sum(counts(record) and record.outcome == "failed" for record in self.records)


def run_sweep(
    request: SweepRequest,
    paths: Paths,
    display: Callable[[SweepStart], Progress],
) -> SweepOutcome:
    """Runs or continues a sweep.

    Args:
        request: what is asked for.
        paths: where files are.
        display: called once when all is checked; the progress it returns is told of every event.

    Returns:
        the outcome.

    Raises:
        InputError: nothing was started.
        PlaceError: the place gave way; what ended is in the study, what trained runs again.
        KeyboardInterrupt: by SIGINT or SIGTERM; likewise.
    """
    prepared = prepare_sweep(request.space, request.overrides, paths)
    check_memory(prepared, request.placement)
    name = sweep_name(prepared.file.name, _known_sweeps(request, paths), request.fresh)
    runner = Runner(paths, request.placement, request.storage, request.trainable)
    jobs = _jobs(name, prepared, paths, request.live_seconds)
    with runner.opened(jobs) as session:
        _introduce(session.tracker, prepared)
        session.train(lambda run: display(SweepStart(prepared, run)))
        if THIS.is_told:
            session.close()
            THIS.check()
        from cmir.sweep.findings import publish

        study, tracker = session.study, session.tracker
        assert tracker is not None
        records, counted = study.records(), study.counted
        cache = runner.paths.language
        findings = publish(tracker, records, prepared, session.keeper, counted, cache)
        kept = [path for _, path in session.keeper.best()]
        return SweepOutcome(name, records, prepared.file.trials, counted, findings, kept)


def _introduce(tracker: SweepTracker | None, prepared: PreparedSweep) -> None:
    """Writes the experiment's page; a server that went away since is no error yet."""
    from cmir.sweep.experiment_page import introduce

    try:
        assert tracker is not None
        introduce(tracker, prepared)
    except Exception:  # MLflow, requests and SQLAlchemy each raise their own.
        logging.getLogger(__name__).debug("the experiment's page", exc_info=True)


def _jobs(name: str, prepared: PreparedSweep, paths: Paths, live_seconds: float) -> Jobs:
    file, data = prepared.file, prepared.data
    facts = {
        "dataset": paths.recorded(data.found_at),
        "space_name": file.name,
        "space_file": str(prepared.path),
        "gates": file.gates.model_dump(mode="json"),
    }
    return Jobs(
        name=name,
        data=data,
        source=SpaceSource(prepared.space),
        epochs=file.epochs,
        early_stopping=file.early_stopping,
        keep=file.keep_models,
        measures=file.measured,
        facts=facts,
        tracked=_tracked(name, prepared, live_seconds),
    )


def _tracked(name: str, prepared: PreparedSweep, live_seconds: float) -> TrackedRun:
    file, data = prepared.file, prepared.data
    tags = provenance() | {
        "sweep": name,
        "space": str(prepared.path),
        "space.fingerprint": file.fingerprint,
        "data": data.found_at,
        "data.checksum": data.checksum,
        "data.synthetic": str(prepared.is_synthetic).lower(),
    }
    params = {key: getattr(file, key) for key in ("trials", "seeds", "epochs")}
    params = {"objective": ", ".join(file.objectives), **params}

    def so_far(tracker: SweepTracker, ended: Sequence[TrialRecord]) -> None:
        from cmir.sweep.findings import show_so_far

        show_so_far(tracker, ended, prepared)

    files = {"space": prepared.path}
    return TrackedRun(file.name, params, tags, files, live_seconds=live_seconds, page=so_far)


def _known_sweeps(request: SweepRequest, paths: Paths) -> list[str]:
    if request.storage is None:
        return paths.sweeps()
    return list(optuna.get_all_study_names(storage_at(request.storage)))
