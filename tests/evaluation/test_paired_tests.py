"""Paired comparisons: on data whose truth is known, and against scipy where it has the piece."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from cmir.data.task import Task
from cmir.errors import InputError
from cmir.evaluation.paired_tests import (
    Difference,
    holm,
    minimum_detectable_effect,
    paired_difference,
)

FloatArray = npt.NDArray[np.float64]


def two_models(
    seeds: int, groups: int, size: int, better_by: float = 0.3, seed: int = 0
) -> tuple[FloatArray, FloatArray, FloatArray, npt.NDArray[np.int64]]:
    """Scores `(seed, n)` of a good and a bad model, labels, groups."""
    rng = np.random.default_rng(seed)
    count = groups * size
    labels = rng.uniform(-3, 3, count)
    good = labels + rng.normal(size=(seeds, count))
    bad = labels + (1 + better_by) * rng.normal(size=(seeds, count))
    return good, bad, labels, np.repeat(np.arange(groups), size)


def shares_held(effects: tuple[float, ...], groups: int, seeds: int, repetitions: int) -> float:
    """How often the interval holds 0 where A and B differ by effects of mean 0 alone.

    Effects are standard deviations: of the seed, the group, the item, and seed and item together.
    """
    rng, size = np.random.default_rng(0), 10
    codes, n = np.repeat(np.arange(groups), size), groups * size
    held = 0
    for repetition in range(repetitions):
        gap = effects[0] * rng.normal(size=(seeds, 1)) + effects[1] * rng.normal(size=groups)[codes]
        gap = gap + effects[2] * rng.normal(size=n) + effects[3] * rng.normal(size=(seeds, n))
        base = np.full((seeds, n), 100.0)
        found = paired_difference(
            base + gap, base, np.zeros(n), codes, "mae", draws=500, seed=repetition
        )
        held += found.low <= 0 <= found.high
    return held / repetitions


@pytest.mark.parametrize(
    ("effects", "groups", "seeds"),
    [
        ((0.0, 0.0, 1.0, 0.5), 20, 5),
        ((0.1, 1.0, 1.0, 0.5), 20, 5),
        ((0.1, 1.0, 1.0, 0.5), 9, 5),
        ((0.0, 1.0, 1.0, 0.0), 9, 1),
        ((0.5, 0.3, 1.0, 0.5), 9, 3),
        ((1.0, 0.1, 1.0, 0.5), 20, 5),
    ],
    ids=["items alone", "groups", "9 groups", "one seed", "3 seeds", "mostly seeds"],
)
def test_the_interval_holds_the_truth_as_often_as_it_says(
    effects: tuple[float, ...], groups: int, seeds: int
) -> None:
    assert 0.92 <= shares_held(effects, groups, seeds, repetitions=400) <= 0.98


@pytest.mark.parametrize("metric", ["acc7", "acc2_non0"])
def test_the_interval_of_an_accuracy_holds_the_truth_as_often_too(metric: str) -> None:
    rng, held = np.random.default_rng(0), 0
    groups = np.repeat(np.arange(12), 12)
    labels = rng.uniform(-3, 3, len(groups))
    for repetition in range(400):
        a, b = (
            labels + rng.normal(size=12)[groups] + rng.normal(size=(3, len(groups)))
            for _ in range(2)
        )
        found = paired_difference(a, b, labels, groups, metric, draws=500, seed=repetition)
        held += found.low <= 0 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_an_interval_that_takes_samples_of_a_group_as_independent_does_not() -> None:
    rng, held = np.random.default_rng(0), 0
    for repetition in range(200):
        base = np.full((5, 90), 100.0)
        gap = np.repeat(rng.normal(size=9), 10) + rng.normal(size=(5, 90))
        found = paired_difference(
            base + gap, base, np.zeros(90), np.arange(90), "mae", draws=300, seed=repetition
        )
        held += found.low <= 0 <= found.high
    assert held / 200 < 0.75


def test_the_estimate_is_the_difference_of_the_means_over_seeds() -> None:
    good, bad, labels, groups = two_models(3, 6, 10)
    found = paired_difference(good, bad, labels, groups, "mae")
    wanted = np.abs(good - labels).mean() - np.abs(bad - labels).mean()
    assert found.estimate == pytest.approx(wanted)
    assert (found.groups, found.seeds, found.metric) == (6, (3, 3), "mae")
    assert found.low < found.estimate < found.high


def test_one_row_of_many_groups_gives_the_interval_of_a_paired_t_test() -> None:
    good, bad, labels, groups = two_models(1, 300, 1)
    found = paired_difference(good, bad, labels, groups, "mae", draws=20_000)
    test = stats.ttest_rel(np.abs(good[0] - labels), np.abs(bad[0] - labels))
    interval = test.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.006)
    assert found.degrees == 299
    assert found.standard_error == pytest.approx(found.estimate / test.statistic, rel=0.02)


def test_the_standard_error_of_seeds_alone_is_that_of_their_mean() -> None:
    rng = np.random.default_rng(0)
    by_seed = rng.normal(size=6)
    base = np.full((6, 40), 10.0)
    found = paired_difference(
        base + by_seed[:, None], base, np.zeros(40), np.arange(40) // 4, "mae", draws=20_000
    )
    assert found.standard_error == pytest.approx(by_seed.std(ddof=1) / np.sqrt(6), rel=0.02)
    assert found.degrees == pytest.approx(5, rel=0.05)


@pytest.mark.parametrize("metric", ["mae", "corr", "acc2_non0", "f1_has0"])
def test_exchanging_the_models_turns_the_interval_round(metric: str) -> None:
    good, bad, labels, groups = two_models(3, 8, 10)
    found = paired_difference(good, bad, labels, groups, metric, draws=400)
    turned = paired_difference(bad, good, labels, groups, metric, draws=400)
    assert (turned.low, turned.high) == pytest.approx((-found.high, -found.low))
    assert turned.p_better == pytest.approx(1 - found.p_better)
    assert turned.p_value == pytest.approx(found.p_value)


@pytest.mark.parametrize("metric", ["mae", "corr", "acc7"])
def test_the_better_model_is_better_whichever_way_the_metric_goes(metric: str) -> None:
    good, bad, labels, groups = two_models(4, 10, 20, better_by=1.0)
    found = paired_difference(good, bad, labels, groups, metric, draws=400)
    assert found.p_better > 0.99
    assert found.p_value < 0.02


def test_equal_models_are_as_likely_better_as_worse() -> None:
    good, _, labels, groups = two_models(3, 5, 8)
    found = paired_difference(good, good, labels, groups, "mae")
    assert (found.estimate, found.low, found.high) == (0, 0, 0)
    assert (found.p_better, found.p_value) == (0.5, 1.0)


def test_models_with_other_numbers_of_seeds_are_drawn_apart() -> None:
    good, bad, labels, groups = two_models(5, 10, 10)
    found = paired_difference(good, bad[:2], labels, groups, "mae")
    assert found.seeds == (5, 2)
    assert found.low < found.estimate < found.high


def test_resampling_items_too_only_widens_the_interval() -> None:
    good, bad, labels, groups = two_models(3, 12, 10)
    whole = paired_difference(good, bad, labels, groups, "mae")
    items = paired_difference(good, bad, labels, groups, "mae", items=True)
    assert items.standard_error > 1.2 * whole.standard_error


def test_a_classification_is_compared_by_its_logits() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    good = 2 * labels - 1 + rng.normal(size=(3, 200))
    bad = rng.normal(size=(3, 200))
    for metric in ("accuracy", "auc", "brier"):
        found = paired_difference(
            good, bad, labels, np.arange(200) // 10, metric, task=Task("binary"), draws=300
        )
        assert found.p_better > 0.99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": [0, 1]}, r"groups: must have one entry for each of the 40 samples"),
        ({"groups": np.zeros(40)}, r"groups: must hold at least two groups"),
        ({"metric": "accuracy"}, r"metric: must be one of mae, corr, acc7.*but got 'accuracy'"),
        ({"b": np.zeros((3, 39))}, r"labels: must be a vector with one entry for each of the 39"),
    ],
)
def test_what_cannot_be_compared_is_refused(change: dict[str, object], message: str) -> None:
    good, bad, labels, groups = two_models(3, 4, 10)
    given = {"a": good, "b": bad, "labels": labels, "groups": groups, "metric": "mae"} | change
    with pytest.raises(InputError, match=message):
        paired_difference(**given)  # type: ignore[arg-type]


def test_groups_of_which_each_lacks_a_class_are_refused() -> None:
    scores, labels = np.arange(6.0)[None], np.array([0, 0, 0, 1, 1, 1])
    with pytest.raises(InputError, match=r"groups: the metric must be defined on some draw"):
        paired_difference(scores, -scores, labels, labels, "auc", task=Task("binary"), draws=50)


def test_holm_is_its_definition_spelled_out() -> None:
    rng = np.random.default_rng(0)
    values = {f"m{n}": float(value) for n, value in enumerate(rng.uniform(0, 0.2, 7))}
    found = holm(values)
    for name, value in values.items():
        smaller = [other for other in values.values() if other <= value]
        steps = [(7 - sum(o < other for o in values.values())) * other for other in smaller]
        assert found[name] == pytest.approx(min(1.0, max(steps)))
    assert list(found) == list(values)


def test_holm_raises_a_false_alarm_among_true_nulls_as_rarely_as_it_says() -> None:
    rng = np.random.default_rng(0)
    alarms = [
        min(holm(dict(enumerate_names(rng.uniform(size=8)))).values()) < 0.05 for _ in range(2000)
    ]
    assert 0.035 < np.mean(alarms) < 0.065


def enumerate_names(values: FloatArray) -> list[tuple[str, float]]:
    return [(f"m{n}", float(value)) for n, value in enumerate(values)]


def test_holm_refuses_what_is_no_probability() -> None:
    with pytest.raises(InputError, match=r"p_values: mae must lie between 0 and 1, but got nan"):
        holm({"mae": float("nan")})


def test_an_effect_of_the_detectable_size_is_detected_with_the_power_it_names() -> None:
    rng, found = np.random.default_rng(0), []
    groups = np.repeat(np.arange(12), 5)
    base = np.full((1, 60), 100.0)

    def compare(shift: float, seed: int) -> Difference:
        gap = shift + rng.normal(size=12)[groups]
        return paired_difference(
            base + gap, base, np.zeros(60), groups, "mae", draws=500, seed=seed
        )

    sizes = [minimum_detectable_effect(compare(0.0, seed)) for seed in range(200)]
    found = [compare(float(np.mean(sizes)), seed).low > 0 for seed in range(400)]
    assert 0.74 < np.mean(found) < 0.88
