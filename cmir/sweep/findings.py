"""What a sweep found, and how MLflow shows it: leaderboard, pictures, the best trials' models."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from cmir.pages import page
from cmir.registry.best_models import log_best_models
from cmir.runner.studies.records import TrialRecord
from cmir.runner.tracking.sweep_tracker import SweepTracker
from cmir.runner.weights import WeightsKeeper
from cmir.sweep.experiment_page import view_path
from cmir.sweep.interactive_plots import NAME, can_draw, interactive_page
from cmir.sweep.leaderboard import best_trial, leaderboard, schemes_compared
from cmir.sweep.modalities.modality_findings import ModalityFindings, of_sweep
from cmir.sweep.modalities.modality_picture import modality_picture
from cmir.sweep.modalities.modality_text import as_values, basis, sentences
from cmir.sweep.pairs.picks import DEFAULT, picked, with_second
from cmir.sweep.pictures import pictures
from cmir.sweep.plot_axes import stamp
from cmir.sweep.preparation import PreparedSweep


@dataclass(frozen=True)
class Findings:
    """What is shown of a sweep.

    Attributes:
        table: one row per ended trial, best first.
        schemes: one row per environment scheme.
        unwritten: trials that MLflow does not hold yet.
        trouble: why something could not be published, empty if all was.
        missing: of the best trials, those whose weights are not here.
        view: where MLflow's pages show the trials, below the address of a server.
        picked: of two objectives, the trial that promotion takes first.
        modalities: the verdict on each; None where there is one modality, or none has finished.
    """

    table: pl.DataFrame
    schemes: pl.DataFrame
    unwritten: int
    trouble: str = ""
    missing: Sequence[int] = ()
    view: str = ""
    picked: int | None = None
    modalities: ModalityFindings | None = None


def publish(
    tracker: SweepTracker,
    records: Sequence[TrialRecord],
    prepared: PreparedSweep,
    keeper: WeightsKeeper,
    counted: int,
    cache: Path,
) -> Findings:
    """Writes everything about the sweep as a whole to its parent run.

    A tracking server that went away is no error here: the study holds the sweep, and the same
    command publishes again.
    """
    objectives = prepared.file.objectives
    table, schemes = leaderboard(records, objectives[0]), schemes_compared(records, objectives[0])
    if len(objectives) > 1:
        table = with_second(table, records, objectives)
    chosen = _chosen(records, prepared)
    found = Findings(
        table,
        schemes,
        unwritten=tracker.flush(),
        missing=keeper.missing(),
        view=view_path(tracker.experiment),
        picked=None if chosen is None else chosen.number,
        modalities=of_sweep(prepared.data, records, objectives[0], keeper.best()),
    )
    try:
        _publish(tracker, records, prepared, keeper, cache, found)
        tracker.close(complete=counted >= prepared.file.trials)
    except Exception as error:  # MLflow, requests and SQLAlchemy each raise their own.
        logging.getLogger(__name__).debug("publishing failed", exc_info=True)
        trouble = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        return replace(found, trouble=trouble)
    return found


def _publish(
    tracker: SweepTracker,
    records: Sequence[TrialRecord],
    prepared: PreparedSweep,
    keeper: WeightsKeeper,
    cache: Path,
    found: Findings,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found.table.write_parquet(Path(folder, "leaderboard.parquet"))
        found.table.write_csv(Path(folder, "leaderboard.csv"))
        found.schemes.write_csv(Path(folder, "schemes.csv"))
        if found.modalities is not None:
            Path(folder, "modalities.json").write_text(
                json.dumps(as_values(found.modalities), indent=1)
            )
        for file in sorted(Path(folder).iterdir()):
            tracker.attach(file)
    _attach_pictures(tracker, records, prepared)
    if found.modalities is not None:
        figure = modality_picture(found.modalities)
        stamp(figure, _of(prepared))
        tracker.attach_figure(figure, "modalities.png")
    _attach_page(tracker, records, prepared)
    text = _description(tracker, records, prepared, found.schemes, found.modalities)
    tracker.show(text, _summary(records, prepared))
    log_best_models(tracker, records, keeper, prepared.data, cache)


def show_so_far(
    tracker: SweepTracker, ended: Sequence[TrialRecord], prepared: PreparedSweep
) -> None:
    """Writes what is known while trials still train: the parent's description and pictures."""
    records = sorted(ended, key=lambda record: record.number)
    schemes = schemes_compared(records, prepared.file.first_objective)
    text = _description(tracker, records, prepared, schemes, is_running=True)
    tracker.show(text, _summary(records, prepared))
    _attach_pictures(tracker, records, prepared, is_running=True)


def _attach_pictures(
    tracker: SweepTracker,
    records: Sequence[TrialRecord],
    prepared: PreparedSweep,
    is_running: bool = False,
) -> None:
    starts = len(prepared.file.start_from)
    for name, figure in pictures(records, prepared.file.objectives, starts, _of(prepared)):
        # Whoever ends a sweep waits for no picture that is drawn again at its end.
        if is_running and tracker.writer.is_ending:
            return
        tracker.attach_figure(figure, name)


def _attach_page(
    tracker: SweepTracker, records: Sequence[TrialRecord], prepared: PreparedSweep
) -> None:
    """The page to click in, where what draws it is installed."""
    objective = prepared.file.first_objective
    text = interactive_page(records, objective, _of(prepared)) if can_draw() else ""
    if text:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, NAME)
            file.write_text(text, encoding="utf-8")
            tracker.attach(file)


def _of(prepared: PreparedSweep) -> str:
    return f"sweep {prepared.file.name}, data {prepared.data.name}"


def _summary(records: Sequence[TrialRecord], prepared: PreparedSweep) -> dict[str, float]:
    """The objective's metric of the best trial on all its splits; the counts are curves."""
    metric = prepared.file.first_objective
    best = best_trial(records, metric)
    names = [metric.partition("/")[2], f"{metric.partition('/')[2]}_std"]
    found = {} if best is None else best.ending.metrics
    return {f"best/{key}": v for key, v in found.items() if key.partition("/")[2] in names}


def _chosen(records: Sequence[TrialRecord], prepared: PreparedSweep) -> TrialRecord | None:
    """Of a sweep with two objectives the trial that promotion takes first."""
    objectives = prepared.file.objectives
    number = picked(records, objectives) if len(objectives) > 1 else None
    return next((record for record in records if record.number == number), None)


def _description(
    tracker: SweepTracker,
    records: Sequence[TrialRecord],
    prepared: PreparedSweep,
    schemes: pl.DataFrame,
    modalities: ModalityFindings | None = None,
    is_running: bool = False,
) -> str:
    """Markdown for the parent's page: which trial is best, why, and where to click."""
    best, chosen = best_trial(records, prepared.file.first_objective), _chosen(records, prepared)
    return page(
        "sweep/sweep_page.md.j2",
        file=prepared.file,
        is_synthetic=prepared.is_synthetic,
        is_running=is_running,
        trials=len(records),
        view=view_path(tracker.experiment),
        best=best,
        experiment=tracker.experiment,
        run=tracker.run_of(best.number) if best else None,
        chosen=chosen,
        chosen_run=tracker.run_of(chosen.number) if chosen else None,
        rule=DEFAULT,
        schemes=schemes,
        modalities=[] if modalities is None else sentences(modalities),
        basis="" if modalities is None else basis(modalities),
    )
