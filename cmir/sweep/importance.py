"""Which searched parameters decide the outcome of a sweep, and how sure that is."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import rankdata

from cmir.runner.studies.records import TrialRecord
from cmir.space.shown_study import ShownStudy
from cmir.sweep.leaderboard import finished, is_lower_better, value_of

FEWEST_FINISHED = 8
FEWEST_BEST = 5
BEST_SHARE = 0.25
SHUFFLES = 19

Distributed = tuple[Any, BaseDistribution]


def importance_beside_chance(
    records: Sequence[TrialRecord], objective: str
) -> tuple[dict[str, float], dict[str, float]]:
    """How much each searched parameter separates the best finished trials from all others.

    PED-ANOVA (Watanabe, Bansal and Hutter 2023; with conditions: arXiv 2601.20800) in Optuna's
    implementation, asked for the best quarter of the trials, at least five but at most half of
    the finished ones: in small sweeps its usual tenth is a handful. Pruned and diverged trials
    count as worse than every finished one, since leaving them out would hide what made them so;
    failed ones do not count. Numbers enter by their rank among the trials, so the answer does not
    depend on their scale. A conditional parameter is judged where it is active.

    A share is not yet evidence: where nothing matters, a parameter with many values still gets a
    larger share than one with two. So there stands beside it what the parameter has by chance: the
    most of 19 random rankings. An idle parameter is above it in one of twenty sweeps.

    Returns:
        Dotted key to share, largest first, summing to 1; dotted key to the share by chance, in
        units of this sweep's total, at most 1, in alphabetical order. Both are empty with fewer
        than eight finished trials, or if nothing differs between the trials.

    Raises:
        InputError: the objective's metric is unknown.
    """
    ranking = _ranking(records, objective)
    return ranking.shares, ranking.shares_by_chance


@dataclass(frozen=True)
class _Ranking:
    """The trials that are judged, their losses (lower is better), how many of them finished."""

    trials: Sequence[TrialRecord]
    losses: Sequence[float]
    finished: int

    @cached_property
    def found(self) -> dict[str, float]:
        """The divergences of the sweep itself; empty if there is too little to tell."""
        tells = self.finished >= FEWEST_FINISHED and len(set(self.losses)) > 1
        return self.divergences(self.losses) if tells else {}

    @property
    def shares(self) -> dict[str, float]:
        """Of each parameter in the sum of all; empty where nothing differs."""
        total = sum(self.found.values())
        return {key: divergence / total for key, divergence in self.found.items()} if total else {}

    @property
    def shares_by_chance(self) -> dict[str, float]:
        """The most of the random rankings, in shares of what the sweep itself has."""
        total = sum(self.found.values())
        if not total:
            return {}
        generator = np.random.default_rng(0)
        shuffled = [
            self.divergences(list(generator.permutation(self.losses))) for _ in range(SHUFFLES)
        ]
        most = {key: max(one[key] for one in shuffled) for key in sorted(shuffled[0])}
        return {key: min(1.0, divergence / total) for key, divergence in most.items()}

    def divergences(self, losses: Sequence[float]) -> dict[str, float]:
        """Of each parameter's values in the best trials from those in all, the largest first."""
        best = max(FEWEST_BEST, math.ceil(BEST_SHARE * len(losses)))
        best = min(best, self.finished // 2)
        # Half a trial less, so that rounding up cannot give one more.
        evaluator = PedAnovaImportanceEvaluator(target_quantile=(best - 0.5) / len(losses))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return evaluator.evaluate(self._study, target=lambda trial: float(losses[trial.number]))

    @cached_property
    def _study(self) -> optuna.Study:
        columns = {key: self._column(key) for key in self._keys}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        places = range(len(self.trials))
        active = [{k: column[n] for k, column in columns.items() if n in column} for n in places]
        empty = optuna.create_study(storage=optuna.storages.InMemoryStorage())
        # Not added one by one: a storage copies each of them deeply.
        return ShownStudy(empty, [_trial(place, given) for place, given in enumerate(active)])

    @property
    def _keys(self) -> list[str]:
        return sorted({key for trial in self.trials for key in trial.params})

    def _values(self, key: str) -> dict[int, Any]:
        """Place of each trial that has the parameter, to its value."""
        return {n: t.params[key] for n, t in enumerate(self.trials) if key in t.params}

    def _column(self, key: str) -> dict[int, Distributed]:
        values = self._values(key)
        # A constant stays a choice of one, which Optuna knows to be of no importance.
        if len(set(values.values())) > 1 and all(map(_is_number, values.values())):
            # Ranks without gaps: a grid cell that no trial can fall into would distort the density.
            ranks = rankdata(list(values.values()), method="dense")
            scale = IntDistribution(1, int(ranks.max()))
            return {n: (int(rank), scale) for n, rank in zip(values, ranks, strict=True)}
        texts = {n: str(value) for n, value in values.items()}
        choices = CategoricalDistribution(sorted(set(texts.values())))
        return {n: (text, choices) for n, text in texts.items()}


def _ranking(records: Sequence[TrialRecord], objective: str) -> _Ranking:
    sign = 1.0 if is_lower_better(objective) else -1.0
    ended = finished(records)
    losses = [sign * value for record in ended if (value := value_of(record)) is not None]
    behind = [record for record in records if record.outcome in ("pruned", "diverged")]
    worst = max(losses, default=0.0) + 1.0
    return _Ranking([*ended, *behind], [*losses, *[worst] * len(behind)], len(ended))


def _trial(place: int, active: Mapping[str, Distributed]) -> FrozenTrial:
    return FrozenTrial(
        number=place,
        trial_id=place,
        state=TrialState.COMPLETE,
        value=0.0,
        datetime_start=None,
        datetime_complete=None,
        params={key: value for key, (value, _) in active.items()},
        distributions={key: distribution for key, (_, distribution) in active.items()},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
