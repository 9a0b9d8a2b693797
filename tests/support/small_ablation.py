"""An ablation whose arms are trained here, without Ray: what is kept already is not run again."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from cmir.ablation.ablation_plan import AblationPlan, AblationRequest, plan_ablation
from cmir.ablation.run_ablation import AblationOutcome, Watch, ablate
from cmir.runner.paths import Paths
from cmir.runner.tracking.sweep_tracker import connect
from tests.support.local_runner import LocalRunner
from tests.support.small_promotion import finished_sweep
from tests.support.small_sweep import SMALL

FAMILIES = ("constraints", "random")
FIXED = {
    "model.unimodal.audio": "pool",
    "loss.prediction_views": "all",
    "environments.view": "swap",
    "environments.count": 2,
}
SPACE: dict[str, Any] = {
    "fixed": SMALL["fixed"] | FIXED,
    "search": {"training.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}},
    "start_from": [],
    "trials": 2,
    "seeds": 2,
}


def request_of(folder: Path, **changes: Any) -> AblationRequest:
    request = AblationRequest(folder / "small.yaml", seeds=2, families=FAMILIES)
    return replace(request, **changes)


def swept(
    folder: Path, task: str = "regression", metric: str = "mae", **changes: Any
) -> AblationPlan:
    """A finished sweep in `folder` with its file beside it, and the plan of its ablation."""
    goal = {"objective": f"ood_val/{metric}"}
    finished_sweep(folder, task=task, **SPACE, **goal)
    content = SMALL | SPACE | goal
    (folder / "small.yaml").write_text(yaml.safe_dump(content))
    return plan_ablation(request_of(folder, **changes), Paths(folder))


def ablated(
    plan: AblationPlan, folder: Path, broken: Collection[str] = (), **changes: Any
) -> AblationOutcome:
    """The ablation of a plan; the arms named `broken` diverge."""
    runner = LocalRunner(Paths(folder))
    object.__setattr__(runner, "broken", broken)
    return ablate(plan, request_of(folder, **changes), connect(), runner, Watch())
