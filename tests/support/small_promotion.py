"""A finished sweep without Ray: the study's own functions, real training, tiny sizes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from cmir.data import load_dataset
from cmir.evaluation.measures import measured
from cmir.method.training.fitting import fit
from cmir.method.training.reports import TrialResult
from cmir.promotion.promotion_plan import PromotionPlan
from cmir.promotion.trainings import LocalTrainings
from cmir.runner.paths import Paths
from cmir.runner.studies.records import Ending, TrialRecord, config_of
from cmir.runner.studies.storage import journal_storage
from cmir.runner.studies.study import open_study
from cmir.runner.tracking.sweep_tracker import connect
from cmir.space.search_space import checked_space
from cmir.space.space_file import parse_sweep
from cmir.space.space_source import SpaceSource
from tests.support.made_data.learning_data import write_learning
from tests.support.small_sweep import SMALL

# What every trial passes.
OPEN_GATES = {
    "finished_trials": 2,
    "seeds": 2,
    "champion_margin": 10.0,
    "against_plain": "none",
    "noise_loss": 1000.0,
}
CONTENT: Mapping[str, Any] = SMALL | {
    "trials": 3,
    "fixed": SMALL["fixed"] | {"model.unimodal.audio": "pool"},
}


def finished_sweep(
    folder: Path, name: str = "small", task: str = "regression", **changes: Any
) -> Path:
    """A data set at `data/<name>` and a study with its trials told; returns the data set's folder.

    `changes` replace top-level keys of the sweep file.
    """
    data_path = folder / "data" / name
    if not data_path.exists():
        write_learning(data_path, task=task)
    data = load_dataset(data_path).development()
    objective = "ood_val/accuracy" if task == "binary" else "ood_val/mae"
    content = {**CONTENT, "name": name, "objective": objective, **changes}
    file = parse_sweep(content, "small.yaml")
    facts = {
        "data_checksum": data.checksum,
        "dataset": str(data_path),
        "space_name": file.name,
        "gates": file.gates.model_dump(mode="json"),
    }
    space = checked_space(file, "small.yaml", tuple(data.modalities))
    study = open_study(
        journal_storage(Paths(folder).journal(name)), name, SpaceSource(space), facts
    )
    for _ in range(file.trials):
        asked = study.ask()
        *_, last = fit(data, asked.config)
        assert last.result is not None
        study.tell(asked.number, ending_of(measured(last.result, data, file.measured)))
    return data_path


def ending_of(result: TrialResult) -> Ending:
    return Ending(
        "finished",
        objective=result.objective,
        metrics=dict(result.metrics),
        by_seed={name: list(values) for name, values in result.by_seed.items()},
        best_epochs=list(result.best_epochs),
        seconds=result.seconds,
    )


def record(number: int, metrics: Mapping[str, float], **config: Any) -> TrialRecord:
    """A finished trial with these metrics; `config` are dotted keys with `__` for the dot."""
    flat = {key.replace("__", "."): value for key, value in config.items()}
    rate = (number + 1) / 100
    defaults = {"objective": "ood_val/mae", "seeds": [0, 1], "training.learning_rate": rate}
    ending = Ending("finished", objective=1.0, metrics=dict(metrics))
    return TrialRecord(
        number, {}, config_of(defaults | flat, f"trial {number}"), ending, None, 0.0, 1.0
    )


@cache
def _empty_store() -> bytes:
    """MLflow's own database with no run in it: making one takes seconds, copying it none."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mlflow.db")
        MlflowClient(f"sqlite:///{path}").search_experiments(max_results=1)
        return path.read_bytes()


def train_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the promotion command train in this process: Ray's start is tested with the runner."""

    def local(plan: PromotionPlan, *placement: Any, **named: Any) -> LocalTrainings:
        return LocalTrainings(plan.data)

    monkeypatch.setattr("cmir.commands.promote_command.trainings_of", local)


def open_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A tracking store and registry of its own in a folder, which becomes the current one."""
    (folder / "mlflow.db").write_bytes(_empty_store())
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    return connect()
