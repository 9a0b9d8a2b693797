"""How an arm compares with the full configuration on one split, clean or under noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cmir.ablation.arm_results import NOISE
from cmir.data import SplitData
from cmir.data.task import Task
from cmir.evaluation.bootstrap_groups import resampled_groups
from cmir.evaluation.paired_tests import paired_difference

DIFFERENCE = ("difference", "low", "high", "p_better", "p_value")

Arrays = Mapping[str, np.ndarray]
Columns = dict[str, float]


def measured(metric: str, splits: Iterable[str]) -> list[str]:
    """`split/metric` and `split/noise_metric` of every split.

    Example:
        >>> measured("mae", ["id_val"])
        ['id_val/mae', 'id_val/noise_mae']
    """
    return [f"{split}/{name}" for split in splits for name in (metric, f"{NOISE}{metric}")]


@dataclass(frozen=True)
class Yardstick:
    """What all arms are compared by.

    Attributes:
        metric: without its split.
        splits: those that are scored.
        task: what is learned.
    """

    metric: str
    splits: Mapping[str, SplitData]
    task: Task

    def scores(self, by_seed: Mapping[str, Sequence[float]]) -> Columns:
        """Mean over the seeds of each key, and the sample deviation under `key_std`."""
        found: Columns = {}
        for key in measured(self.metric, self.splits):
            values = by_seed[key]
            found[key] = float(np.mean(values))
            found[f"{key}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return found

    def differences(self, arm: Arrays, full: Arrays) -> Columns:
        """Arm less full in each key, with its 95 % interval, probability to be better and p value.

        Args:
            arm: scores by split `(seed, n)` and `noise_<split>` `(rate, seed, n)`.
            full: the same of the full configuration, whose row s has the same seed.

        Returns:
            `key_difference`, `key_low`, `key_high`, `key_p_better` and `key_p_value` (two-sided,
            not corrected) of each key. Under noise the rates are pooled: of a metric that is a mean
            over samples this is the mean over the rates; of others (`corr`, `f1`) it differs a
            little from the difference of the means.
        """
        found: Columns = {}
        for name, split in self.splits.items():
            found |= self._difference(f"{name}/{self.metric}", arm[name], full[name], split)
            noisy = f"{NOISE}{name}"
            key = f"{name}/{NOISE}{self.metric}"
            found |= self._difference(key, _pooled(arm[noisy]), _pooled(full[noisy]), split)
        return found

    def _difference(self, key: str, arm: np.ndarray, full: np.ndarray, split: SplitData) -> Columns:
        groups = resampled_groups(split)
        if groups.number < 2:
            return {}
        copies = arm.shape[1] // len(split)
        found = paired_difference(
            arm,
            full,
            np.concatenate([split.labels] * copies),
            np.tile(groups.codes, copies),
            self.metric,
            task=self.task,
        )
        values = (found.estimate, found.low, found.high, found.p_better, found.p_value)
        return {f"{key}_{name}": value for name, value in zip(DIFFERENCE, values, strict=True)}


def _pooled(scores: np.ndarray) -> np.ndarray:
    """`(rate, seed, n)` to `(seed, rate * n)`."""
    return np.concatenate(list(scores), axis=1)
