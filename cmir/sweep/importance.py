"""Which searched parameters decide the outcome of a sweep, and how sure that is."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from scipy.stats import rankdata

from cmir.sweep.leaderboard import finished, is_lower_better, value_of
from cmir.sweep.records import TrialRecord

FEWEST_FINISHED = 8
FEWEST_BEST = 5
SHUFFLES = 19

Distributed = tuple[Any, BaseDistribution]


def importance(records: Sequence[TrialRecord], objective: str) -> dict[str, float]:
    """How much each searched parameter separates the best finished trials from all others.

    PED-ANOVA (Watanabe, Bansal and Hutter 2023; with conditions: arXiv 2601.20800) in Optuna's
    implementation, asked for the best tenth of the trials, and at least for the best five. Pruned
    and diverged trials count as worse than every finished one, since leaving them out would hide
    what made them so; failed ones do not count. Numbers enter by their rank among the trials, so
    the answer does not depend on their scale. A conditional parameter is judged where it is active.

    A share is not yet evidence: where nothing matters, a parameter with many values still gets a
    larger share than one with two. Compare with `importance_by_chance`.

    Returns:
        Dotted key to share, largest first, summing to 1. Empty with fewer than eight finished
        trials, or if nothing differs between the trials.

    Raises:
        InputError: the objective's metric is unknown.
    """
    ranking = _ranking(records, objective)
    return ranking.shares(ranking.losses) if ranking.tells else {}


def importance_by_chance(records: Sequence[TrialRecord], objective: str) -> dict[str, float]:
    """The largest share that each parameter gets in 19 random rankings of the same trials.

    The share of an idle parameter is above it in one of twenty sweeps.

    Returns:
        As `importance`, but in alphabetical order, and not summing to 1.

    Raises:
        InputError: the objective's metric is unknown.
    """
    ranking = _ranking(records, objective)
    if not ranking.tells:
        return {}
    generator = np.random.default_rng(0)
    shuffled = [
        ranking.shares(list(generator.permutation(ranking.losses))) for _ in range(SHUFFLES)
    ]
    return {key: max(shares[key] for shares in shuffled) for key in sorted(shuffled[0])}


@dataclass(frozen=True)
class _Ranking:
    """The trials that are judged, their losses (lower is better), how many of them finished."""

    trials: Sequence[TrialRecord]
    losses: Sequence[float]
    finished: int

    @property
    def tells(self) -> bool:
        """Whether there are enough trials, and any difference to explain and to explain it by."""
        varies = any(len(set(self._values(key).values())) > 1 for key in self._keys)
        return self.finished >= FEWEST_FINISHED and len(set(self.losses)) > 1 and varies

    def shares(self, losses: Sequence[float]) -> dict[str, float]:
        """Share of each parameter, given a loss for each trial."""
        best = max(FEWEST_BEST, math.ceil(len(losses) / 10))
        best = min(best, self.finished // 2)
        # Half a trial less, so that rounding up cannot give one more.
        evaluator = PedAnovaImportanceEvaluator(target_quantile=(best - 0.5) / len(losses))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return get_param_importances(
                self._study, evaluator=evaluator, target=lambda trial: float(losses[trial.number])
            )

    @cached_property
    def _study(self) -> optuna.Study:
        columns = {key: self._column(key) for key in self._keys}
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
        for place in range(len(self.trials)):
            active = {key: column[place] for key, column in columns.items() if place in column}
            study.add_trial(
                optuna.trial.create_trial(
                    params={key: value for key, (value, _) in active.items()},
                    distributions={key: distribution for key, (_, distribution) in active.items()},
                    value=0.0,
                )
            )
        return study

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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
