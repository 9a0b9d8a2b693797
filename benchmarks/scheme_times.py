"""What each scheme, penalty and form of a constraint costs: an epoch as a ratio to one of ERM.

    python benchmarks/scheme_times.py [--data FOLDER] [--pairs 7]

Epochs of ERM and of the other setting run in turn in one process, on one thread; the ratio is
taken pair by pair, so that it holds when the machine's speed drifts.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.results import Row, keep, ratios_of, show
from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.data.synthetic.generation import generate
from cmir.method.training.replica_stack import Stack

SIZES: Mapping[str, Any] = {
    "model.representation_size": 150,
    "model.hidden_size": 128,
    "training.batch_size": 48,
    "training.epochs": 1000,
    "training.patience": 1000,
}
OFF: Mapping[str, Any] = {
    "loss.invariance": 0.0,
    "loss.mutual_information": 0.0,
    "loss.reconstruction": 0.0,
}
GROUPS: Mapping[str, Any] = {"environments.partition": "kmeans", "environments.groups": 4}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "reconstruction": {"loss.reconstruction": 0.01},
    "decorrelation, between samples (as printed)": {"loss.mutual_information": 0.01},
    "decorrelation, cross-covariance": {
        "loss.mutual_information": 0.01,
        "loss.decorrelation": "cross_covariance",
    },
    "decorrelation, HSIC": {"loss.mutual_information": 0.01, "loss.decorrelation": "hsic"},
    **{
        f"view {view}, K = 4, invariance": {"environments.view": view, "loss.invariance": 0.01}
        for view in ("noise", "erase", "swap")
    },
    "view noise, K = 4, invariance of predictions": {
        "environments.view": "noise",
        "loss.invariance": 0.01,
        "loss.invariance_form": "predictions",
    },
    "view swap, K = 4, prediction over all views": {
        "environments.view": "swap",
        "loss.prediction_views": "all",
    },
    **{
        f"penalty {name}, 4 groups": {**GROUPS, "loss.penalty": name}
        for name in ("vrex", "irm", "group_dro", "coral", "fishr")
    },
    "paper: noise, K = 4, all constraints": {
        "environments.view": "noise",
        "loss.invariance": 0.01,
        "loss.mutual_information": 0.01,
        "loss.reconstruction": 0.01,
    },
}


def configured(changes: Mapping[str, Any], seeds: int) -> TrialConfig:
    """ERM at the paper's sizes with some settings changed."""
    return trial_config({**SIZES, **OFF, **changes}, seeds=tuple(range(seeds)))


def paired(data: DevelopmentData, changes: Mapping[str, Any], pairs: int, seeds: int) -> Row:
    """Median, least and largest ratio of an epoch with a setting to a plain one."""
    cpu = torch.device("cpu")
    plain, setting = (Stack(data, [configured(c, seeds)], cpu) for c in ({}, changes))
    _seconds(plain)
    _seconds(setting)
    times = [(_seconds(plain), _seconds(setting)) for _ in range(pairs)]
    return {
        **ratios_of(times),
        "plain s": median(base for base, _ in times),
        "setting s": median(other for _, other in times),
    }


def _seconds(stack: Stack) -> float:
    before = time.perf_counter()
    stack.run_epoch()
    return time.perf_counter() - before


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line, measures, prints the table and keeps it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="dataset folder; default: a generated one")
    parser.add_argument("--pairs", type=int, default=7, help="pairs of epochs")
    parser.add_argument("--seeds", type=int, default=3, help="replicas in a stack")
    parser.add_argument("--out", type=Path, help="Parquet file")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        shapes = {"text": 128, "audio": 73, "vision": 100}
        path = given.data or generate(Path(folder, "data"), modalities=shapes)
        data = load_dataset(path).development()
        rows = [
            {"setting": name, **paired(data, changes, given.pairs, given.seeds)}
            for name, changes in SETTINGS.items()
        ]
    show(f"seconds per epoch as a ratio to ERM ({given.pairs} pairs)", rows)
    print(f"kept in {keep(rows, 'scheme_times', given.out)}")


if __name__ == "__main__":
    main()
