"""Two models on the same samples, and what noise takes from one, against spelled-out loops."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from cmir.data import DevelopmentData, SplitData
from cmir.data.task import SENTIMENT, Task
from cmir.evaluation.robustness.robustness_table import evaluate_robustness
from cmir.method.training.split_scores import split_metrics
from cmir.promotion.comparison import difference, group_changes, group_names, scores_of
from cmir.promotion.noise_loss import noise_loss
from cmir.promotion.report.group_plot import LARGEST, group_picture
from cmir.promotion.report.reliability_plot import BINS, reliability_curve, reliability_picture
from cmir.serving.predictor import Ensemble
from cmir.serving.trained_ensemble import ensemble_of
from tests.support.made_data.learning_data import small_config, trained

SPEAKERS = ["ann"] * 20 + ["bob"] * 12 + ["cid"] * 3 + ["dan"] * 2


def split_of(labels: np.ndarray, speakers: list[str] | None = None) -> SplitData:
    table = pl.DataFrame({"id": [str(n) for n in range(len(labels))]})
    if speakers is not None:
        table = table.with_columns(speaker=pl.Series(speakers))
    return SplitData("ood_val", np.arange(len(labels)), labels.astype(np.float32), table)


@pytest.fixture(scope="module")
def ensemble(learning: DevelopmentData) -> Ensemble:
    return ensemble_of(trained(learning, small_config((0, 1, 2))), learning)


def test_the_change_of_a_group_is_that_of_its_mean_error() -> None:
    rng = np.random.default_rng(0)
    labels = rng.normal(size=37).astype(np.float32)
    own, other = labels + rng.normal(0, 0.5, (2, 37)), labels + rng.normal(0, 0.8, (3, 37))
    found = group_changes(own, other, split_of(labels, SPEAKERS), SENTIMENT)
    assert [change.gain for change in found] == sorted(change.gain for change in found)
    groups = {"ann": range(20), "bob": range(20, 32), "small groups": range(32, 37)}
    assert {change.group for change in found} == set(groups)
    for change in found:
        rows = list(groups[change.group])
        errors = [np.abs(scores[:, rows] - labels[rows]).mean() for scores in (own, other)]
        assert change.samples == len(rows)
        assert [change.own, change.other] == pytest.approx(errors)
        assert change.gain == pytest.approx(errors[1] - errors[0])
        assert change.low < change.gain < change.high


def test_accuracy_falls_where_the_error_of_classes_rises() -> None:
    labels = np.tile([0.0, 1.0], 10)
    right, wrong = (2 * labels - 1)[None], (1 - 2 * labels)[None]
    (change,) = group_changes(wrong, right, split_of(labels), Task("binary"))
    assert (change.group, change.own, change.other, change.gain) == ("all", 0.0, 1.0, -1.0)


def test_a_group_that_is_small_alone_keeps_its_name() -> None:
    names = group_names(split_of(np.zeros(12), ["ann"] * 9 + ["bob"] * 3))
    assert names == ["ann", "bob"]


def test_the_worst_environment_is_compared_by_its_own_metric() -> None:
    rng = np.random.default_rng(1)
    labels = rng.normal(size=37)
    own, other = labels + rng.normal(size=(2, 37)), labels + rng.normal(size=(2, 37))
    split = split_of(labels, SPEAKERS)
    found = difference(own, other, split, "worst_environment_mae", SENTIMENT)
    key = "ood_val/worst_environment_mae"
    worst = [split_metrics(scores, split, SENTIMENT)[key].mean() for scores in (own, other)]
    assert found.estimate == pytest.approx(worst[0] - worst[1])
    assert found.low < found.estimate < found.high
    # Two speakers have the eight samples that a group needs to be the worst.
    assert (found.metric, found.groups) == ("worst_environment_mae", 2)


def test_intervals_of_groups_hold_for_all_of_them_together() -> None:
    rng = np.random.default_rng(4)
    labels = rng.normal(size=40)
    own, other = labels + rng.normal(size=(3, 40)), labels + rng.normal(size=(3, 40))
    (alone,) = group_changes(own[:, :10], other[:, :10], split_of(labels[:10]), SENTIMENT)
    split = split_of(labels, [f"speaker {n // 10}" for n in range(40)])
    first = next(g for g in group_changes(own, other, split, SENTIMENT) if g.group[-1] == "0")
    assert first.gain == pytest.approx(alone.gain)
    assert first.high - first.low > 1.2 * (alone.high - alone.low)
    assert first.detectable > alone.detectable


def test_scores_are_those_of_the_training(learning: DevelopmentData, ensemble: Ensemble) -> None:
    result = trained(learning, small_config((0, 1, 2)))
    scores = scores_of(ensemble, learning, {"ood_val": learning.ood_val})["ood_val"]
    errors = np.abs(scores - learning.ood_val.labels).mean(axis=1)
    assert errors == pytest.approx(result.by_seed["ood_val/mae"], rel=1e-5)


def test_the_loss_under_noise_is_a_share_of_the_lead_over_a_constant(
    learning: DevelopmentData, ensemble: Ensemble
) -> None:
    weights = ensemble.network.layout.unpack(ensemble.weights)
    table = evaluate_robustness(
        ensemble.network, weights, learning, splits=["ood_val"], corruptions=["gaussian"]
    )
    rows = table.filter(metric="mae").to_dicts()
    clean = np.array(next(row["values"] for row in rows if row["corruption"] == "clean"))
    noisy = np.mean([row["values"] for row in rows if row["where"] == "features"], axis=0)
    shares = (noisy - clean) / (5.0 - clean.mean())
    found = noise_loss(ensemble, learning, "ood_val/mae", constant=5.0)
    assert found.share == pytest.approx(shares.mean())
    interval = stats.t.interval(0.95, 2, shares.mean(), stats.sem(shares))
    assert (found.low, found.high) == pytest.approx(interval)
    assert found.noisy == pytest.approx(noisy.mean())


def test_without_a_lead_all_of_it_is_lost(learning: DevelopmentData, ensemble: Ensemble) -> None:
    assert noise_loss(ensemble, learning, "ood_val/mae", constant=0.0).share == float("inf")


def test_a_reliability_curve_is_the_share_of_ones_in_each_bin() -> None:
    rng = np.random.default_rng(2)
    probability, labels = rng.uniform(size=200), rng.integers(0, 2, 200)
    curve = reliability_curve(probability, labels)
    for place, (mean, share, samples) in enumerate(zip(*curve, strict=True)):
        inside = (probability >= place / BINS) & (probability < (place + 1) / BINS)
        assert samples == inside.sum()
        assert mean == pytest.approx(probability[inside].mean())
        assert share == pytest.approx(labels[inside].mean())
    (axes,) = reliability_picture({"id_val": curve, "ood_val": curve}).axes
    assert [line.get_label() for line in axes.lines] == ["calibrated", "id_val", "ood_val"]


def test_the_picture_of_groups_shows_those_that_fall_most() -> None:
    rng = np.random.default_rng(3)
    labels = rng.normal(size=400)
    split = split_of(labels, [f"speaker {n // 10}" for n in range(400)])
    own, other = labels + rng.normal(size=(1, 400)), labels + rng.normal(size=(1, 400))
    groups = group_changes(own, other, split, SENTIMENT)
    (axes,) = group_picture(groups, SENTIMENT).axes
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == [f"{group.group} (10)" for group in groups[:LARGEST]][::-1]
