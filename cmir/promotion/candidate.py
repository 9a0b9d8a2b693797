"""The best trials of a sweep, trained again with seeds that selected nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.evaluation.measures import measured, measures_among
from cmir.method.training.reports import TrialResult
from cmir.promotion.selection import Ranking, Scored
from cmir.promotion.trainings import Training
from cmir.runner.studies.records import TrialRecord

FIRST_SEED = 1000


@dataclass(frozen=True, eq=False)
class Candidate:
    """A trial trained again, or the baseline where it is better than the best of these.

    Attributes:
        record: the trial as the sweep knows it.
        result: of the fresh seeds; None if one of them diverged.
        fault: why there is no result.
        baseline: what it is called and where its settings come from, if it is no trial.
    """

    record: TrialRecord
    result: TrialResult | None
    fault: str = ""
    baseline: str = ""

    @property
    def title(self) -> str:
        """What it is called."""
        return self.baseline or f"trial {self.record.number}"

    def score(self, metric: str) -> float | None:
        """Mean over the fresh seeds of `split/metric`."""
        return None if self.result is None else self.result.metrics[metric]


def fresh_seeds(used: Iterable[int], count: int) -> tuple[int, ...]:
    """The first `count` seeds from 1000 on that are not among the used ones.

    Example:
        >>> fresh_seeds([0, 1, 1001], 3)
        (1000, 1002, 1003)
    """
    taken = set(used)
    free = (
        seed for seed in range(FIRST_SEED, FIRST_SEED + len(taken) + count) if seed not in taken
    )
    return tuple(seed for seed, _ in zip(free, range(count), strict=False))


def seeds_of(records: Iterable[TrialRecord]) -> set[int]:
    """All seeds that a sweep trained with."""
    return {seed for record in records for seed in record.config.seeds}


def candidate_name(record: TrialRecord) -> str:
    """What the new training of a trial is called."""
    return f"candidate: trial {record.number}"


def again(records: Sequence[TrialRecord], seeds: Sequence[int]) -> dict[str, TrialConfig]:
    """The configurations of trials with other seeds, by the name of their training."""
    return {candidate_name(record): record.trial(seeds) for record in records}


def candidate_of(record: TrialRecord, training: Training) -> Candidate:
    """A trial and its new training."""
    fault = f"trial {record.number}: {training.fault}" if training.fault else ""
    return Candidate(record, training.result, fault)


def with_measures(candidate: Candidate, data: DevelopmentData, ranking: Ranking) -> Candidate:
    """A candidate with what a rule looks at and its training has not measured."""
    if candidate.result is None:
        return candidate
    wanted = measures_among(ranking.metrics)
    return replace(candidate, result=measured(candidate.result, data, wanted))


def as_candidate(winner: Candidate, result: TrialResult, title: str) -> Candidate:
    """The baseline in the place of a winner that is not better."""
    record = replace(winner.record, config=result.config, params={})
    return Candidate(record, result, baseline=title)


def winner_of(candidates: Sequence[Candidate], ranking: Ranking) -> Candidate | None:
    """The candidate that a rule takes by the means over the fresh seeds; the earlier of equals."""
    trained = [(one, one.result) for one in candidates if one.result is not None]
    scored = [Scored(result.metrics, len(result.config.seeds)) for _, result in trained]
    return trained[ranking.places(scored)[0]][0] if trained else None
