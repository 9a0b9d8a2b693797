"""An ablation whose arms are trained here, without Ray: what is kept already is not run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cmir.ablation.ablation_plan import AblationPlan, AblationRequest, plan_ablation
from cmir.ablation.arm import distinct
from cmir.ablation.arm_store import ArmStore
from cmir.ablation.arm_training import ArmTask, train_arm
from cmir.ablation.arms import arms
from cmir.ablation.run_ablation import AblationOutcome, Watch, ablate, folder_of
from cmir.runner.paths import Places
from cmir.runner.tracking.sweep_tracker import connect
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
    request = AblationRequest(folder / "small.yaml", seeds=2, families=FAMILIES, concurrency=2)
    return replace(request, **changes)


def swept(folder: Path, task: str = "regression", **changes: Any) -> AblationPlan:
    """A finished sweep in `folder` with its file beside it, and the plan of its ablation."""
    import yaml

    finished_sweep(folder, task=task, **SPACE)
    objective = "ood_val/accuracy" if task == "binary" else "ood_val/mae"
    content = SMALL | SPACE | {"objective": objective}
    (folder / "small.yaml").write_text(yaml.safe_dump(content))
    return plan_ablation(request_of(folder, **changes), Places(folder))


def train_here(plan: AblationPlan, folder: Path, skip: Sequence[str] = ()) -> ArmStore:
    """Trains all arms of the plan, but those named, in this process."""
    store = ArmStore(folder_of(plan, Places(folder)), plan.data.checksum)
    rows = arms(plan.full, plan.data, families=plan.families)
    for arm in distinct(rows).values():
        if arm.name not in skip:
            cache = str(Places(folder).partitions)
            task = ArmTask(arm.config.model_dump_json(), str(plan.data.path), cache, store, {})
            train_arm(task, "cpu")
    return store


def ablated(plan: AblationPlan, folder: Path, **changes: Any) -> AblationOutcome:
    """The ablation of a plan whose arms are all kept."""
    return ablate(plan, request_of(folder, **changes), Places(folder), connect(), Watch())
