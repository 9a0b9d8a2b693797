"""An ablation in MLflow: one parent run with tables and picture, one child run for each arm."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from mlflow import MlflowClient
from mlflow.entities import DatasetInput, Metric, Param, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from cmir.ablation.ablation_plan import AblationPlan
from cmir.ablation.ablation_table import ABOUT
from cmir.ablation.arm import Arm
from cmir.ablation.arm_store import ArmEnding
from cmir.runner.provenance import provenance
from cmir.runner.tracking.sweep_tracker import NOTE, dataset_input, experiment_id, first_line

ABLATION, ARM = "ablation", "arm"
SOURCE = {"mlflow.source.name": "workflows/ablate.py", "mlflow.source.type": "LOCAL"}
STATUS = {"finished": "FINISHED", "diverged": "FAILED", "refused": "FAILED", "failed": "FAILED"}


def publish(
    client: MlflowClient,
    plan: AblationPlan,
    rows: Sequence[Arm],
    endings: Mapping[str, ArmEnding],
    tables: Sequence[pl.DataFrame | None],
    files: Sequence[Path],
    text: str,
) -> str:
    """Writes or completes the runs; returns why that failed, empty if it did not.

    A tracking server that went away is no error: the arms are on disk, and the same command
    publishes them.
    """
    try:
        experiment = experiment_id(client, plan.space_name)
        parent = _parent(client, experiment, plan)
        _describe(client, parent, plan, text)
        for file in files:
            client.log_artifact(parent, str(file))
        numbers = _numbers(tables)
        known = _children(client, experiment, parent)
        for arm in rows:
            ending = endings[arm.fingerprint]
            run = known.get(arm.name) or _begin(client, experiment, parent, arm, ending)
            _complete(client, run, numbers[arm.name], ending)
        client.set_terminated(parent, "FINISHED")
    except Exception as error:  # MLflow, requests and SQLAlchemy each raise their own.
        return first_line(error)
    return ""


def _parent(client: MlflowClient, experiment: str, plan: AblationPlan) -> str:
    """The run of this ablation: the earlier one where there is one."""
    found = client.search_runs([experiment], f"tags.{ABLATION} = '{plan.name}'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    tags = {ABLATION: plan.name} | SOURCE
    run = client.create_run(experiment, tags=tags, run_name=f"ablation {plan.name}")
    return str(run.info.run_id)


def _describe(client: MlflowClient, run: str, plan: AblationPlan, text: str) -> None:
    facts = provenance() | {
        "origin": plan.origin,
        "objective": plan.full.objective,
        "seeds": ", ".join(map(str, plan.full.seeds)),
        "data": plan.data.name,
        "data.checksum": plan.data.checksum,
        NOTE: text,
    }
    client.log_batch(run, tags=[RunTag(key, value) for key, value in facts.items()])
    profile = {name: len(split) for name, split in plan.data.splits.items()}
    used = dataset_input(plan.data.name, plan.data.checksum, plan.data.path, profile)
    client.log_inputs(run, [DatasetInput(used)])


def _children(client: MlflowClient, experiment: str, parent: str) -> dict[str, str]:
    """Arm to run, of those that an earlier run of the command began."""
    query = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{parent}'"
    found = client.search_runs([experiment], query, max_results=1000)
    return {run.data.tags[ARM]: str(run.info.run_id) for run in found}


def _begin(client: MlflowClient, experiment: str, parent: str, arm: Arm, ending: ArmEnding) -> str:
    tags = {MLFLOW_PARENT_RUN_ID: parent, ARM: arm.name, "family": arm.family} | SOURCE
    tags |= {"fingerprint": arm.fingerprint, "note": arm.note}
    run = str(client.create_run(experiment, tags=tags, run_name=arm.name).info.run_id)
    params = [Param(key, str(value)) for key, value in arm.config.flat().items()]
    client.log_batch(run, params=params)
    if ending.by_seed:
        client.log_dict(run, dict(ending.by_seed), "by_seed.json")
    return run


def _complete(
    client: MlflowClient, run: str, numbers: Mapping[str, float], ending: ArmEnding
) -> None:
    """Logs what the run lacks: an ablation that is run again may know more."""
    known = client.get_run(run).data.metrics
    now = int(time.time() * 1000)
    new = [Metric(key, value, now, 0) for key, value in numbers.items() if known.get(key) != value]
    tags = [RunTag("outcome", ending.outcome), RunTag("reason", ending.reason[:500])]
    client.log_batch(run, metrics=new, tags=tags)
    client.set_terminated(run, STATUS[ending.outcome])


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
