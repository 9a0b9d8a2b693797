"""What the probes of a promoted model found: metrics, a table, a JSON file, a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from mlflow import MlflowClient

from cmir.evaluation.probes.linear_probes import BySeed
from cmir.evaluation.probes.probing import ROLES, Probes
from cmir.pages import page
from cmir.promotion.report.probe_plot import probe_picture
from cmir.sweep.plot_axes import stamp

FILE, PICTURE = "probes.json", "probes.png"
SPLIT = {"id_val": "known groups", "ood_val": "new groups"}
TARGET = {
    "causal": "what causes the label",
    "spurious": "what is spurious",
    "environment": "environment",
}


def log_probes(client: MlflowClient, run: str, probes: Probes, of: str) -> None:
    """Logs all values by seed as `probes.json`, and `probes.png`, which says what it is of."""
    client.log_dict(run, probe_values(probes), FILE)
    figure = probe_picture(probes)
    stamp(figure, of)
    client.log_figure(run, figure, PICTURE)


def probe_metrics(probes: Probes) -> dict[str, float]:
    """The few values that a run's table shows, `probe/...`, as means over the seeds.

    `label_from_<part>` (on id_val) and `strength_from_<part>` for any data; with ground truth
    also `causal_from_<part>` and `spurious_from_<part>` (R^2), `moved_by_causal` and
    `moved_by_spurious`, and `roles_swapped`, the share of seeds.
    """
    found: dict[str, Any] = {}
    for part in ROLES:
        found[f"label_from_{part}"] = probes.label.score["id_val"][part]
        found[f"strength_from_{part}"] = probes.strength.r2[part]
    if probes.truth is not None:
        for part in ROLES:
            for target in ("causal", "spurious"):
                found[f"{target}_from_{part}"] = probes.truth.matrix[part][target]
        found |= {f"moved_by_{kind}": value for kind, value in probes.truth.moved.items()}
        found["roles_swapped"] = probes.truth.swapped
    return {f"probe/{name}": float(np.mean(values)) for name, values in found.items()}


def probe_text(probes: Probes) -> str:
    """A short table in Markdown, and in words what is alarming."""
    truth = probes.truth
    return page(
        "promotion/report/probes.md.j2",
        is_binary=probes.label.measure == "accuracy",
        rows=_rows(probes),
        moved={} if truth is None else {kind: _shown(v) for kind, v in truth.moved.items()},
        swapped=0 if truth is None else int(truth.swapped.sum()),
        seeds=0 if truth is None else len(truth.swapped),
    )


def probe_values(probes: Probes) -> dict[str, Any]:
    """Everything, with mean, std and the value of each seed, as JSON has it."""
    truth = probes.truth
    return {
        "label": {
            "measure": probes.label.measure,
            "chance": dict(probes.label.chance),
            **{split: _summaries(values) for split, values in probes.label.score.items()},
        },
        "noise_strength": {
            "levels": list(probes.strength.levels),
            "mse": _summaries(probes.strength.mse),
            "r2": _summaries(probes.strength.r2),
        },
        "ground_truth": None
        if truth is None
        else {
            "r2": {part: _summaries(values) for part, values in truth.matrix.items()},
            "r2_from_inputs": {name: _finite(value) for name, value in truth.inputs.items()},
            "predictions_moved_by": _summaries(truth.moved),
            "roles_swapped": truth.swapped.tolist(),
        },
    }


def _rows(probes: Probes) -> list[list[str]]:
    label, strength, truth = probes.label, probes.strength, probes.truth
    rows = [
        [f"label, {SPLIT[name]}", *_pair(score), f"{label.chance[name]:.2f}"]
        for name, score in label.score.items()
    ]
    rows.append(["strength of added noise", *_pair(strength.r2), "0.00"])
    if truth is not None:
        rows += [
            [
                name,
                *_pair({part: truth.matrix[part][target] for part in ROLES}),
                f"{truth.inputs[target]:.2f}",
            ]
            for target, name in TARGET.items()
        ]
    return rows


def _pair(values: Mapping[str, BySeed]) -> list[str]:
    return [_shown(values[part]) for part in ROLES]


def _shown(values: BySeed) -> str:
    return f"{np.mean(values):.2f} ± {_spread(values):.2f}"


def _summaries(values: Mapping[Any, BySeed]) -> dict[str, dict[str, Any]]:
    return {
        str(name): {
            "mean": _finite(float(np.mean(seeds))),
            "std": _finite(_spread(seeds)),
            "by_seed": [_finite(float(value)) for value in seeds],
        }
        for name, seeds in values.items()
    }


def _spread(values: BySeed) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    return value if math.isfinite(value) else None
