"""What training says: a report after each epoch, a result at the end, or a divergence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from torch import Tensor

from cmir.config import TrialConfig
from cmir.method.environments.diagnosis import Diagnosis
from cmir.method.language.pretrained.trained_backbone import TrainedBackbone, language_of


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
    """

    epoch: int
    objective: float
    metrics: Mapping[str, float]
    result: TrialResult | None = None
