"""Made-up trial records: what a sweep leaves behind, without running one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cmir.config import trial_config
from cmir.extensions import VIEWS
from cmir.runner.studies.records import Ending, Outcome, TrialRecord


def record(
    number: int,
    objective: float | None = 1.0,
    outcome: Outcome = "finished",
    *,
    params: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    scheme: str = "none",
) -> TrialRecord:
    """One trial; its scheme is a view, or else a partition."""
    ending = Ending(
        outcome,
        objective,
        metrics or {},
        best_epochs=(2, 3, 7) if outcome == "finished" else (),
        seconds=1.5,
    )
    part = "view" if scheme in ("none", *VIEWS) else "partition"
    config = trial_config({f"environments.{part}": scheme})
    return TrialRecord(number, params or {}, config, ending, None, 0.0, 1.5)


def scored(number: int, inside: float, outside: float, metric: str = "mae") -> TrialRecord:
    """A finished trial with a metric on both validation splits, the second the objective."""
    metrics = {f"id_val/{metric}": inside, f"ood_val/{metric}": outside}
    return record(number, outside, metrics=metrics)


def random_sweep(trials: int, seed: int = 0, objective: str = "ood_val/mae") -> list[TrialRecord]:
    """Trials of every outcome, whose objective follows `loss.invariance` and nothing else.

    It is best at 1e-2. `environments.count` is searched only where the view is not `none`.
    """
    generator = np.random.default_rng(seed)
    return [_random_trial(number, generator, objective) for number in range(trials)]


def _random_trial(number: int, generator: np.random.Generator, objective: str) -> TrialRecord:
    view = str(generator.choice(["none", "noise", "swap"]))
    params: dict[str, Any] = {
        "environments.view": view,
        "loss.invariance": float(10 ** generator.uniform(-4, 0)),
        "training.learning_rate": float(10 ** generator.uniform(-4, -2)),
        "model.hidden_size": int(generator.choice([48, 128, 256])),
        "loss.prediction_views": str(generator.choice(["clean", "all"])),
    }
    if view != "none":
        params["environments.count"] = int(generator.integers(1, 9))
    value = 0.8 + 0.1 * abs(np.log10(params["loss.invariance"]) + 2) + generator.normal(0, 0.005)
    outcome: Outcome = "finished" if value < 0.9 else "pruned"
    outcome = "diverged" if number % 17 == 16 else "failed" if number % 19 == 18 else outcome
    if outcome in ("diverged", "failed"):
        return record(number, None, outcome, params=params, scheme=view)
    metric = objective.partition("/")[2]
    metrics = {f"id_val/{metric}": value - 0.2, f"ood_val/{metric}": value}
    metrics |= {f"{key}_std": 0.01 for key in list(metrics)}
    return record(number, float(value), outcome, params=params, metrics=metrics, scheme=view)
