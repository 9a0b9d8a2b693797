"""What `step.py` times: sizes of a stack and of its network, and the configurations they mean."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from cmir.config import Precision, TrialConfig, trial_config


@dataclass(frozen=True)
class Case:
    """One line of the table: what is trained as one stack, and how."""

    configurations: int
    seeds: int
    representation_size: int
    hidden_size: int
    batch: int
    view: str
    views: int
    prediction_views: str
    precision: Precision

    @property
    def replicas(self) -> int:
        """Networks in the stack."""
        return self.configurations * self.seeds

    def trials(self) -> list[TrialConfig]:
        """The configurations: all constraints count, each with weights and a rate of its own."""
        return [
            self._trial(1 + index / self.configurations) for index in range(self.configurations)
        ]

    def _trial(self, factor: float) -> TrialConfig:
        perturbed = {} if self.view == "none" else {"environments.count": self.views}
        settings = {
            "environments.view": self.view,
            "loss.prediction_views": self.prediction_views,
            "loss.invariance": 0.01 * factor,
            "loss.reconstruction": 0.02 * factor,
            "model.representation_size": self.representation_size,
            "model.hidden_size": self.hidden_size,
            "training.precision": self.precision,
            "training.batch_size": self.batch,
            "training.learning_rate": 2e-4 * factor,
        }
        return trial_config(settings | perturbed, seeds=tuple(range(self.seeds)))


def larger(case: Case, most: int) -> Iterator[Case]:
    """One replica, then all seeds of 1, 2, 4, ... configurations."""
    sizes, configurations = [(1, 1)], 1
    while configurations * case.seeds <= most:
        sizes.append((configurations, case.seeds))
        configurations *= 2
    for count, seeds in dict.fromkeys(sizes):
        yield replace(case, configurations=count, seeds=seeds)
