"""The trainings that a promotion needs: handed to the runner, each done once, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.method.training.fitting import fit
from cmir.method.training.reports import Diverged, EpochReport, TrialResult
from cmir.runner.job_list import JobList
from cmir.runner.provenance import code_checksum
from cmir.runner.runner import Display, Jobs, Runner, TrackedRun, silent
from cmir.runner.studies.records import TrialRecord
from cmir.runner.weights import load_result


@dataclass(frozen=True, eq=False)
class Training:
    """How a training ended.

    Attributes:
        result: None where it has none.
        fault: why there is none.
    """

    result: TrialResult | None
    fault: str = ""


class Trainings(Protocol):
    """Trains configurations on the data of a promotion."""

    def train(self, wanted: Mapping[str, TrialConfig]) -> dict[str, Training]:
        """Name of a training to its end; what was trained before is not again."""


@dataclass(frozen=True)
class RunnerTrainings:
    """Trainings as jobs of the runner.

    Attributes:
        runner: that trains them.
        name: of the study that keeps them.
        data: to train on.
        tracked: how they appear in MLflow; None: not at all.
        display: told of what happens.
    """

    runner: Runner
    name: str
    data: DevelopmentData
    tracked: TrackedRun | None = None
    display: Display = silent

    def train(self, wanted: Mapping[str, TrialConfig]) -> dict[str, Training]:
        """Trains what this version of the code has not trained yet.

        Raises:
            InputError: another process trains for the same promotion.
            KeyboardInterrupt: what ended is kept.
        """
        if not wanted:
            return {}
        labels = {config.fingerprint: name for name, config in wanted.items()}
        source = JobList(
            list(wanted.values()), labels, self.data.checksum, code_checksum(), self.name
        )
        epochs = max(config.training.epochs for config in wanted.values())
        jobs = Jobs(self.name, self.data, source, epochs, tracked=self.tracked, threads=1)
        found = self.runner.run(jobs, self.display)
        records = source.own(found)
        return {name: self._training(records[c.fingerprint]) for name, c in wanted.items()}

    def _training(self, record: TrialRecord) -> Training:
        if record.outcome != "finished":
            return Training(None, record.ending.reason)
        paths = self.runner.paths
        path = paths.weights_of(self.name, record.number)
        return Training(load_result(record, path, paths.language))


@dataclass(frozen=True)
class LocalTrainings:
    """Trainings in this process, one after the other, for what is too small for the runner."""

    data: DevelopmentData
    device: str = "cpu"
    on_epoch: Callable[[str, EpochReport], None] = lambda name, report: None
    known: dict[str, Training] = field(default_factory=dict)

    def train(self, wanted: Mapping[str, TrialConfig]) -> dict[str, Training]:
        """Trains what it has not trained yet."""
        for name, config in wanted.items():
            if config.fingerprint not in self.known:
                self.known[config.fingerprint] = self._train(name, config)
        return {name: self.known[config.fingerprint] for name, config in wanted.items()}

    def _train(self, name: str, config: TrialConfig) -> Training:
        try:
            for report in fit(self.data, config, self.device):
                self.on_epoch(name, report)
        except (Diverged, InputError) as fault:
            return Training(None, str(fault))
        return Training(report.result)
