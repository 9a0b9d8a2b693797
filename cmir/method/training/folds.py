"""Cross-validation over groups: the folds are the replicas of one stack.

Each seed leaves out one fold of the training groups, seed modulo their number, learns from the rest
and is scored on its own fold, as `cv/<metric>`. So a trial of as many seeds as folds costs no more
than any other, and its mean over the seeds is the cross-validated score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cmir.config import CV, DEFAULT_FOLDS, TrialConfig, is_cross_validated
from cmir.data import DevelopmentData, SplitData
from cmir.data.group_folds import folds_of
from cmir.errors import InputError
from cmir.method.training.split_scores import GROUP_COLUMNS


@dataclass(frozen=True, eq=False)
class Folds:
    """The folds of a training split.

    Attributes:
        train: the split.
        fold: `(n,)` of each of its samples, from 0.
        count: of folds.
        column: whose values are never cut in two.
    """

    train: SplitData
    fold: np.ndarray
    count: int
    column: str

    @property
    def smallest(self) -> int:
        """Samples that are left to learn from where the largest fold is out."""
        return len(self.fold) - int(np.bincount(self.fold).max())

    def kept(self, seed: int) -> np.ndarray:
        """Positions in the training split that a seed learns from."""
        return np.flatnonzero(self.fold != seed % self.count)

    def held(self, seed: int) -> SplitData:
        """The samples that a seed is scored on, as a split `cv`."""
        out = np.flatnonzero(self.fold == seed % self.count)
        train = self.train
        return SplitData(CV, train.rows[out], train.labels[out], train.samples[out])


def folds_for(data: DevelopmentData, config: TrialConfig) -> Folds | None:
    """The folds that a configuration asks for by its objective; None where it does not.

    Groups are the values of the first of environment, speaker, video and source that has at least
    as many in training as there are folds.

    Raises:
        InputError: there is no such column.
    """
    if not is_cross_validated(config.objective):
        return None
    count = config.training.folds or DEFAULT_FOLDS
    for column in GROUP_COLUMNS:
        if column in data.train.samples.columns:
            groups = data.train.named(column)
            if len(np.unique(groups)) >= count:
                return Folds(data.train, folds_of(groups, count), count, column)
    raise InputError(
        f"objective: '{config.objective}' needs a column of '{data.name}' with at least {count} "
        f"groups in training, one of {', '.join(GROUP_COLUMNS)}: prepare the data with one, or "
        "choose fewer training.folds or another objective."
    )
