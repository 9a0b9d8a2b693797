"""How often the 95 % interval of `paired_difference` holds the truth, on simulated models.

    python experiments/bootstrap_coverage.py [--repetitions 400] [--seeds S ...] [--groups G ...]
        [--out FILE]

What a sample contributes to the difference of A and B is a sum of normal effects of mean 0: of the
seed, the group, seed and group together, the item, and seed and item together. A row is one set of
their sizes, one grouping of about 200 samples, one number of seeds. Columns: the interval as it is;
the same with 1.96 in place of t; with the degrees of freedom of Satterthwaite 1946 over as many
groups as there are; with the items of a group resampled too; and with every sample taken as its own
group, as if those of one speaker were independent. The last line but one has the lowest coverage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.results import keep, show
from cmir.evaluation.paired_tests import Difference, paired_difference

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

DRAWS = 500
SAMPLES = 200
SEEDS = (1, 2, 3, 5, 10)
FAR_FROM_ZERO = 100.0


class Effects(NamedTuple):
    """Standard deviations."""

    seed: float
    group: float
    seed_and_group: float
    item: float
    seed_and_item: float


EFFECTS: Mapping[str, Effects] = {
    "items alone": Effects(0.0, 0.0, 0.0, 1.0, 0.5),
    "groups": Effects(0.1, 0.5, 0.1, 1.0, 0.5),
    "groups, strong": Effects(0.1, 2.0, 0.2, 1.0, 0.5),
    "seeds": Effects(1.0, 0.1, 0.1, 1.0, 0.5),
    "seeds with items": Effects(0.05, 0.0, 0.0, 0.2, 1.0),
    "seeds and groups alike": Effects(0.5, 1.0, 0.1, 1.0, 0.5),
}


def unequal(count: int) -> IntArray:
    """Groups of which the largest has eight times the samples of the smallest."""
    sizes = np.geomspace(1, 8, count)
    rounded = np.maximum(2, np.round(SAMPLES * sizes / sizes.sum())).astype(np.int64)
    return np.repeat(np.arange(count), rounded)


GROUPINGS: Mapping[str, IntArray] = {
    **{str(count): np.arange(SAMPLES) * count // SAMPLES for count in (5, 9, 20, 60, SAMPLES)},
    **{f"{count} unequal": unequal(count) for count in (5, 7, 9, 12, 20)},
    # The speakers of CMU-MOSI's validation split of unknown speakers.
    "9 of 9 to 62": np.repeat(np.arange(9), [9, 13, 13, 16, 18, 18, 20, 32, 62]),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--groups", nargs="+", choices=GROUPINGS, default=list(GROUPINGS))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = [
        {"effects": effects, "groups": grouping, "seeds": seeds, **share}
        for effects, grouping, seeds in cases(given.seeds, given.groups)
        for share in [shares_held(EFFECTS[effects], GROUPINGS[grouping], seeds, given.repetitions)]
    ]
    show(f"share of 95 % intervals that hold the truth, {given.repetitions} repetitions", rows)
    print(f"lowest coverage of the interval: {min(float(row['interval']) for row in rows):.3f}")
    print(f"kept in {keep(rows, 'bootstrap_coverage', given.out)}")


def cases(
    numbers: Sequence[int], groupings: Sequence[str] = tuple(GROUPINGS)
) -> Iterator[tuple[str, str, int]]:
    """Of one seed only effects without seeds: one run says nothing of others."""
    for name, effects in EFFECTS.items():
        for grouping in groupings:
            for seeds in numbers:
                if seeds > 1 or effects.seed == 0:
                    yield name, grouping, seeds


def shares_held(
    effects: Effects, groups: IntArray, seeds: int, repetitions: int
) -> dict[str, float]:
    """How often each kind of interval holds 0, the true difference."""
    rng = np.random.default_rng(0)
    own = np.arange(len(groups))
    held = np.zeros(5)
    for repetition in range(repetitions):
        gap = simulated(effects, groups, seeds, rng)
        found = compared(gap, groups, repetition)
        reach = float(stats.t.ppf(0.975, found.degrees))
        held += [
            holds_zero(found, 1.0),
            holds_zero(found, float(stats.norm.ppf(0.975)) / reach),
            holds_zero(found, float(stats.t.ppf(0.975, satterthwaite(gap, groups))) / reach),
            holds_zero(compared(gap, groups, repetition, items=True), 1.0),
            holds_zero(compared(gap, own, repetition), 1.0),
        ]
    names = ("interval", "1.96", "Satterthwaite", "items too", "no groups")
    return dict(zip(names, (held / repetitions).tolist(), strict=True))


def simulated(
    effects: Effects, groups: IntArray, seeds: int, rng: np.random.Generator
) -> FloatArray:
    """How much worse A is than B on each sample, `(seed, n)`."""
    count, n = int(groups.max()) + 1, len(groups)
    return np.asarray(
        effects.seed * rng.normal(size=(seeds, 1))
        + effects.group * rng.normal(size=count)[groups]
        + effects.seed_and_group * rng.normal(size=(seeds, count))[:, groups]
        + effects.item * rng.normal(size=n)
        + effects.seed_and_item * rng.normal(size=(seeds, n))
    )


def satterthwaite(gap: FloatArray, groups: IntArray) -> float:
    """Degrees of freedom of both levels, in the form of before: (V_s + V_g)^2 / sum V^2 / df."""
    count, sizes = int(groups.max()) + 1, np.bincount(groups)
    sums = np.bincount(groups, weights=gap.mean(0)) - sizes * gap.mean()
    of_groups = count / (count - 1) * float(np.square(sums / len(groups)).sum())
    parts = [(of_groups, count - 1)]
    if len(gap) > 1:
        parts.append((float(gap.mean(1).var(ddof=1)) / len(gap), len(gap) - 1))
    total = sum(variance for variance, _ in parts)
    return total**2 / sum(variance**2 / degrees for variance, degrees in parts)


def compared(gap: FloatArray, groups: IntArray, seed: int, items: bool = False) -> Difference:
    """The comparison of two models whose absolute errors differ by the gap."""
    base = np.full(gap.shape, FAR_FROM_ZERO)
    labels = np.zeros(gap.shape[1])
    return paired_difference(
        base + gap, base, labels, groups, "mae", draws=DRAWS, seed=seed, items=items
    )


def holds_zero(found: Difference, stretch: float) -> bool:
    low = found.estimate + stretch * (found.low - found.estimate)
    high = found.estimate + stretch * (found.high - found.estimate)
    return low <= 0 <= high


if __name__ == "__main__":
    main()
