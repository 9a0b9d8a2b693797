"""The record of an ended trial: configuration, outcome, scores, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from cmir.config import TrialConfig, trial_config

Outcome = Literal["finished", "pruned", "diverged", "failed"]
# Keys of older records, whose values mean the same under their new names.
RENAMED: Mapping[str, str] = {
    "loss.risk_variance": "loss.penalty_weight",
    "loss.anneal_epochs": "loss.penalty_anneal_epochs",
}
OUTCOMES: tuple[Outcome, ...] = ("finished", "pruned", "diverged", "failed")


@dataclass(frozen=True)
class Ending:
    """How a trial ended, as the worker and the scheduler know it.

    Attributes:
        outcome: finished; pruned by ASHA; diverged (a non-finite loss); failed (an exception).
        objective: mean over seeds of the best value, in the metric's units; None if diverged or
            failed.
        metrics: `split/metric` and `_std`; of each seed's best epoch if finished, of the last
            epoch if pruned.
        by_seed: `split/metric` to one value per seed; empty unless finished.
        best_epochs: of each seed; empty unless finished.
        curve: metric to its value after epoch 1, 2, ...
        times: seconds from `began` to the end of epoch 1, 2, ...; empty of an older record.
        began: when its worker began with it, seconds since the epoch; 0 of an older record.
        seconds: time spent in training.
        partition: the diagnosis of its partition as plain values; empty without one, and where
            the trial ended before its first epoch did.
        reason: why it diverged or failed.
        traceback: of the exception by which it failed.
        is_final: whether a failure was tried again already, under the same number.
    """

    outcome: Outcome
    objective: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    by_seed: Mapping[str, Sequence[float]] = field(default_factory=dict)
    best_epochs: Sequence[int] = ()
    curve: Mapping[str, Sequence[float]] = field(default_factory=dict)
    seconds: float = 0.0
    reason: str = ""
    partition: Mapping[str, Any] = field(default_factory=dict)
    traceback: str = ""
    is_final: bool = False
    times: Sequence[float] = ()
    began: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The fields as plain values; the last three only where they are said."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("is_final", "times", "began"):
            if not values[name]:
                del values[name]
        return {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}


@dataclass(frozen=True)
class TrialRecord:
    """One ended trial.

    Attributes:
        number: of the trial in its study.
        params: dotted key to suggested value, active dimensions only.
        config: the whole configuration.
        ending: how it ended.
        retry_of: number of the failed trial that this one repeats.
        started: time of the start, seconds since the epoch.
        ended: time of the end, likewise.
        label: what the job is called, where it comes from a list, and
        job: what it is known by.
    """

    number: int
    params: Mapping[str, Any]
    config: TrialConfig
    ending: Ending
    retry_of: int | None
    started: float
    ended: float
    label: str = ""
    job: str = ""

    @property
    def outcome(self) -> Outcome:
        """How it ended."""
        return self.ending.outcome

    @property
    def objective(self) -> float | None:
        """Mean of the objective over the seeds, None if diverged or failed."""
        return self.ending.objective

    @property
    def scheme(self) -> str:
        """View and partition in one word, e.g. `swap`, `none + kmeans`."""
        return scheme_of(self.config)

    @property
    def name(self) -> str:
        """What it is called: the label that it was given, else its scheme."""
        return self.label or self.scheme

    def trial(self, seeds: Sequence[int]) -> TrialConfig:
        """The configuration with other seeds."""
        return self.config.model_copy(update={"seeds": tuple(seeds)})


def scheme_of(config: TrialConfig) -> str:
    """View and partition of a configuration in one word, e.g. `swap`, `none + kmeans`."""
    view, partition = config.environments.view, config.environments.partition
    return view if partition == "none" else f"{view} + {partition}"


def config_of(flat: Mapping[str, Any], where: str) -> TrialConfig:
    """The configuration that a study keeps, also where an older version of the code wrote it.

    Raises:
        InputError: it is none; `where` starts the message.
    """
    settings = {
        RENAMED.get(key, key): value
        for key, value in flat.items()
        if key not in ("objective", "seeds")
    }
    objective, seeds = flat["objective"], tuple(flat["seeds"])
    return trial_config(settings, where, objective=objective, seeds=seeds)
