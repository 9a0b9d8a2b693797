"""What the probes of a promoted model found: metrics, a table, a JSON file, a picture."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from mlflow import MlflowClient

from cmir.evaluation.probes.linear_probes import BySeed
from cmir.evaluation.probes.probing import GROUPS_OF, ROLES, Probes
from cmir.evaluation.probes.readouts import Readout
from cmir.evaluation.probes.swap_moves import SwapMoves
from cmir.pages import page
from cmir.promotion.report.probe_plot import probe_picture
from cmir.sweep.plot_axes import stamp

FILE, PICTURE = "probes.json", "probes.png"
# Readout -> what its metrics are called.
METRIC = {"label/id_val": "label", "label/ood_val": "label_new"}
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

    Of linear probes `label_from_<part>` (on id_val), `label_new_from_<part>` (on ood_val),
    `group_from_<part>` and, where the model was trained on such environments,
    `strength_from_<part>`, `erased_from_<part>` and `partition_from_<part>`; with ground truth
    also `causal_from_<part>` and `spurious_from_<part>` (R^2), `moved_by_causal` and
    `moved_by_spurious`, and `roles_swapped`, the share of seeds. `moved_by_<modality>` is what
    swapping a modality moves the predictions in new groups, in their deviations.
    """
    found: dict[str, Any] = {
        f"{METRIC.get(name, name)}_from_{part}": readout.linear[part]
        for name, readout in probes.readouts.items()
        for part in ROLES
    }
    for modality, moves in probes.swaps["ood_val"].items():
        found[f"moved_by_{modality}"] = moves.prediction
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
    measures = {readout.measure for readout in probes.readouts.values()}
    return page(
        "promotion/report/probes.md.j2",
        has_accuracy="accuracy" in measures,
        rows=list(_rows(probes)),
        swaps=list(_swap_rows(probes)),
        moved={} if truth is None else {kind: _shown(v) for kind, v in truth.moved.items()},
        swapped=0 if truth is None else int(truth.swapped.sum()),
        seeds=0 if truth is None else len(truth.swapped),
    )


def probe_values(probes: Probes) -> dict[str, Any]:
    """Everything, with mean, std and the value of each seed, as JSON has it."""
    truth = probes.truth
    return {
        "readouts": {name: _readout_values(one) for name, one in probes.readouts.items()},
        "swapped_modality_moves": {
            split: {modality: _move_values(moves) for modality, moves in by_modality.items()}
            for split, by_modality in probes.swaps.items()
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


def _readout_values(readout: Readout) -> dict[str, Any]:
    return {
        "asked": readout.asked,
        "measure": readout.measure,
        "chance": readout.chance,
        "linear": _summaries(readout.linear),
        "network": _summaries(readout.network),
    }


def _move_values(moves: SwapMoves) -> dict[str, Any]:
    return _summaries(
        {
            "invariant": moves.invariant,
            "spurious": moves.spurious,
            "prediction": moves.prediction,
        }
    )


def _rows(probes: Probes) -> Iterator[list[str]]:
    for readout in probes.readouts.values():
        values = [_both(readout, part) for part in ROLES]
        measure = ", accuracy" if readout.measure == "accuracy" else ""
        yield [f"{readout.asked}{measure}", *values, f"{readout.chance:.2f}"]
    truth = probes.truth
    if truth is not None:
        for target, name in TARGET.items():
            values = [_shown(truth.matrix[part][target]) for part in ROLES]
            yield [name, *values, f"{truth.inputs[target]:.2f}"]


def _swap_rows(probes: Probes) -> Iterator[list[str]]:
    for split, by_modality in probes.swaps.items():
        for modality, moves in by_modality.items():
            values = (moves.invariant, moves.spurious, moves.prediction)
            yield [f"{modality}, {GROUPS_OF[split]}", *map(_shown, values)]


def _both(readout: Readout, part: str) -> str:
    return f"{_shown(readout.linear[part])}; {np.mean(readout.network[part]):.2f}"


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
