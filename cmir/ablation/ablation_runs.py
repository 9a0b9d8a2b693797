"""An ablation in MLflow: the tables and pictures on its run, each arm's differences on its own."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag

from cmir.ablation.ablation_table import ABOUT
from cmir.ablation.arm import Arm
from cmir.ablation.arm_results import ArmResult
from cmir.runner.runner import Session
from cmir.runner.tracking.local_store import first_line
from cmir.runner.tracking.sweep_tracker import NOTE, SweepTracker


def publish(
    client: MlflowClient,
    session: Session,
    rows: Sequence[Arm],
    results: Mapping[str, ArmResult],
    tables: Sequence[pl.DataFrame | None],
    files: Sequence[Path],
    text: str,
) -> str:
    """Completes the runs that the runner has written; returns why that failed, empty if not.

    A tracking server that went away is no error: the arms are on disk, and the same command
    publishes them.
    """
    tracker = session.tracker
    if tracker is None:
        return ""
    try:
        client.set_tag(tracker.parent, NOTE, text)
        for file in files:
            client.log_artifact(tracker.parent, str(file))
        numbers = _numbers(tables)
        for fingerprint, names in _trainings(rows).items():
            run = _run(tracker, results[fingerprint])
            if run is not None:
                _complete(client, run, rows, names, numbers[names[0]])
    except Exception as error:  # MLflow, requests and SQLAlchemy each raise their own.
        return first_line(error)
    return ""


def _trainings(rows: Sequence[Arm]) -> dict[str, list[str]]:
    """Fingerprint of a training to the arms that are this training."""
    found: dict[str, list[str]] = {}
    for arm in rows:
        found.setdefault(arm.fingerprint, []).append(arm.name)
    return found


def _run(tracker: SweepTracker, result: ArmResult) -> str | None:
    return None if result.record is None else tracker.run_of(result.record.number)


def _complete(
    client: MlflowClient,
    run: str,
    rows: Sequence[Arm],
    names: Sequence[str],
    numbers: Mapping[str, float],
) -> None:
    """Logs what the run lacks: an ablation that is run again may know more."""
    known = client.get_run(run).data.metrics
    now = int(time.time() * 1000)
    new = [Metric(key, value, now, 0) for key, value in numbers.items() if known.get(key) != value]
    families = {arm.family: None for arm in rows if arm.name in names}
    tags = {"arm": ", ".join(names), "family": ", ".join(families)}
    client.log_batch(run, metrics=new, tags=[RunTag(key, value) for key, value in tags.items()])


def _numbers(tables: Sequence[pl.DataFrame | None]) -> dict[str, dict[str, float]]:
    """Arm to the numbers of its row in all tables."""
    found: dict[str, dict[str, float]] = {}
    for table in tables:
        for row in () if table is None else table.iter_rows(named=True):
            found.setdefault(row["arm"], {}).update(_finite(row))
    return found


def _finite(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: value
        for key, value in row.items()
        if key not in ABOUT and value is not None and math.isfinite(value)
    }
