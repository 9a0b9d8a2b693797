"""The benchmark of intervals simulates what it says and tells its kinds of interval apart."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.bootstrap_coverage import (
    EFFECTS,
    GROUPINGS,
    SEEDS,
    Effects,
    cases,
    shares_held,
    simulated,
)


def test_simulated_gaps_have_the_spread_of_their_effects() -> None:
    effects, groups = Effects(1.0, 2.0, 0.5, 1.5, 1.0), np.arange(4000) // 2
    gap = simulated(effects, groups, 40, np.random.default_rng(0))
    assert gap.var() == pytest.approx(sum(effect**2 for effect in effects), rel=0.1)
    assert gap.mean(axis=1).std() == pytest.approx(1.0, rel=0.3)


def test_a_single_seed_is_judged_only_where_seeds_do_not_differ() -> None:
    found = list(cases(SEEDS))
    assert {name for name, _, seeds in found if seeds == 1} == {"items alone"}
    assert {grouping for _, grouping, _ in found} == set(GROUPINGS)


def test_strong_groups_are_missed_by_an_interval_that_does_not_know_them() -> None:
    shares = shares_held(EFFECTS["groups, strong"], GROUPINGS["9"], 3, repetitions=40)
    assert shares["no groups"] < 0.7 < shares["interval"] <= shares["items too"]
    assert shares["1.96"] <= shares["Satterthwaite"] <= shares["interval"]


def test_unequal_groups_hold_the_samples_there_are() -> None:
    for name, groups in GROUPINGS.items():
        assert len(groups) == pytest.approx(200, abs=5)
        assert set(groups) == set(range(groups.max() + 1))
        if name.endswith("unequal"):
            sizes = np.bincount(groups)
            assert sizes.max() / sizes.min() == pytest.approx(8, rel=0.3)
