"""What the two parts of a representation hold, by form and weight of the decorrelation.

    python experiments/split_forms.py [--seeds 3]

On data whose truth is known, `vision` carrying the spurious latents, a model that swaps vision
between samples is trained with each form of `loss.decorrelation`; linear probes then say what
Z_inv and Z_spu hold of the latents (`cmir.evaluation.probes.ground_truth`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.results import Row, keep, show
from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.evaluation.probes.probing import probe
from cmir.method.training.reports import TrialResult
from experiments.synthetic_arms import BASE
from experiments.synthetic_schemes import CORRELATIONS, trained, write_data

SWAP: Mapping[str, Any] = {
    "environments.view": "swap",
    "environments.count": 2,
    "environments.rate.text": 0.0,
    "environments.rate.audio": 0.0,
    "environments.rate.vision": 1.0,
    "loss.prediction_views": "all",
    "loss.invariance": 3.0,
    "training.learning_rate": 2e-3,
}
# Form -> weights of the decorrelation and of the reconstruction.
GRID: Mapping[str, Sequence[tuple[float, float]]] = {
    "samples": ((0.0, 0.0), (1.0, 1.0), (100.0, 1.0)),
    "cross_covariance": ((1.0, 1.0), (10.0, 1.0), (100.0, 1.0), (100.0, 10.0)),
    "hsic": ((1.0, 1.0), (10.0, 1.0), (100.0, 1.0), (100.0, 10.0)),
}
TARGETS = ("cause", "causal", "cue", "spurious")


def configured(form: str, weights: tuple[float, float], seeds: int) -> TrialConfig:
    """The swapping model with one form and weights of the split's constraints."""
    own = {
        "loss.decorrelation": form,
        "loss.mutual_information": weights[0],
        "loss.reconstruction": weights[1],
    }
    flat = {**BASE, **SWAP, **own}
    return trial_config(flat, objective="ood_val/mae", seeds=tuple(range(seeds)))


def row(form: str, weights: tuple[float, float], result: TrialResult, data: DevelopmentData) -> Row:
    """R^2 of every target from both parts, and what moves the predictions; means over seeds."""
    truth = probe(result, data, seed=0).truth
    assert truth is not None
    held = {
        f"{target} {place}": float(np.mean(truth.matrix[part][target]))
        for target in TARGETS
        for part, place in (("invariant", "inv"), ("spurious", "spu"))
    }
    moved = {f"moved by {kind}": float(np.mean(by)) for kind, by in truth.moved.items()}
    accuracy = result.metrics["ood_val/acc2_non0"]
    return {"form": form, "weights": f"{weights[0]:g}, {weights[1]:g}", **held, **moved} | {
        "ood_val acc2": accuracy
    }


def shown(row: Row) -> Row:
    """A row with both parts of a target in one cell, so that it fits a terminal."""
    held = {name: f"{row[f'{name} inv']:.2f} / {row[f'{name} spu']:.2f}" for name in TARGETS}
    rest = {key: row[key] for key in ("moved by causal", "moved by spurious", "ood_val acc2")}
    return {"form": row["form"], "weights": row["weights"], **held, **rest}


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line, trains and probes, prints the table and keeps it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=3, help="of each configuration")
    parser.add_argument("--out", type=Path, help="Parquet file")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = write_data(Path(folder, "data"), 0, "vision", CORRELATIONS)
        data = load_dataset(path).development()
        for form, grid in GRID.items():
            ended = trained(data, [configured(form, weights, given.seeds) for weights in grid])
            rows += [row(form, grid[index], result, data) for index, result in ended.items()]
    title = "R^2 from Z_inv / from Z_spu; weights of decorrelation and reconstruction"
    show(title, [shown(row) for row in rows])
    print(f"kept in {keep(rows, 'split_forms', given.out)}")


if __name__ == "__main__":
    main()
