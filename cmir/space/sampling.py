"""The sampler of a sweep: TPE whose cost does not grow with the number of ended trials.

With two objectives it is multi-objective TPE (Ozaki et al. 2022): good are the trials on the front
of both, then those on the front without them.

TPE sorts and weighs all trials for every suggestion. Beyond `WINDOW` of them it is shown the best
25, which it models, the newest, which keep it from where it has just been, and an even sample of
all others, which tells where the rest lie.
"""

from __future__ import annotations

import heapq
import warnings
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from cmir.metrics.non_dominated import by_layers
from cmir.space.shown_study import ShownStudy
from cmir.space.space_file import SweepFile

# A suggestion takes 12 to 15 ms with 300 trials, 36 with 1,000, 400 with 10,000.
WINDOW = 300
# TPE's own number of best trials once there are 250 (`default_gamma`).
BEST = 25
# The window has at least as many, so that TPE does not take it for a beginning.
MOST_RANDOM = WINDOW - BEST
NEWEST = MOST_RANDOM // 2
TELLING = (TrialState.COMPLETE, TrialState.PRUNED)

Place = tuple[int, float, float, int]


def sampler_of(file: SweepFile, drawn: int) -> BaseSampler:
    """The file's sampler; its seed follows from how many trials there are: none is drawn twice.

    With TPE the first third of the budget is random, `MOST_RANDOM` trials at most: with fewer, TPE
    settles on the scheme that happens to come out well first (docs/decisions.md, "TPE settles too
    early").
    """
    seed = int(np.random.SeedSequence([2026, drawn]).generate_state(1)[0])
    if file.sampler == "random":
        return RandomSampler(seed=seed)
    startup = min(max(10, file.trials // 3), MOST_RANDOM)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return WindowedTPE(seed=seed, n_startup_trials=startup, multivariate=True, group=True)


class WindowedTPE(TPESampler):
    """TPE that looks at `WINDOW` ended trials at most; with fewer it is TPE to the bit."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._settled = 0
        self._told: dict[int, FrozenTrial] = {}
        self._best: list[FrozenTrial] = []
        self._shown: Study | None = None

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As TPE; Optuna asks for the search space first, for every trial.

        Its groups of parameters only ever split, so trials seen before change none.
        """
        return super().infer_relative_search_space(ShownStudy(study, self._look(study)), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As TPE, of the window."""
        return super().sample_relative(self._shown or study, trial, search_space)

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """As TPE, of the window."""
        shown = self._shown or study
        return super().sample_independent(shown, trial, param_name, param_distribution)

    def _look(self, study: Study) -> list[FrozenTrial]:
        """Takes note of what has ended since the last look; returns that, in order of numbers."""
        rest = study.get_trials(deepcopy=False)[self._settled :]
        unseen = [t for t in rest if t.state in TELLING and t.number not in self._told]
        running = [trial for trial in rest if trial.state == TrialState.RUNNING]
        self._settled += sum(1 for _ in takewhile(lambda trial: trial.state.is_finished(), rest))
        self._told |= {trial.number: trial for trial in unseen}
        self._best = best_of([*self._best, *unseen], study.directions)
        self._shown = ShownStudy(study, [*window(self._told, self._best), *running])
        return unseen


def window(told: Mapping[int, FrozenTrial], best: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """All trials, by number; of more than `WINDOW` the best, the newest and some of the others."""
    numbers = sorted(told)
    if len(told) > WINDOW:
        older, newest = numbers[:-NEWEST], numbers[-NEWEST:]
        places = np.linspace(0, len(older) - 1, MOST_RANDOM - NEWEST).round().astype(int)
        kept = {trial.number for trial in best}
        numbers = sorted(kept | {older[place] for place in places} | set(newest))
    return [told[number] for number in numbers]


def best_of(told: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """The `BEST` trials in TPE's order: finished by value, then pruned, the later first.

    With two values those on the Pareto front come first, then those on the front without them.
    """
    signs = [1.0 if one == StudyDirection.MINIMIZE else -1.0 for one in directions]
    if len(signs) == 1:
        return heapq.nsmallest(BEST, told, key=lambda trial: _place(trial, signs[0]))
    finished = [trial for trial in told if trial.state == TrialState.COMPLETE]
    losses = [np.multiply(signs, trial.values) for trial in finished]
    return [finished[place] for place in by_layers(losses, BEST)]


def _place(trial: FrozenTrial, sign: float) -> Place:
    if trial.state == TrialState.COMPLETE:
        assert trial.value is not None
        return 0, 0.0, sign * trial.value, trial.number
    if trial.last_step is None:
        return 2, 0.0, 0.0, trial.number
    value = trial.intermediate_values[trial.last_step]
    return 1, -trial.last_step, sign * value, trial.number
