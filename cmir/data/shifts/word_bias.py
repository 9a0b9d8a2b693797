"""Simulated annealing that moves samples between training and test until words change their side.

After CLUE (Sun et al. 2022), whose code is not used: samples change places until how words go with
the label in training differs strongly from how they do in test. Here the objective is the contrast
of `association`, and a sample changes places only with one of the same label bin, so that both
sides keep their sizes and their label histograms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from cmir.data.shifts.association import BoolArray, IntArray, Sides, word_table
from cmir.errors import InputError

SWEEPS = 100
# Samples drawn at once, as a share: exchanges of one step are judged as if they were alone. With
# few samples that would be too few to meet others of their bin.
DRAWN_AT_ONCE, FEWEST_DRAWN = 0.02, 32
HOTTEST, COLDEST = 1.0, 1e-3
POINTS = 200


@dataclass(frozen=True, eq=False)
class Annealed:
    """A split of the samples into two sides.

    Attributes:
        is_second: `(N,)`, True where a sample lies on the shifted side.
        trace: contrast at equal distances in time, the first of the random split it began with.
        proposals: exchanges that were tried.
    """

    is_second: BoolArray
    trace: tuple[float, ...]
    proposals: int


def word_bias(
    samples: pl.DataFrame,
    *,
    limits: tuple[float, float] | None,
    seed: int,
    share: float,
    target: float | None = None,
) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Splits all samples anew into `train` and `id_val` on one side, `ood_*` on the shifted one.

    The shifted side is halved into `ood_val` and `ood_test`, and `id_val` is taken out of the
    training side, each at random with the same share of every label bin: `ood_val` shows the shift
    of `ood_test`, `id_val` none. Every split has the label histogram of the whole. The source's
    own splits play no part.

    Args:
        samples: columns `id`, `split`, `label` and `raw_text`.
        limits: scale of a regression label, None for classes.
        seed: of every draw.
        share: of all samples in each of `id_val`, `ood_val` and `ood_test`.
        target: contrast at which the annealing stops; None: as far as it gets.

    Returns:
        The samples with new splits, and the record for `dataset.json`.

    Raises:
        InputError: no texts, too few of them, or a share that leaves nothing for training.
    """
    if "raw_text" not in samples.columns:
        raise InputError(
            "--shift word_bias: the source must have texts under raw_text, but has only "
            f"{', '.join(samples.columns)}. Hold out groups instead: held_out:<column>."
        )
    if not 0.0 < share < 0.3:
        raise InputError(
            f"--shift-share must be above 0 and below 0.3 with word_bias, which makes three splits "
            f"of this share, but got {share}."
        )
    labels = samples["label"].to_numpy()
    bins = label_bins(labels, limits)
    annealed = anneal(
        samples["raw_text"].to_list(), labels, bins, 2 * share, seed=seed, target=target
    )
    moved = samples.with_columns(split=pl.Series(_names(annealed.is_second, bins, share, seed)))
    record = {"scheme": "word_bias", "seed": seed, "share": share, "target": target}
    trace = [round(value, 5) for value in annealed.trace]
    return moved, record | {"trace": trace, "proposals": annealed.proposals}


def anneal(
    texts: Sequence[str],
    labels: npt.ArrayLike,
    bins: IntArray,
    share: float,
    *,
    seed: int,
    target: float | None = None,
) -> Annealed:
    """Split samples so that words go with the label differently on the two sides.

    It begins with a random split in which every label bin has the same share on the second side.
    The temperature falls geometrically from the size of a usual gain to a thousandth of it. The
    split with the largest contrast among those traced is returned.

    Args:
        texts: of N samples.
        labels: `(N,)`.
        bins: `(N,)`, the label bin of each sample; see `label_bins`.
        share: of the samples on the second side.
        seed: of every draw.
        target: contrast at which to stop; None: as far as it gets.

    Raises:
        InputError: no word occurs often enough, no bin can exchange anything, or the target is out
            of reach.
    """
    rng = np.random.default_rng([seed, 2022])
    sides = Sides(word_table(texts, labels), label_matched(bins, share, rng))
    size = min(len(bins), max(FEWEST_DRAWN, round(DRAWN_AT_ONCE * len(bins))))
    steps = max(1, SWEEPS * len(bins) // size)
    warm = np.abs(sides.gains(*_partners(bins, sides.is_second, len(bins), rng)))
    if not warm.size:
        raise InputError(
            "--shift word_bias: some label bin must have samples on both sides, but none has. "
            "The source has too few samples."
        )
    usual = float(np.median(warm)) or 1.0
    cooling = np.geomspace(HOTTEST * usual, COLDEST * usual, steps)
    annealed = _cool(sides, bins, cooling, size, rng, np.inf if target is None else target)
    if target is not None and max(annealed.trace) < target:
        raise InputError(
            f"--shift word_bias:{target:g}: the contrast must be within reach, but annealing "
            f"ends at {max(annealed.trace):.3f}. Give less, or word_bias alone."
        )
    return annealed


def _cool(
    sides: Sides,
    bins: IntArray,
    temperatures: npt.NDArray[np.float64],
    size: int,
    rng: np.random.Generator,
    target: float,
) -> Annealed:
    trace = [sides.contrast]
    best, chosen, proposals = trace[0], sides.is_second.copy(), 0
    noted = set(np.linspace(0, len(temperatures) - 1, POINTS).astype(int).tolist())
    for step, temperature in enumerate(temperatures):
        leaving, joining = _partners(bins, sides.is_second, size, rng)
        gains = sides.gains(leaving, joining)
        accepted = gains > temperature * np.log(rng.random(len(gains)))
        sides.exchange(leaving[accepted], joining[accepted])
        proposals += len(gains)
        if step in noted:
            trace.append(sides.contrast)
            if trace[-1] > best:
                best, chosen = trace[-1], sides.is_second.copy()
            if best >= target:
                break
    return Annealed(chosen, tuple(trace), proposals)


def label_matched(bins: IntArray, share: float, rng: np.random.Generator) -> BoolArray:
    """A random side, True for `share` of the samples of every label bin, `(N,)`."""
    chosen = np.zeros(len(bins), np.bool_)
    for value in np.unique(bins):
        members = rng.permutation(np.flatnonzero(bins == value))
        chosen[members[: round(share * len(members))]] = True
    return chosen


def label_bins(labels: npt.ArrayLike, limits: tuple[float, float] | None) -> IntArray:
    """The label bin of each sample, `(N,)`: one of seven equal ones, or the class.

    Args:
        labels: `(N,)`; of several at once `(N, C)`, where each combination is a bin.
        limits: scale of a regression label; None: numbers of classes.

    Example:
        >>> label_bins([-3.0, 0.0, 0.2, 3.0], (-3.0, 3.0))
        array([0, 3, 3, 6])
    """
    values = np.asarray(labels, np.float64)
    if values.ndim == 2:
        return np.unique(values, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    if limits is None:
        return values.astype(np.int64)
    low, high = limits
    # Labels that are all alike have no width of their own.
    width = (high - low) or 1.0
    return np.clip((values - low) / width * 7, 0, 6).astype(np.int64)


def _names(is_second: BoolArray, bins: IntArray, share: float, seed: int) -> list[str]:
    rng = np.random.default_rng([seed, 2023])
    names = np.where(is_second, "ood_test", "train").astype(object)
    for side, name, part in ((True, "ood_val", 0.5), (False, "id_val", share / (1 - 2 * share))):
        rows = np.flatnonzero(is_second == side)
        names[rows[label_matched(bins[rows], part, rng)]] = name
    return [str(name) for name in names]


def _partners(
    bins: IntArray, is_second: BoolArray, count: int, rng: np.random.Generator
) -> tuple[IntArray, IntArray]:
    """Disjoint pairs of a sample of the second side and one of the first, of the same bin.

    Up to `count` samples are drawn, and within each bin those of one side meet those of the other.
    """
    drawn = rng.permutation(len(bins))[:count]
    key = 2 * bins[drawn] + is_second[drawn]
    order = np.argsort(key, kind="stable")
    drawn, key = drawn[order], key[order]
    # The place of each drawn sample among those of its bin and side.
    starts = np.searchsorted(key, key)
    place = np.arange(len(key)) - starts
    code = (key // 2) * len(bins) + place
    second = key % 2 == 1
    _, here, there = np.intersect1d(code[second], code[~second], True, return_indices=True)
    return drawn[second][here], drawn[~second][there]
