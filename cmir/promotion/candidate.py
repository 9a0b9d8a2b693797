"""The best trials of a sweep, trained again with seeds that selected nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cmir.config import TrialConfig
from cmir.method.training.reports import TrialResult
from cmir.promotion.selection import better_sign
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


def as_candidate(winner: Candidate, result: TrialResult, title: str) -> Candidate:
    """The baseline in the place of a winner that is not better."""
    record = replace(winner.record, config=result.config, params={})
    return Candidate(record, result, baseline=title)


def winner_of(candidates: Sequence[Candidate], metric: str) -> Candidate | None:
    """The candidate with the best mean over the fresh seeds; the earlier of equals."""
    trained = [candidate for candidate in candidates if candidate.result is not None]
    if not trained:
        return None
    sign = better_sign(metric)

    def worth(candidate: Candidate) -> float:
        score = candidate.score(metric)
        return -math.inf if score is None or math.isnan(score) else sign * score

    return max(trained, key=worth)
