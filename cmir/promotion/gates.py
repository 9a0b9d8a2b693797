"""What a candidate must show before it is registered: pure functions from evidence to verdicts.

All evidence is of development data, so that a refused candidate costs no test-set access.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmir.data import DevelopmentData
from cmir.data.task import Task
from cmir.evaluation.paired_tests import Difference, minimum_detectable_effect
from cmir.method.training.split_scores import split_metrics
from cmir.promotion.comparison import GroupChange
from cmir.promotion.noise_loss import NoiseLoss
from cmir.promotion.selection import better_sign, metric_of
from cmir.space.space_file import Gates


@dataclass(frozen=True)
class Verdict:
    """One gate: what it requires, what was measured, whether that is enough.

    `interval` holds 95 % of what else could have been measured, and `detectable` is the smallest
    difference that such a measurement finds in four of five cases; empty where there is none.
    """

    name: str
    required: str
    measured: str
    passed: bool
    interval: str = ""
    detectable: str = ""


@dataclass(frozen=True)
class HeldChampion:
    """The champion as evidence.

    Attributes:
        what: which version, and how it was compared, or why it cannot be.
        difference: winner less champion, paired; None where they were not trained alike.
        score: recorded with a version that cannot be trained again; None if there is none.
    """

    what: str
    difference: Difference | None = None
    score: float | None = None


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


def better_than_constant(
    score: float, constant: float, metric: str, difference: Difference | None = None
) -> Verdict:
    """The mean over seeds must beat what a constant prediction reaches on the same split.

    `difference` of the two, paired, says how sure that is.
    """
    sign = better_sign(metric)
    word = "above" if sign > 0 else "below"
    return Verdict(
        f"{metric} against a constant",
        f"{word} {constant:.4f}",
        f"{score:.4f}",
        sign * (score - constant) > 0,
        *(("", "") if difference is None else _reach(difference)),
    )


def better_than_baseline(
    score: float,
    difference: Difference | None,
    baseline: str,
    metric: str,
    gates: Gates,
    candidates: int = 1,
) -> Verdict:
    """Out of distribution the winner must be better than its baseline, of about equal budget.

    Args:
        score: of the winner.
        difference: winner less baseline, paired; None where there is none.
        baseline: what the baseline was, or why there is none.
        metric: `split/metric`.
        gates: `against_plain` says how sure that must be.
        candidates: of which the winner is the best on the very samples of the comparison.
    """
    name = f"{metric} against {opponent(gates)}"
    if difference is None:
        return Verdict(name, baseline, f"{score:.4f}", True)
    sign = better_sign(metric)
    word = "above" if sign > 0 else "below"
    required, passed = f"difference {word} 0", is_better(difference, metric)
    measured = _measured(score, difference)
    if gates.against_plain == "certain":
        required = f"interval {word} 0"
        passed = passed and sign * (difference.low if sign > 0 else difference.high) > 0
    if gates.against_plain == "confident":
        sure = confidence(difference, candidates)
        required += f" with {gates.confidence:.0%} confidence"
        measured += f", {sure:.0%} sure"
        measured += f" as the best of {candidates}" if candidates > 1 else ""
        passed = passed and sure >= gates.confidence
    return Verdict(name, f"{required} ({baseline})", measured, passed, *_reach(difference))


def baseline_is_best(
    score: float, difference: Difference, winner: str, metric: str, gates: Gates
) -> Verdict:
    """Where the winner of the sweep is not better than the baseline, this one is registered.

    Args:
        score: of the baseline.
        difference: baseline less winner, paired.
        winner: the sweep's, in words.
        metric: `split/metric`.
        gates: name the baseline.
    """
    required = f"the better of it and {winner}, the simpler where they are equal"
    measured = _measured(score, difference)
    name = f"{metric} of {opponent(gates)}"
    return Verdict(name, required, measured, True, *_reach(difference))


def is_better(difference: Difference, metric: str) -> bool:
    """Whether the first of two models is better on average."""
    return better_sign(metric) * difference.estimate > 0


def confidence(difference: Difference, candidates: int) -> float:
    """How sure it is that the best of several candidates is better than what it is compared with.

    1 - k (1 - p) for k candidates that each had their chance to look good (Bonferroni), whatever
    they have in common; 0 where that is negative.

    Example:
        >>> d = Difference("mae", -0.1, -0.2, 0.0, 0.05, 8.0, 0.97, 0.06, 9, (5, 5))
        >>> round(confidence(d, 1), 2), round(confidence(d, 3), 2)
        (0.97, 0.91)
    """
    return max(0.0, 1 - candidates * (1 - difference.p_better))


def not_worse_than_champion(score: float, metric: str, held: HeldChampion, gates: Gates) -> Verdict:
    """At most `champion_margin` worse than the champion, on the same data and seeds.

    Passes where there is no champion, or where the two cannot be compared: other development
    data, or a champion without this metric.
    """
    name, sign, margin = (
        f"{metric} against the champion",
        better_sign(metric),
        gates.champion_margin,
    )
    difference = held.difference
    if difference is not None:
        word = "at least" if sign > 0 else "at most"
        return Verdict(
            name,
            f"difference {word} {-sign * margin:.4f} ({held.what})",
            _measured(score, difference),
            sign * difference.estimate + margin >= 0,
            *_reach(difference),
        )
    if held.score is None:
        return Verdict(name, held.what, f"{score:.4f}", True)
    # Scores are kept as text with all digits, so that the same model equals itself.
    limit = held.score - sign * margin
    word = "at least" if sign > 0 else "at most"
    required = f"{word} {limit:.4f} ({held.what}: {held.score:.4f})"
    return Verdict(name, required, f"{score:.4f}", sign * (score - limit) >= 0)


def opponent(gates: Gates) -> str:
    """The baseline in words."""
    return "the ERM baseline" if gates.baseline == "plain" else f"the baseline {gates.baseline}"


def no_group_falls(
    changes: Sequence[GroupChange], margin: float, baseline: str, opponent: str = "the ERM baseline"
) -> Verdict:
    """No group of the split may fall by more than a margin against the baseline.

    Args:
        changes: of the groups, the worst first; empty where there is no baseline.
        margin: in mean absolute error or accuracy.
        baseline: why there are no changes.
        opponent: the baseline in words.
    """
    name = f"every group against {opponent}"
    if not changes:
        return Verdict(name, baseline, "", True)
    worst = changes[0]
    measured = f"{worst.group} ({worst.samples} samples): {worst.gain:+.4f}"
    return Verdict(
        name,
        f"a loss of at most {margin:.4f}",
        measured,
        worst.gain >= -margin,
        f"[{worst.low:+.4f}, {worst.high:+.4f}]",
        f"{worst.detectable:.4f}" if math.isfinite(worst.detectable) else "",
    )


def holds_under_noise(loss: NoiseLoss, metric: str, gates: Gates) -> Verdict:
    """Noise may take a share of the lead over a constant prediction, over the rates of Eq. 14."""
    has_interval = math.isfinite(loss.low)
    return Verdict(
        f"{metric} under noise",
        f"at most {gates.noise_loss:.0%} of the lead over a constant prediction lost",
        f"{loss.share:.0%} ({loss.clean:.4f} to {loss.noisy:.4f})",
        loss.share <= gates.noise_loss,
        f"[{loss.low:.0%}, {loss.high:.0%}]" if has_interval else "",
        f"{loss.detectable:.0%}" if math.isfinite(loss.detectable) else "",
    )


def unchanged_champion(expected: str, found: str) -> Verdict:
    """Another promotion was faster: the gates have judged against a champion that is none now."""
    return Verdict("champion unchanged meanwhile", expected, found, False)


def group_margin(data: DevelopmentData, gates: Gates) -> float:
    """The margin of `no_group_falls`; where none is given, a fifth of the labels' deviation.

    Of classes that of being the most frequent one, of several labels the mean over them.

    For balanced classes that is a tenth in accuracy, for sentiment in [-3, 3] about .3 in mean
    absolute error: above what chance does to a group of twenty samples.
    """
    if gates.group_margin is not None:
        return gates.group_margin
    labels = data.train.labels.astype(np.float64)
    if data.task.kind == "classes":
        labels = np.asarray(labels == np.bincount(labels.astype(np.int64)).argmax(), np.float64)
    return float(np.std(labels, axis=0).mean() / 5)


def constant_score(data: DevelopmentData, metric: str) -> float:
    """What the best constant of the training labels reaches in `split/metric`.

    The median for a regression; for a binary task the logit of the share of class 1, which
    decides for the majority; so of classes, and of each of several labels.
    """
    split = data.splits[metric.partition("/")[0]]
    metrics = split_metrics(constant_scores(data, metric), split, data.task)
    return float(metrics[metric][0])


def constant_scores(data: DevelopmentData, metric: str) -> np.ndarray:
    """The scores of that constant on the split of `split/metric`, `(1, n)` or `(1, n, C)`."""
    split = data.splits[metric.partition("/")[0]]
    constant = _constant(data.train.labels.astype(np.float64), data.task)
    return np.tile(constant, (1, len(split), *[1] * np.ndim(constant)))


def ood_metric(objective: str) -> str:
    """The metric of the sweep's objective, on `ood_val`."""
    return f"ood_val/{metric_of(objective)}"


def _measured(score: float, difference: Difference) -> str:
    return f"{score:.4f} ({difference.estimate:+.4f})"


def _reach(difference: Difference) -> tuple[str, str]:
    """The interval, and the smallest difference that would be found."""
    detectable = minimum_detectable_effect(difference)
    return f"[{difference.low:+.4f}, {difference.high:+.4f}]", f"{detectable:.4f}"


def _constant(labels: np.ndarray, task: Task) -> np.ndarray:
    """The score `()` or scores `(C,)` that a constant prediction has."""
    if task.kind == "regression":
        return np.asarray(np.median(labels))
    if task.kind == "classes":
        counts = np.bincount(labels.astype(np.int64), minlength=len(task.names))
        return np.log(np.maximum(counts, 0.5) / len(labels))
    share = labels.mean(axis=0)
    return np.asarray(np.log(share) - np.log1p(-share))
