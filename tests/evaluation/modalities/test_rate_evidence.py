"""What the rates of a search say, on made-up trials."""

import numpy as np
import pytest
from scipy import stats

from cmir.evaluation.modalities.rate_evidence import rank_correlation, rate_evidence


def test_without_anything_held_it_is_spearmans_correlation() -> None:
    random = np.random.default_rng(0)
    rates, losses = random.uniform(size=30), random.normal(size=30)
    found = rank_correlation(rates, losses)
    expected = stats.spearmanr(rates, losses)
    assert found is not None
    assert found.value == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.03)
    assert found.low < found.value < found.high


def test_what_only_follows_another_rate_has_no_correlation_once_that_is_held() -> None:
    random = np.random.default_rng(1)
    cause = random.uniform(size=60)
    follower = cause + 0.3 * random.normal(size=60)
    losses = cause + 0.1 * random.normal(size=60)
    alone, held = rank_correlation(follower, losses), rank_correlation(follower, losses, [cause])
    assert alone is not None
    assert held is not None
    assert alone.p_value < 0.001
    assert held.low < 0 < held.high


def test_trials_that_were_stopped_count_as_the_worst() -> None:
    rates = {"vision": np.linspace(0, 1, 12), "text": np.tile([0.2, 0.8], 6)}
    new = np.array([np.inf] * 4 + list(np.linspace(1.0, 0.2, 8)))
    known = np.array([np.nan] * 4 + list(np.linspace(0.2, 1.0, 8)))
    found = rate_evidence(rates, new, known)["vision"]
    assert found.new.value < -0.9
    assert found.known is None  # Eight are too few.
    assert list(found.best) == [rates["vision"][place] for place in (11, 10, 9, 8, 7)]
    assert len(found.every) == 12


def test_error_that_falls_in_new_groups_and_rises_in_known_ones_is_seen_as_both() -> None:
    random = np.random.default_rng(2)
    rates = {name: random.uniform(size=40) for name in ("text", "vision")}
    new = -rates["vision"] + 0.2 * random.normal(size=40)
    known = rates["vision"] + 0.2 * random.normal(size=40)
    found = rate_evidence(rates, new, known, [np.arange(40.0)])
    assert found["vision"].known is not None
    assert found["vision"].new.p_below < 0.001
    assert found["vision"].known.p_above < 0.001
    assert found["text"].new.low < 0 < found["text"].new.high


def test_few_trials_and_rates_that_are_all_the_same_say_nothing() -> None:
    few = {"text": np.linspace(0, 1, 9)}
    assert rate_evidence(few, np.arange(9.0), np.arange(9.0)) == {}
    same = {"text": np.full(20, 0.5)}
    assert rate_evidence(same, np.arange(20.0), np.arange(20.0)) == {}
