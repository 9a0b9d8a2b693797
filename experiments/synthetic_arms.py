"""The environment schemes that `synthetic_schemes.py` compares, and what is searched for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cmir.config import TrialConfig, trial_config

Log = tuple[float, float]

BASE: Mapping[str, Any] = {
    "model.representation_size": 32,
    "model.hidden_size": 64,
    "training.batch_size": 100,
    "training.epochs": 15,
    "training.patience": 15,
    "loss.invariance": 0.0,
    "loss.mutual_information": 0.0,
    "loss.reconstruction": 0.0,
}
MODALITIES = ("text", "audio", "vision")
EVERYWHERE: Mapping[str, Log] = {"training.learning_rate": (3e-4, 3e-3)}
CONSTRAINTS: Mapping[str, Log] = {
    "loss.invariance": (1e-3, 1.0),
    "loss.mutual_information": (1e-4, 0.1),
    "loss.reconstruction": (1e-4, 0.1),
}
STRONG: Log = (3.0, 3000.0)


@dataclass(frozen=True)
class Arm:
    """A scheme: what is fixed, what is drawn on a log scale, which rates are drawn in [0, 1].

    `linked` is False for the ceiling, which is trained where the spurious link is cut.
    """

    fixed: Mapping[str, Any] = field(default_factory=dict)
    search: Mapping[str, Log] = field(default_factory=dict)
    rates: bool = False
    linked: bool = True

    def draw(self, count: int, seed: int) -> list[dict[str, Any]]:
        """So many configurations, which differ only in what may vary within one stack."""
        rng = np.random.default_rng(seed)
        drawn = []
        for _ in range(count):
            values = dict(BASE) | dict(self.fixed)
            for key, (low, high) in {**EVERYWHERE, **self.search}.items():
                values[key] = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            if self.rates:
                rates = rng.uniform(size=len(MODALITIES))
                named = zip(MODALITIES, rates.tolist(), strict=True)
                values |= {f"environments.rate.{name}": rate for name, rate in named}
            drawn.append(values)
        return drawn


def configured(
    values: Mapping[str, Any], seeds: tuple[int, ...], metric: str = "acc2_non0"
) -> TrialConfig:
    """A drawn configuration as a trial."""
    return trial_config(values, objective=f"ood_val/{metric}", seeds=seeds)


def _view(view: str, **search: Log) -> Arm:
    fixed = {"environments.view": view, "environments.count": 3, "loss.prediction_views": "all"}
    return Arm(fixed, {"loss.invariance": (1e-3, 1.0), **search}, rates=view != "noise")


def _groups(partition: str, penalty: str = "vrex", search: Log = STRONG) -> Arm:
    fixed: dict[str, Any] = {"environments.partition": partition, "loss.penalty": penalty}
    if partition in ("random", "kmeans", "label_kmeans"):
        fixed["environments.groups"] = 3
    if penalty == "group_dro":
        return Arm(fixed, {"loss.group_dro_step": (1e-3, 1e-1)})
    return Arm(fixed, {"loss.penalty_weight": search})


ARMS: Mapping[str, Arm] = {
    "ERM": Arm(),
    "paper: noise, all constraints": Arm(
        {"environments.view": "noise", "environments.count": 4},
        {"environments.strength": (1e-3, 1.0), **CONSTRAINTS},
    ),
    "noise": _view("noise", **{"environments.strength": (1e-2, 1.0)}),
    "erase": _view("erase"),
    "swap": _view("swap"),
    "random groups, V-REx": _groups("random"),
    "k-means, V-REx": _groups("kmeans"),
    "label-conditional k-means, V-REx": _groups("label_kmeans"),
    "error, V-REx": _groups("error"),
    "EIIL, V-REx": _groups("eiil"),
    "EIIL, IRM": _groups("eiil", "irm"),
    "true environments, V-REx": _groups("oracle"),
    "true environments, IRM": _groups("oracle", "irm", (0.1, 100.0)),
    "true environments, GroupDRO": _groups("oracle", "group_dro"),
    "true environments, CORAL": _groups("oracle", "coral"),
    "true environments, Fishr": _groups("oracle", "fishr"),
    "ceiling: link cut in training": Arm(linked=False),
}
