"""What a sweep found, and how MLflow shows it: leaderboard, pictures, the best trials' models."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from cmir.pages import page
from cmir.runner.studies.records import OUTCOMES, TrialRecord
from cmir.runner.tracking.sweep_tracker import SweepTracker
from cmir.runner.weights import WeightsKeeper
from cmir.sweep.interactive_plots import NAME, can_draw, interactive_page
from cmir.sweep.leaderboard import best_trial, leaderboard, schemes_compared
from cmir.sweep.pictures import pictures
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
    """

    table: pl.DataFrame
    schemes: pl.DataFrame
    unwritten: int
    trouble: str = ""
    missing: Sequence[int] = ()


def publish(
    tracker: SweepTracker,
    records: Sequence[TrialRecord],
    prepared: PreparedSweep,
    keeper: WeightsKeeper,
    counted: int,
) -> Findings:
    """Writes everything about the sweep as a whole to its parent run.

    A tracking server that went away is no error here: the study holds the sweep, and the same
    command publishes again.
    """
    objective = prepared.file.objective
    table, schemes = leaderboard(records, objective), schemes_compared(records, objective)
    unwritten, missing = tracker.flush(), keeper.missing()
    try:
        _publish(tracker, records, prepared, keeper, table, schemes)
        tracker.close(complete=counted >= prepared.file.trials)
    except Exception as error:  # MLflow, requests and SQLAlchemy each raise their own.
        logging.getLogger(__name__).debug("publishing failed", exc_info=True)
        trouble = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        return Findings(table, schemes, unwritten, trouble, missing)
    return Findings(table, schemes, unwritten, missing=missing)


def _publish(
    tracker: SweepTracker,
    records: Sequence[TrialRecord],
    prepared: PreparedSweep,
    keeper: WeightsKeeper,
    table: pl.DataFrame,
    schemes: pl.DataFrame,
) -> None:
    objective = prepared.file.objective
    with tempfile.TemporaryDirectory() as folder:
        table.write_parquet(Path(folder, "leaderboard.parquet"))
        table.write_csv(Path(folder, "leaderboard.csv"))
        schemes.write_csv(Path(folder, "schemes.csv"))
        for file in sorted(Path(folder).iterdir()):
            tracker.attach(file)
    of = f"sweep {prepared.file.name}, data {prepared.data.name}"
    for name, figure in pictures(records, objective, len(prepared.file.start_from), of):
        tracker.attach_figure(figure, name)
    _attach_page(tracker, records, objective, of)
    _attach_models(tracker, records, keeper)
    text = _description(tracker, records, prepared, schemes)
    tracker.show(text, _summary(records, prepared))


def _attach_page(
    tracker: SweepTracker, records: Sequence[TrialRecord], objective: str, of: str
) -> None:
    """The page to click in, where what draws it is installed."""
    text = interactive_page(records, objective, of) if can_draw() else ""
    if text:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, NAME)
            file.write_text(text, encoding="utf-8")
            tracker.attach(file)


def _attach_models(
    tracker: SweepTracker, records: Sequence[TrialRecord], keeper: WeightsKeeper
) -> None:
    configs = {record.number: record.config.flat() for record in records}
    ranks = {}
    for rank, (number, path) in enumerate(keeper.best(), start=1):
        run = tracker.run_of(number)
        if run is None:
            continue
        ranks[run] = rank
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder, "config.json")
            config.write_text(json.dumps(configs[number], indent=1))
            tracker.attach(config, "model", run)
        tracker.attach(path, "model", run)
    tracker.rank(ranks)


def _summary(records: Sequence[TrialRecord], prepared: PreparedSweep) -> dict[str, float]:
    counts = {
        f"trials.{outcome}": float(sum(record.outcome == outcome for record in records))
        for outcome in OUTCOMES
    }
    best = best_trial(records, prepared.file.objective)
    return counts | (dict(best.ending.metrics) if best else {})


def _description(
    tracker: SweepTracker,
    records: Sequence[TrialRecord],
    prepared: PreparedSweep,
    schemes: pl.DataFrame,
) -> str:
    """Markdown for the parent's page: which trial is best, why, and where to click."""
    best = best_trial(records, prepared.file.objective)
    return page(
        "sweep/sweep_page.md.j2",
        file=prepared.file,
        is_synthetic=prepared.is_synthetic,
        trials=len(records),
        best=best,
        experiment=tracker.experiment,
        run=tracker.run_of(best.number) if best else None,
        schemes=schemes,
    )
