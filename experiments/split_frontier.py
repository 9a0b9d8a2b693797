"""How real the split into two parts is on a data set, and what it costs, by its form.

    python experiments/split_frontier.py data/mosi [--seeds 5] [--only "narrow, erased"]

Every row is one configuration of `swap` (or `noise`) views with the rates of a good trial on MOSI;
probes say what Z_inv and Z_spu hold (`cmir.evaluation.probes.probing`): the label on new speakers,
who speaks among known ones, the strength of noise on both.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.results import Row, keep, show
from cmir.config import EnvironmentsConfig, TrialConfig, trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.evaluation.probes.environment_questions import Asked, strength_readout
from cmir.evaluation.probes.probing import probe
from cmir.evaluation.probes.readouts import Readout
from cmir.evaluation.probes.representations import model_of
from cmir.method.training.fitting import fit
from cmir.method.training.reports import TrialResult

BASE: Mapping[str, Any] = {
    "environments.view": "swap",
    "environments.count": 2,
    "environments.rate.text": 0.1,
    "environments.rate.audio": 0.22,
    "environments.rate.vision": 0.8,
    "loss.prediction": "mae",
    "loss.prediction_views": "all",
    "loss.invariance": 1.0,
    "loss.mutual_information": 1e-4,
    "loss.reconstruction": 1e-4,
    "model.representation_size": 100,
    "training.epochs": 30,
    "training.patience": 6,
    "training.learning_rate": 1e-3,
}
HSIC = {"loss.decorrelation": "hsic", "loss.mutual_information": 1.0, "loss.reconstruction": 1.0}
NARROW = {**HSIC, "model.invariant_size": 4}
NOISE = {
    "environments.view": "noise",
    "environments.count": 4,
    "environments.strength": 0.1,
    "loss.invariance": 0.1,
    **{f"environments.rate.{name}": 1.0 for name in ("text", "audio", "vision")},
}
ARMS: Mapping[str, Mapping[str, Any]] = {
    "no split": {},
    "as printed": {"loss.mutual_information": 0.01, "loss.reconstruction": 0.01},
    "HSIC 10": {**HSIC, "loss.mutual_information": 10.0},
    "narrow": NARROW,
    "narrow, erased": {**NARROW, "loss.label_erasure": True},
    "narrow, penalty": {
        **NARROW,
        "loss.mutual_information": 10.0,
        "loss.label_leak": 1.0,
        "model.representation_size": 64,
    },
    "noise, no split": NOISE,
    "noise, narrow, erased": {**NARROW, "loss.label_erasure": True, **NOISE},
}
# Of a model that saw no noise: a strength that moves vectors about as far as they lie apart.
ASKED_NOISE = EnvironmentsConfig(view="noise", count=4, strength=0.5)


def configured(arm: str, seeds: int) -> TrialConfig:
    """The configuration of an arm."""
    return trial_config({**BASE, **ARMS[arm]}, seeds=tuple(range(seeds)))


def row(arm: str, result: TrialResult, data: DevelopmentData) -> Row:
    """What both parts hold, `Z_inv / Z_spu`, and the errors; means over the seeds."""
    found = probe(result, data).readouts
    model, fit_on = model_of(result, data), np.arange(len(data.train))
    environments = result.config.environments
    noise = environments if environments.view == "noise" else ASKED_NOISE
    strength = strength_readout(Asked(model, data, fit_on, np.random.default_rng(0)), noise)
    asked = {"label": found["label/ood_val"], "strength": strength}
    if "group" in found:
        asked["group"] = found["group"]
    errors = np.array(result.by_seed["ood_val/mae"])
    return {
        "arm": arm,
        **{f"{name}, {kind}": _parts(one, kind) for name, one in asked.items() for kind in KINDS},
        "ood_val MAE": f"{errors.mean():.3f} ± {errors.std(ddof=1) if len(errors) > 1 else 0:.3f}",
    }


KINDS = ("linear", "network")


def _parts(readout: Readout, kind: str) -> str:
    values = getattr(readout, kind)
    return " / ".join(f"{np.mean(values[part]):.2f}" for part in ("invariant", "spurious"))


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line, trains and probes, prints the table and keeps it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="dataset folder")
    parser.add_argument("--seeds", type=int, default=5, help="of each arm (default: 5)")
    parser.add_argument("--only", nargs="+", choices=list(ARMS), help="arms (default: all)")
    parser.add_argument("--out", type=Path, help="Parquet file")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = load_dataset(given.data).development()
    rows = []
    for arm in given.only or ARMS:
        *_, last = fit(data, configured(arm, given.seeds))
        assert last.result is not None
        rows.append(row(arm, last.result, data))
        print(rows[-1], flush=True)
    show("read from Z_inv / from Z_spu", rows)
    print(f"kept in {keep(rows, 'split_frontier', given.out)}")


if __name__ == "__main__":
    main()
