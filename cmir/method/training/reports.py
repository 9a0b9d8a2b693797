"""What training says: a report after each epoch, a result at the end, or a divergence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from cmir.config import TrialConfig
from cmir.method.environments.diagnosis import Diagnosis
from cmir.method.language.pretrained.trained_backbone import TrainedBackbone, language_of

# All that a training needs to go on: plain values and tensors, by name, in mappings and lists.
State = Mapping[str, Any]


class Diverged(ArithmeticError):  # noqa: N818 - it names what happened to the trial
    """A loss term or a prediction became NaN or infinite; names epoch, term and seed."""

    def __init__(self, epoch: int, term: str, seed: int) -> None:
        """Epoch counts from 1; term is a loss term, or `evaluation`."""
        super().__init__(f"'{term}' became non-finite in epoch {epoch} for seed {seed}")
        self.epoch, self.term, self.seed = epoch, term, seed

    def __reduce__(self) -> tuple[type[Diverged], tuple[int, str, int]]:
        """Survives the way from a worker process to the driver."""
        return type(self), (self.epoch, self.term, self.seed)


@dataclass(frozen=True, eq=False)
class TrialResult:
    """A finished trial: every number of a seed comes from that seed's one best epoch.

    Attributes:
        config: what was trained.
        objective: mean of the objective over the seeds.
        metrics: `split/metric` and `split/metric_std` over the seeds, train split included.
        by_seed: `split/metric` to one value per seed, in the order of `config.seeds`.
        best_epochs: the epoch kept for each seed, counted from 1.
        weights: `(seed, weights)` on the CPU, in the order of the network's layout.
        seconds: wall time since the training began.
        backbones: of each seed the trained weights of its language models (all, top layers or
            adapters), by `modality.name`, on the CPU; empty where none was trained.
        bases: SHA-256 of the pretrained weights of each modality's language model, to which
            `backbones` belong.
        cache: folder that keeps what the frozen layers of language models make of texts.
        diagnosis: of the partition that it was trained with; None without one.
    """

    config: TrialConfig
    objective: float
    metrics: Mapping[str, float]
    by_seed: Mapping[str, tuple[float, ...]]
    best_epochs: tuple[int, ...]
    weights: Tensor
    seconds: float
    backbones: tuple[Mapping[str, Tensor], ...] = ()
    bases: Mapping[str, str] = field(default_factory=dict)
    cache: Path | None = None
    diagnosis: Diagnosis | None = None

    @cached_property
    def language(self) -> Mapping[str, TrainedBackbone]:
        """Its language models by modality, as the training left them.

        Raises:
            InputError: their pretrained weights are gone, or others.
        """
        return language_of(self.config, self.backbones, self.bases, self.cache)

    def state(self) -> dict[str, Any]:
        """What `of_state` makes it from again."""
        return {
            "objective": float(self.objective),
            "metrics": {name: float(value) for name, value in self.metrics.items()},
            "by_seed": {name: list(map(float, found)) for name, found in self.by_seed.items()},
            "best_epochs": list(map(int, self.best_epochs)),
            "weights": self.weights,
            "seconds": self.seconds,
            "backbones": [dict(one) for one in self.backbones],
        }

    @classmethod
    def of_state(
        cls, state: State, config: TrialConfig, diagnosis: Diagnosis | None
    ) -> TrialResult:
        """The result of a configuration whose state was kept; it owns its tensors."""
        backbones = [{k: v.clone() for k, v in one.items()} for one in state["backbones"]]
        own = {
            "by_seed": {name: tuple(found) for name, found in state["by_seed"].items()},
            "best_epochs": tuple(state["best_epochs"]),
            "weights": state["weights"].clone(),
            "backbones": tuple(backbones),
        }
        return cls(**{**state, **own, "config": config, "diagnosis": diagnosis})


@dataclass(frozen=True, eq=False)
class EpochReport:
    """After each epoch.

    Attributes:
        epoch: counted from 1.
        objective: mean over the seeds of the best value so far: what early stopping across
            trials compares.
        metrics: means over the seeds of `train/loss_<term>` (unweighted) and of the validation
            metrics with their `_std`; a seed that has stopped counts with its last epoch.
        result: the finished trial, on the last report only.
        seconds: that the epoch took; what came before the first is not among them.
        state: gives what `fit` goes on from after this epoch, as if it had not been interrupted;
            None with the result. It may share memory with the training: to be written before the
            next report is asked for.
    """

    epoch: int
    objective: float
    metrics: Mapping[str, float]
    result: TrialResult | None = None
    seconds: float = 0.0
    state: Callable[[], State] | None = None
