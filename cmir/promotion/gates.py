"""What a candidate must show before it is registered: pure functions from evidence to verdicts.

All evidence is of development data, so that a refused candidate costs no reading of held-out data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmir.data import DevelopmentData
from cmir.learning.evaluation import split_metrics
from cmir.promotion.selection import better_sign, metric_of
from cmir.sweep.sweep_file import Gates


@dataclass(frozen=True)
class Verdict:
    """One gate: what it requires, what was measured, whether that is enough."""

    name: str
    required: str
    measured: str
    passed: bool


@dataclass(frozen=True)
class Champion:
    """The version that holds the alias, as the registry knows it.

    Attributes:
        version: its number in the registry.
        development_checksum: of the data it was selected on.
        scores: `split/metric` recorded with it.
    """

    version: str
    development_checksum: str
    scores: dict[str, float]


def enough_trials(finished: int, gates: Gates) -> Verdict:
    """The best of too few trials is luck."""
    least = gates.finished_trials
    return Verdict("finished trials", f"at least {least}", str(finished), finished >= least)


def enough_seeds(seeds: int, gates: Gates) -> Verdict:
    """Out of distribution a single seed is noise."""
    return Verdict("fresh seeds", f"at least {gates.seeds}", str(seeds), seeds >= gates.seeds)


def trained_through(faults: Sequence[str]) -> Verdict:
    """At least one candidate must train with fresh seeds without diverging.

    `faults` has one text per candidate, empty where the training ended well.
    """
    diverged = [fault for fault in faults if fault]
    measured = f"{len(faults) - len(diverged)} of {len(faults)}"
    if diverged:
        measured += f" ({'; '.join(diverged)})"
    return Verdict(
        "candidates trained", "at least 1 without diverging", measured, len(diverged) < len(faults)
    )


def better_than_constant(score: float, constant: float, metric: str) -> Verdict:
    """The mean over seeds must beat what a constant prediction reaches on the same split."""
    sign = better_sign(metric)
    word = "above" if sign > 0 else "below"
    return Verdict(
        f"{metric} against a constant",
        f"{word} {constant:.4f}",
        f"{score:.4f}",
        sign * (score - constant) > 0,
    )


def not_worse_than_champion(
    score: float, metric: str, champion: Champion | None, checksum: str, gates: Gates
) -> Verdict:
    """At most `champion_margin` worse than the champion, both with fresh seeds on the same data.

    Passes where there is no champion, or where the two cannot be compared: other development
    data, or a champion without this metric.
    """
    name = f"{metric} against the champion"
    if champion is None:
        return Verdict(name, "no champion yet", f"{score:.4f}", True)
    if champion.development_checksum != checksum:
        return Verdict(name, f"version {champion.version}: other data", f"{score:.4f}", True)
    if metric not in champion.scores:
        return Verdict(name, f"version {champion.version}: not scored", f"{score:.4f}", True)
    held, sign = champion.scores[metric], better_sign(metric)
    # Scores are kept as text with all digits, so that the same model equals itself.
    limit = held - sign * gates.champion_margin
    word = "at least" if sign > 0 else "at most"
    required = f"{word} {limit:.4f} (version {champion.version}: {held:.4f})"
    return Verdict(name, required, f"{score:.4f}", sign * (score - limit) >= 0)


def constant_score(data: DevelopmentData, metric: str) -> float:
    """What the best constant of the training labels reaches in `split/metric`.

    The median for a regression; for a binary task the logit of the share of class 1, which
    decides for the majority.
    """
    split = data.splits[metric.partition("/")[0]]
    labels = data.train.labels.astype(np.float64)
    constant = float(np.median(labels)) if data.task == "regression" else _logit(labels.mean())
    scores = np.full((1, len(split)), constant)
    metrics = split_metrics(scores, split, data.task, data.label_range)
    return float(metrics[metric][0])


def ood_metric(objective: str) -> str:
    """The metric of the sweep's objective, on `ood_val`."""
    return f"ood_val/{metric_of(objective)}"


def _logit(share: float) -> float:
    return math.log(share) - math.log1p(-share)
