"""Early stopping across the configurations of a sweep, also of earlier starts of the command."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence

from cmir.space.space_file import EarlyStopping


class Rungs:
    """ASHA's rungs (Li et al. 2020): after `grace`, `grace * reduction`, ... epochs the best
    1/`reduction` go on, judged against all that reached the same rung before.

    Scores are larger where better. The same decisions as Ray Tune's ASHA, which cannot be told of
    the trials that ended before a sweep was continued.
    """

    def __init__(self, epochs: int, settings: EarlyStopping) -> None:
        self._share = 1 - 1 / settings.reduction
        self._rungs: dict[int, list[float]] = {rung: [] for rung in _rungs(epochs, settings)}

    def enter(self, epoch: int, score: float) -> None:
        """Notes the score of a configuration that ended at an epoch."""
        if epoch in self._rungs:
            insort(self._rungs[epoch], score)

    def replay(self, scores: Sequence[float]) -> None:
        """Enters the scores of an earlier configuration after epoch 1, 2, ..."""
        for epoch in self._rungs:
            if epoch <= len(scores):
                self.enter(epoch, scores[epoch - 1])

    def withdraw(self, scores: Sequence[float]) -> None:
        """Takes back what a configuration entered after epoch 1, 2, ...: it runs again."""
        for epoch in self._rungs:
            if epoch <= len(scores):
                self._rungs[epoch].remove(scores[epoch - 1])

    def lags(self, epoch: int, score: float) -> bool:
        """Enters the score of a configuration after an epoch; whether it stops there."""
        self.enter(epoch, score)
        return epoch in self._rungs and self._is_below(score, self._rungs[epoch])

    def _is_below(self, score: float, rung: Sequence[float]) -> bool:
        """Whether a score lies below the quantile of all others at its rung."""
        others = len(rung) - 1
        if others == 0:
            return False
        own, place = bisect_left(rung, score), self._share * (others - 1)
        below = math.floor(place)
        low, high = (rung[k + (k >= own)] for k in (below, min(below + 1, others - 1)))
        return score < low + (place - below) * (high - low)


def _rungs(epochs: int, settings: EarlyStopping) -> Iterator[int]:
    """The epochs of the rungs, the last epoch left out: who reaches it has finished."""
    rung = float(settings.grace if settings.enabled else epochs)
    while rung < epochs:
        yield math.ceil(rung)
        rung *= settings.reduction
