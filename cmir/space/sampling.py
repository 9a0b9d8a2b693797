"""The sampler of a sweep: TPE whose cost does not grow with the number of ended trials.

TPE sorts and weighs all trials for every suggestion. Beyond `WINDOW` of them it is shown the best
25, which it models, the newest, which keep it from where it has just been, and an even sample of
all others, which tells where the rest lie.
"""

from __future__ import annotations

import warnings
from bisect import insort
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from cmir.space.shown_study import ShownStudy
from cmir.space.space_file import SweepFile

# A suggestion takes 13 to 16 ms with 300 trials, 19 to 23 with 500, 32 to 36 with 1,000.
WINDOW = 300
# TPE's own number of best trials once there are 250 (`default_gamma`).
BEST = 25
# The window has at least as many, so that TPE does not take it for a beginning.
MOST_RANDOM = WINDOW - BEST
NEWEST = MOST_RANDOM // 2
TELLING = (TrialState.COMPLETE, TrialState.PRUNED)

Place = tuple[int, float, float, int, FrozenTrial]


def sampler_of(file: SweepFile, finished: int) -> BaseSampler:
    """The file's sampler; its seed follows from what is finished: continuing repeats nothing.

    With TPE the first third of the budget is random, `MOST_RANDOM` trials at most: with fewer, TPE
    settles on the scheme that happens to come out well first (docs/decisions.md, "TPE settles too
    early").
    """
    seed = int(np.random.SeedSequence([2026, finished]).generate_state(1)[0])
    if file.sampler == "random":
        return RandomSampler(seed=seed)
    startup = min(max(10, file.trials // 3), MOST_RANDOM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return WindowedTPE(seed=seed, n_startup_trials=startup, multivariate=True, group=True)


class WindowedTPE(TPESampler):
    """TPE that looks at `WINDOW` ended trials at most; with fewer it is TPE to the bit."""

    _history: History | None = None

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As TPE: its groups of parameters only ever split, so trials seen before change none."""
        if self._history is None:
            self._history = History(study)
        unseen = self._history.look()
        return super().infer_relative_search_space(self._history.showing(unseen), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As TPE, of the window; Optuna asks for the search space first, for every trial."""
        return super().sample_relative(self._windowed(), trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """As TPE, of the window."""
        return super().sample_independent(self._windowed(), trial, param_name, param_distribution)

    def _windowed(self) -> Study:
        assert self._history is not None
        return self._history.showing(self._history.window)


class History:
    """The trials of a study that tell TPE something, gathered as they end."""

    def __init__(self, study: Study) -> None:
        self._study, self._shown = study, ShownStudy(study)
        self._sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
        self._settled = 0
        self._late: set[int] = set()
        self._ended: list[FrozenTrial] = []
        self._running: list[FrozenTrial] = []
        self._best: list[Place] = []
        self.window: list[FrozenTrial] = []

    def look(self) -> list[FrozenTrial]:
        """Takes note of what has ended since the last look; returns that, in order of numbers."""
        rest = self._study.get_trials(deepcopy=False)[self._settled :]
        self._running = [trial for trial in rest if trial.state == TrialState.RUNNING]
        fresh = [t for t in rest if t.state.is_finished() and t.number not in self._late]
        self._late |= {trial.number for trial in fresh}
        while self._settled in self._late:
            self._late.remove(self._settled)
            self._settled += 1
        telling = [trial for trial in fresh if trial.state in TELLING]
        for trial in telling:
            insort(self._ended, trial, key=_number)
            insort(self._best, self._place(trial))
        del self._best[BEST:]
        self.window = self._window()
        return telling

    def _window(self) -> list[FrozenTrial]:
        """All that ended; of more than `WINDOW` the best, the newest and a sample of the others."""
        if len(self._ended) <= WINDOW:
            return [*self._ended, *self._running]
        older, newest = self._ended[:-NEWEST], self._ended[-NEWEST:]
        places = np.linspace(0, len(older) - 1, MOST_RANDOM - NEWEST).round().astype(int)
        kept = [*(trial for *_, trial in self._best), *(older[place] for place in places), *newest]
        shown = {trial.number: trial for trial in kept}
        return [*(shown[number] for number in sorted(shown)), *self._running]

    def showing(self, trials: Sequence[FrozenTrial]) -> Study:
        """The study as if it had these trials alone."""
        self._shown.shown = trials
        return self._shown

    def _place(self, trial: FrozenTrial) -> Place:
        """TPE's order: finished by value, then pruned, the later and then the better first."""
        if trial.state == TrialState.COMPLETE:
            assert trial.value is not None
            return 0, 0.0, self._sign * trial.value, trial.number, trial
        if trial.last_step is None:
            return 2, 0.0, 0.0, trial.number, trial
        value = trial.intermediate_values[trial.last_step]
        return 1, -trial.last_step, self._sign * value, trial.number, trial


def _number(trial: FrozenTrial) -> int:
    return trial.number
