"""The page of a space's experiment in MLflow: what is searched, and a view of its best trials."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from cmir.metrics.metric_directions import OF_ENDED_TRIALS
from cmir.pages import page
from cmir.runner.tracking.sweep_tracker import SweepTracker
from cmir.space.space_file import SweepFile
from cmir.sweep.leaderboard import is_lower_better
from cmir.sweep.preparation import PreparedSweep

# MLflow's pages find a shared view by this tag of the experiment and by its name in the address.
VIEW, NAME = "mlflow.sharedViewState.", "trials"
# More parameters do not fit beside the scores.
MOST_PARAMETERS = 8


def introduce(tracker: SweepTracker, prepared: PreparedSweep) -> None:
    """Writes the experiment's description and its view of trials."""
    file, data = prepared.file, prepared.data
    text = page(
        "sweep/experiment_page.md.j2",
        file=file,
        data=data.name,
        sizes={name: len(split.rows) for name, split in data.splits.items()},
        is_synthetic=prepared.is_synthetic,
        experiment=tracker.experiment,
        trials=view_path(tracker.experiment),
    )
    tracker.describe_experiment(text, {VIEW + NAME: json.dumps(trials_view(file))})


def view_path(experiment: str) -> str:
    """Where MLflow's pages show the trials, below the address of a server.

    Example:
        >>> view_path("7")
        '#/experiments/7/runs?viewStateShareKey=trials'
    """
    return f"#/experiments/{experiment}/runs?viewStateShareKey={NAME}"


def trials_view(file: SweepFile) -> Mapping[str, Any]:
    """Trials only, the best on top; outcome, scheme, scores, and what is searched as columns.

    Trials that train and pruned ones have no `best/objective`, so they stand below; `objective` is
    the best so far of each.
    """
    split, _, metric = file.first_objective.partition("/")
    inside = "" if split == "id_val" else f"metrics.`best/id_val/{metric}`"
    columns = ["tags.`outcome`", "tags.`scheme`", "metrics.`best/objective`"]
    columns += ["metrics.`objective`", f"metrics.`{file.first_objective}_std`"]
    columns += [*(f"metrics.`{_kept(name)}`" for name in file.objectives[1:]), inside]
    columns += [f"params.`{key}`" for key in list(file.search)[:MOST_PARAMETERS]]
    columns = list(dict.fromkeys(column for column in columns if column))
    return {
        "searchFilter": "tags.kind = 'trial'",
        "orderByKey": "metrics.`best/objective`",
        "orderByAsc": is_lower_better(file.first_objective),
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": columns,
    }


def _kept(objective: str) -> str:
    """The name under which a finished trial's value is logged: what has no curve needs no other."""
    return objective if objective in OF_ENDED_TRIALS else f"best/{objective}"
