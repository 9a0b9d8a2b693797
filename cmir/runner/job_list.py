"""A list of configurations as the source of a study's trials: each is trained once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, Trial, TrialState

from cmir.config import TrialConfig
from cmir.runner.studies.records import TrialRecord, config_of
from cmir.runner.studies.trial_serialisation import CONFIG, JOB, LABEL


@dataclass(frozen=True)
class JobList:
    """Configurations that are trained as they are, in this order, equal ones once.

    Attributes:
        configs: of any kind; seeds are part of a configuration.
        labels: fingerprint of a configuration to what it is called.
        data: names the data, and
        code: the code that trains: what other data or code has given is trained again.
        where: what the message of an error starts with.
    """

    configs: Sequence[TrialConfig]
    labels: Mapping[str, str] = field(default_factory=dict)
    data: str = ""
    code: str = ""
    where: str = "jobs"

    @property
    def objectives(self) -> tuple[str, ...]:
        """That of the first: it gives the study its direction."""
        return (self.configs[0].objective,)

    @property
    def question(self) -> Mapping[str, Any]:
        """Nothing binds a list: every job stands for itself."""
        return {}

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    @property
    def wanted(self) -> dict[str, TrialConfig]:
        """The jobs by their key, each once."""
        return {self.key(config): config for config in self.configs}

    def key(self, config: TrialConfig) -> str:
        """What a job is known by when the command runs again."""
        return f"{config.fingerprint} {self.data[:12]} {self.code}".strip()

    def own(self, records: Iterable[TrialRecord]) -> dict[str, TrialRecord]:
        """Of a study's records the newest of each job, by the fingerprint of its configuration."""
        wanted = self.wanted
        return {one.config.fingerprint: one for one in records if one.job in wanted}

    def begin(self, study: optuna.Study) -> None:
        """Nothing: see `resume`."""

    def resume(self, study: optuna.Study) -> None:
        """Asks for what is wanted and neither settled nor asked for already."""
        trials = study.get_trials(deepcopy=False)
        known = {t.user_attrs.get(JOB) for t in trials if t.state != TrialState.FAIL}
        for key, config in self.wanted.items():
            if key not in known:
                label = self.labels.get(config.fingerprint, "")
                attributes = {CONFIG: config.flat(), JOB: key, LABEL: label}
                study.enqueue_trial({}, user_attrs=attributes)

    @property
    def total(self) -> int:
        """Number of jobs."""
        return len(self.wanted)

    def missing(self, study: optuna.Study, counted: int) -> int:
        """Number of jobs that have not ended; those that have failed for good count as ended.

        They are tried again when the study is opened the next time.
        """
        trials = study.get_trials(deepcopy=False)
        asked = {key for key in self.wanted if not any(_waits_for(key, trial) for trial in trials)}
        return len(self.wanted) - len(asked & {trial.user_attrs.get(JOB) for trial in trials})

    def sampler(self, drawn: int) -> BaseSampler:
        """Optuna wants one; there is nothing to sample."""
        return RandomSampler(seed=0)

    def wants(self, trial: Trial) -> bool:
        """Whether a trial that an earlier start of the command has left is asked for now."""
        return trial.user_attrs.get(JOB) in self.wanted

    def config(self, trial: Trial) -> TrialConfig:
        """What a trial shall train."""
        return config_of(trial.user_attrs[CONFIG], f"trial {trial.number}")


def _waits_for(key: str, trial: FrozenTrial) -> bool:
    """Whether a trial of this job has not ended yet."""
    return trial.user_attrs.get(JOB) == key and not trial.state.is_finished()
