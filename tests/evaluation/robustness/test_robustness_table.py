"""Noise by Eq. 14, and the table of a whole suite of corruptions."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy import integrate, stats

from cmir.config import ModelConfig
from cmir.data import DevelopmentData
from cmir.data.task import SENTIMENT
from cmir.errors import InputError
from cmir.evaluation.robustness.corruption_inputs import BLOCK, Subject, subjects
from cmir.evaluation.robustness.corruptions import CORRUPTIONS, NOISE_RATES, gaussian_noise
from cmir.evaluation.robustness.robustness_table import (
    curve_summary,
    evaluate_robustness,
    noisy_predictions,
)
from cmir.method.networks.features import load_features
from cmir.method.networks.model import Network
from cmir.method.networks.predictions import predict
from cmir.method.networks.sized_network import network_for
from cmir.method.training.split_scores import split_metrics
from tests.support.plain_network import random_weights

CONFIG = ModelConfig(representation_size=6, hidden_size=8)
CPU = torch.device("cpu")
ROWS = np.arange(40)


@pytest.fixture(scope="module")
def network(learning: DevelopmentData) -> Network:
    return network_for(learning, CONFIG)


def only_subject(data: DevelopmentData, network: Network, replicas: int, seed: int = 0) -> Subject:
    weights, features = random_weights(network.layout, replicas), load_features(data, CONFIG, CPU)
    (subject,) = subjects(network, weights, features, ROWS, CPU, seed)
    return subject


def test_noise_is_that_of_equation_14(learning: DevelopmentData, network: Network) -> None:
    features, weights = load_features(learning, CONFIG, CPU), random_weights(network.layout, 3)
    found = noisy_predictions(network, weights, features, ROWS, CPU, [0.3, 1.0], seed=5)
    subject = only_subject(learning, network, 3, seed=5)
    noise = gaussian_noise(subject)
    assert found.shape == (2, 3, len(ROWS))
    for place, rate in enumerate([0.3, 1.0]):
        corrupted = (1 - rate) * subject.vectors + rate * noise
        torch.testing.assert_close(found[place], subject.predict(corrupted))


def test_noise_is_standard_normal_and_another_for_each_sample_and_modality(
    learning: DevelopmentData, network: Network
) -> None:
    noise = gaussian_noise(only_subject(learning, network, 2))
    assert noise.shape == (3, len(ROWS), 6)
    assert stats.kstest(noise.flatten(), "norm").pvalue > 0.01
    assert len(np.unique(noise)) > 0.99 * noise.numel()


def test_every_replica_meets_the_same_noise(learning: DevelopmentData, network: Network) -> None:
    twice = {n: w.expand(2, *w.shape[1:]) for n, w in random_weights(network.layout, 1).items()}
    features = load_features(learning, CONFIG, CPU)
    found = noisy_predictions(network, twice, features, ROWS, CPU)
    torch.testing.assert_close(found[:, 0], found[:, 1])
    assert found.shape == (7, 2, len(ROWS))


def test_noise_of_rate_0_is_the_clean_prediction(
    learning: DevelopmentData, network: Network
) -> None:
    features, weights = load_features(learning, CONFIG, CPU), random_weights(network.layout, 2)
    rows = np.random.default_rng(0).integers(0, 110, 2 * BLOCK + 7)
    found = noisy_predictions(network, weights, features, rows, CPU, [0.0, 0.5])
    torch.testing.assert_close(found[0], predict(network, weights, features, rows, CPU))
    assert (found[1] - found[0]).abs().mean() > 0.01


def test_noise_depends_on_its_seed_alone(learning: DevelopmentData, network: Network) -> None:
    features, weights = load_features(learning, CONFIG, CPU), random_weights(network.layout, 2)
    first, again, other = (
        noisy_predictions(network, weights, features, ROWS, CPU, [0.5], seed) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("rates", [[], [0.5, 1.1], [-0.1], [float("nan")]])
def test_a_rate_outside_0_and_1_is_refused(
    learning: DevelopmentData, network: Network, rates: list[float]
) -> None:
    features, weights = load_features(learning, CONFIG, CPU), random_weights(network.layout, 1)
    with pytest.raises(InputError, match=r"rates: must be numbers from 0 to 1"):
        noisy_predictions(network, weights, features, ROWS, CPU, rates)


def table_of(data: DevelopmentData, replicas: int = 2, seed: int = 0, **given: Any) -> pl.DataFrame:
    network = network_for(data, CONFIG)
    weights = random_weights(network.layout, replicas)
    return evaluate_robustness(network, weights, data, seed=seed, **given)


@pytest.fixture(scope="module")
def table(learning: DevelopmentData) -> pl.DataFrame:
    return table_of(learning)


def values_of(table: pl.DataFrame, **row: object) -> list[float]:
    (values,) = table.filter(**row)["values"].to_list()
    return list(values)


def test_the_table_holds_every_corruption_severity_split_and_metric_once(
    table: pl.DataFrame,
) -> None:
    key = ["corruption", "where", "modality", "severity", "split", "metric"]
    assert table.select(key).is_duplicated().sum() == 0
    assert set(table["corruption"]) == {"clean", *CORRUPTIONS}
    assert set(table["split"]) == {"id_val", "ood_val"}
    assert table.group_by(key[:-1]).len()["len"].n_unique() == 1
    assert {"mae", "acc2_non0", "worst_environment_mae", "tenth_percentile_mae"} < set(
        table["metric"]
    )


def test_the_clean_rows_are_the_scores_of_the_evaluation(
    learning: DevelopmentData, network: Network, table: pl.DataFrame
) -> None:
    features, weights = load_features(learning, CONFIG, CPU), random_weights(network.layout, 2)
    for split in (learning.id_val, learning.ood_val):
        scores = predict(network, weights, features, split.rows, CPU).numpy()
        for name, wanted in split_metrics(scores, split, SENTIMENT).items():
            one, _, metric = name.partition("/")
            found = values_of(table, corruption="clean", split=one, metric=metric)
            assert found == pytest.approx(wanted.tolist(), abs=1e-5)


def test_the_noisy_rows_are_the_scores_of_noisy_predictions(
    learning: DevelopmentData, network: Network, table: pl.DataFrame
) -> None:
    features, weights = load_features(learning, CONFIG, CPU), random_weights(network.layout, 2)
    split = learning.ood_val
    noisy = noisy_predictions(network, weights, features, split.rows, CPU)
    for rate, scores in zip(NOISE_RATES, noisy.numpy(), strict=True):
        found = values_of(
            table,
            corruption="gaussian",
            where="vectors",
            severity=rate,
            split="ood_val",
            metric="mae",
        )
        assert found == pytest.approx(np.abs(scores - split.labels).mean(axis=1), abs=1e-5)


def test_mean_and_deviation_are_over_the_replicas(table: pl.DataFrame) -> None:
    for row in table.head(30).iter_rows(named=True):
        assert row["mean"] == pytest.approx(np.mean(row["values"]))
        assert row["std"] == pytest.approx(np.std(row["values"], ddof=1))


def test_a_stack_is_as_robust_as_its_replicas_alone(
    learning: DevelopmentData, network: Network, table: pl.DataFrame
) -> None:
    weights = random_weights(network.layout, 2)
    second = {name: weight[1:] for name, weight in weights.items()}
    alone = evaluate_robustness(network, second, learning)
    of_stack = np.array([values[1] for values in table["values"]])
    np.testing.assert_allclose(alone["mean"], of_stack, atol=1e-4)
    assert set(alone["std"]) == {0.0}


def test_a_classification_has_calibration_in_and_out_of_distribution(
    learning_binary: DevelopmentData,
) -> None:
    table = table_of(learning_binary, corruptions=["gaussian"])
    for split in ("id_val", "ood_val"):
        found = set(table.filter(split=split, corruption="clean")["metric"])
        assert {"ece", "brier", "tenth_percentile_accuracy", "worst_environment_accuracy"} < found


def test_the_suite_is_repeatable(learning: DevelopmentData, table: pl.DataFrame) -> None:
    assert table.equals(table_of(learning))
    assert not table.equals(table_of(learning, seed=1))


def test_a_corruption_alone_is_what_it_is_among_the_others(
    learning: DevelopmentData, table: pl.DataFrame
) -> None:
    alone = table_of(learning, corruptions=["swapped"]).filter(corruption="swapped")
    assert alone.equals(table.filter(corruption="swapped"))


def test_the_area_is_the_mean_height_of_a_curve_from_its_clean_start(
    table: pl.DataFrame,
) -> None:
    curves = curve_summary(table)
    row = curves.row(
        by_predicate=(pl.col("corruption") == "missing_steps")
        & (pl.col("modality") == "all")
        & (pl.col("split") == "ood_val")
        & (pl.col("metric") == "mae"),
        named=True,
    )
    curve = table.filter(
        corruption="missing_steps", modality="all", split="ood_val", metric="mae"
    ).sort("severity")
    start = values_of(table, corruption="clean", split="ood_val", metric="mae")
    heights = np.array([start, *curve["values"].to_list()])
    areas = integrate.trapezoid(heights, [0.0, *curve["severity"]], axis=0) / 0.9
    assert row["area"] == pytest.approx(areas.mean())
    assert row["area_std"] == pytest.approx(areas.std(ddof=1))
    assert row["average"] == pytest.approx(curve["mean"].mean())
    assert "missing_modality" not in curves["corruption"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"corruptions": ["fog"]}, r"corruptions: must be among gaussian, .* but got 'fog'"),
        ({"splits": ["ood_test"]}, r"splits: must be among train, .* but got 'ood_test'"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    learning: DevelopmentData, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        table_of(learning, **given)
