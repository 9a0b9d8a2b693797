"""A runner that trains its jobs in this process, one after the other, without Ray."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from cmir.method.training.fitting import fit
from cmir.method.training.reports import Diverged
from cmir.runner.runner import Display, Jobs, Runner, Session
from cmir.runner.scheduling.placement import Resources
from cmir.runner.studies.records import Ending
from cmir.runner.studies.study import AskedTrial
from cmir.runner.weights import save_weights
from tests.support.small_promotion import ending_of


class LocalRunner(Runner):
    """Study, weights and tracking are the real ones.

    `broken` are labels of jobs that end as diverged without being trained.
    """

    broken: Collection[str] = ()

    @contextmanager
    def opened(self, jobs: Jobs) -> Iterator[Session]:
        """The jobs in a session that trains them here."""
        with super().opened(jobs) as session:
            yield LocalSession(self, jobs, session.study, session.tracker)


class LocalSession(Session):
    """Trains in this process."""

    def train(self, display: Display) -> None:
        """Trains what is missing."""
        progress = self._keeping(display(self._start(Resources(1))))
        while self.study.missing:
            asked = self.study.ask()
            progress.on_start(asked)
            progress.on_end(self.study.tell(asked.number, self._ending(asked)))

    def _ending(self, asked: AskedTrial) -> Ending:
        runner, jobs = self._runner, self._jobs
        assert isinstance(runner, LocalRunner)
        if asked.label in runner.broken:
            return Ending("diverged", reason="'prediction' became non-finite in epoch 2")
        try:
            *_, last = fit(jobs.data, asked.config)
        except Diverged as fault:
            return Ending("diverged", reason=str(fault))
        assert last.result is not None
        scores = jobs.score(jobs.data, last.result, "cpu") if jobs.score else None
        save_weights(last.result, runner.paths.weights_of(jobs.name, asked.number), scores)
        return ending_of(last.result)
