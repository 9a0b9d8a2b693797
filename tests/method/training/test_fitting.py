"""Whole trainings: alone and in a stack, early stopping, divergence, and what stays unseen."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from cmir.data import DevelopmentData, SplitData, load_dataset, write_dataset
from cmir.errors import InputError
from cmir.method.environments.partitions import Partitions
from cmir.method.losses.replica_settings import REPORTED, WEIGHTS
from cmir.method.networks.features import load_features
from cmir.method.networks.predictions import predict
from cmir.method.networks.sized_network import network_for
from cmir.method.training.fitting import check, fit
from cmir.method.training.reports import Diverged, TrialResult
from cmir.method.training.split_scores import split_metrics
from tests.support.made_data.learning_data import (
    SIZES,
    VARIANTS,
    assert_identical,
    learning_samples,
    small_config,
    trained,
    write_learning,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize("variant", ["swap", "noise"])
def test_a_training_repeats_bit_for_bit(learning: DevelopmentData, variant: str) -> None:
    config = small_config((0, 1), **VARIANTS[variant])
    assert_identical(trained(learning, config), trained(learning, config))


def test_seeds_differ(learning: DevelopmentData) -> None:
    result = trained(learning, small_config((0, 1)))
    assert (result.weights[0] - result.weights[1]).abs().max() > 0.01
    assert len(set(result.by_seed["ood_val/mae"])) == 2


def test_constraints_of_weight_zero_are_erm_bit_for_bit(
    learning: DevelopmentData,
) -> None:
    zero = {f"loss__{name}": 0.0 for name in WEIGHTS.values()}
    plain = trained(learning, small_config((0, 1), **zero))
    for variant in ("noise", "erase", "groups"):
        unused = trained(learning, small_config((0, 1), **VARIANTS[variant] | zero))
        assert_identical(unused, plain)


@pytest.mark.parametrize(
    "name", ["invariance", "mutual_information", "reconstruction", "label_leak"]
)
def test_a_constraint_with_a_weight_changes_the_training(
    learning: DevelopmentData, name: str
) -> None:
    zero = {f"loss__{other}": 0.0 for other in WEIGHTS.values()}
    view = VARIANTS["noise"]
    plain = trained(learning, small_config(**view | zero))
    strict = trained(learning, small_config(**view | zero | {f"loss__{name}": 1.0}))
    assert (plain.weights - strict.weights).abs().max() > 1e-3


def test_a_constraint_with_a_weight_lowers_its_term(learning: DevelopmentData) -> None:
    def last_loss(name: str, weight: float) -> float:
        loss = {f"loss__{name}": weight}
        config = small_config(training__epochs=8, **VARIANTS["noise"] | loss)
        *_, report = fit(learning, config)
        return report.metrics[f"train/loss_{name}"]

    for name in ("invariance", "mutual_information", "reconstruction"):
        assert last_loss(name, 1.0) < 0.8 * last_loss(name, 0.0)
    # What the paper does not have is told of trainings alone that use it.
    assert last_loss("label_leak", 10.0) < 0.8 * last_loss("label_leak", 1e-9)


def test_a_large_learning_rate_diverges_and_names_epoch_term_and_seed(
    learning: DevelopmentData,
) -> None:
    config = small_config((4, 8), training__learning_rate=1e30)
    with pytest.raises(Diverged, match=r"'\w+' became non-finite in epoch 1 for seed 4"):
        list(fit(learning, config))


def test_a_feature_that_overflows_is_a_diverged_evaluation(tmp_path: Path) -> None:
    samples = learning_samples()
    vision = np.zeros((samples.height, 3), np.float32)
    vision[samples["split"].to_numpy() == "train"] = np.random.default_rng(0).normal(
        0, 1e-30, (SIZES["train"], 3)
    )
    vision[samples["split"].to_numpy() == "ood_val"] = 3e38
    folder = write_learning(
        tmp_path / "huge",
        samples=samples.select("id", "split", "label"),
        features={"vision": vision},
    )
    data = load_dataset(folder).development()
    with pytest.raises(Diverged, match="'evaluation' became non-finite in epoch 1 for seed 3"):
        list(fit(data, small_config((3,))))


def test_a_divergence_survives_the_way_between_processes() -> None:
    fault = pickle.loads(pickle.dumps(Diverged(3, "invariance", 7)))
    assert (fault.epoch, fault.term, fault.seed) == (3, "invariance", 7)
    assert str(fault) == "'invariance' became non-finite in epoch 3 for seed 7"


def measured(data: DevelopmentData, result: TrialResult, split: SplitData) -> dict[str, Any]:
    """The metrics of the weights that a result holds."""
    model = result.config.model
    network = network_for(data, model)
    weights = network.layout.unpack(result.weights)
    scores = predict(network, weights, load_features(data, model, CPU), split.rows, CPU)
    return split_metrics(scores.numpy(), split, data.task)


def test_every_number_of_a_seed_is_of_the_epoch_that_was_kept(learning: DevelopmentData) -> None:
    config = small_config(
        (0, 1, 2), training__epochs=30, training__patience=3, training__learning_rate=0.03
    )
    reports = list(fit(learning, config))
    result = reports[-1].result
    assert result is not None
    assert len(reports) == min(30, max(result.best_epochs) + 3)
    assert min(result.best_epochs) < len(reports)
    for split in learning.splits.values():
        for name, values in measured(learning, result, split).items():
            assert result.by_seed[name] == pytest.approx(tuple(values), abs=1e-6)
            assert result.metrics[name] == pytest.approx(float(values.mean()), abs=1e-6)
    assert result.objective == result.metrics["ood_val/mae"]


def test_the_kept_epoch_is_the_best_one_of_each_seed_alone(learning: DevelopmentData) -> None:
    settings: dict[str, Any] = {"training__epochs": 8, "training__learning_rate": 0.03}
    result = trained(learning, small_config((0, 1), **settings))
    for place, seed in enumerate((0, 1)):
        reports = list(fit(learning, small_config((seed,), **settings)))
        course = [report.metrics["ood_val/mae"] for report in reports]
        assert result.best_epochs[place] == 1 + int(np.argmin(course))
        assert result.by_seed["ood_val/mae"][place] == pytest.approx(min(course), rel=1e-4)


def test_an_objective_that_should_be_large_keeps_the_largest(learning: DevelopmentData) -> None:
    config = small_config(objective="id_val/corr", training__epochs=6)
    reports = list(fit(learning, config))
    course = [report.metrics["id_val/corr"] for report in reports]
    assert reports[-1].result is not None
    assert reports[-1].result.best_epochs == (1 + int(np.argmax(course)),)
    assert [report.objective for report in reports] == list(np.maximum.accumulate(course))


def test_reports_count_epochs_and_carry_the_best_objective_so_far(
    learning: DevelopmentData,
) -> None:
    config = small_config((0, 1), training__epochs=5, training__patience=9, **VARIANTS["noise"])
    reports = list(fit(learning, config))
    assert [report.epoch for report in reports] == [1, 2, 3, 4, 5]
    assert [report.result is None for report in reports] == [True] * 4 + [False]
    objectives = [report.objective for report in reports]
    assert objectives == sorted(objectives, reverse=True)
    for report in reports:
        named = {f"train/loss_{term}" for term in ("prediction", *REPORTED)}
        named |= {"id_val/mae", "ood_val/corr"}
        assert named | {f"{name}_std" for name in named} <= set(report.metrics)
        assert all(math.isfinite(value) for value in report.metrics.values())
    assert reports[-1].result is not None
    assert {"train/mae", "train/mae_std", "ood_val/mae"} <= set(reports[-1].result.metrics)


def test_a_term_of_weight_zero_is_reported_too(learning: DevelopmentData) -> None:
    config = small_config(loss__invariance=0.0, **VARIANTS["noise"])
    assert next(iter(fit(learning, config))).metrics["train/loss_invariance"] > 0


def test_heldout_labels_change_nothing(tmp_path: Path) -> None:
    found = []
    for seed in (0, 1):
        folder = write_learning(tmp_path / str(seed), heldout_seed=seed)
        dataset = load_dataset(folder)
        config = small_config((0, 1), **VARIANTS["swap"])
        found.append((dataset, trained(dataset.development(), config)))
    (first, one), (second, other) = found
    assert first.checksum != second.checksum
    assert first.development().checksum == second.development().checksum
    assert_identical(one, other)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_binary_task_is_learnt_with_every_variant(
    learning_binary: DevelopmentData, variant: str
) -> None:
    shared = {"objective": "id_val/log_loss", "training__epochs": 8, "loss__reduction": "mean"}
    result = trained(learning_binary, small_config((0, 1), **VARIANTS[variant] | shared))
    assert result.metrics["train/accuracy"] > 0.9
    assert result.metrics["ood_val/accuracy"] > 0.9
    assert result.objective == result.metrics["id_val/log_loss"]


GROUPS: dict[str, Any] = {"environments__partition": "speaker", "environments__groups": 2}


def test_the_penalty_does_not_count_before_its_anneal_is_over(
    learning: DevelopmentData,
) -> None:
    def scores(**changes: Any) -> list[dict[str, float]]:
        config = small_config(training__epochs=4, training__patience=4, **changes)
        reports = [dict(report.metrics) for report in fit(learning, config)]
        return [{k: v for k, v in found.items() if "_val/" in k} for found in reports]

    late = scores(loss__penalty_weight=100.0, loss__penalty_anneal_epochs=3, **GROUPS)
    plain = scores()
    assert late[:3] == plain[:3]
    assert late[3] != plain[3]


def test_the_optimiser_starts_anew_when_the_penalty_sets_in(
    learning: DevelopmentData,
) -> None:
    # A weight too small to act leaves the restart as the only difference.
    tiny = {"loss__penalty_weight": 1e-30, **GROUPS}
    at_once = trained(learning, small_config(**tiny))
    later = trained(learning, small_config(loss__penalty_anneal_epochs=1, **tiny))
    plain = trained(learning, small_config())
    assert_identical(at_once, plain)
    assert (later.weights - plain.weights).abs().max() > 1e-3


def test_the_risk_variance_brings_the_risks_of_the_groups_together(tmp_path: Path) -> None:
    # The labels of one film are twice as large, and so is its risk for long.
    is_loud = pl.col("speaker").str.contains("[01]$")
    samples = learning_samples().with_columns(
        pl.when(is_loud).then(pl.lit("loud")).otherwise(pl.lit("quiet")).alias("film"),
        pl.when(is_loud).then(2 * pl.col("label")).otherwise("label").alias("label"),
    )
    folder = write_learning(tmp_path / "films", samples=samples, label_range=None)
    data = load_dataset(folder).development()

    def variance(weight: float) -> float:
        config = small_config(
            environments__partition="film",
            environments__groups=2,
            loss__penalty_weight=weight,
            training__batch_size=48,
            training__epochs=30,
            training__patience=30,
        )
        *_, report = fit(data, config)
        return report.metrics["train/loss_penalty"]

    assert variance(10.0) < 0.2 * variance(0.0)


def test_a_result_carries_the_diagnosis_of_its_partition(learning: DevelopmentData) -> None:
    config = small_config(training__epochs=1, **GROUPS)
    assert trained(learning, config).diagnosis == Partitions(learning).diagnosis("speaker", 2)
    assert trained(learning, small_config(training__epochs=1)).diagnosis is None


@pytest.mark.parametrize("scheme", ["label_kmeans", "error", "eiil"])
def test_an_inferred_partition_has_its_own_number_of_environments(
    learning: DevelopmentData, scheme: str
) -> None:
    groups: dict[str, Any] = {"environments__groups": 2} if scheme == "label_kmeans" else {}
    config = small_config(environments__partition=scheme, **groups)
    partitions = Partitions(learning)
    *_, last = fit(learning, config, partitions=partitions)
    assert last.result is not None
    assert last.result.diagnosis is partitions.diagnosis(scheme, config.environments.group_count)
    assert last.metrics["train/loss_penalty"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "ood_val/accuracy"}, r"objective must be one of ood_val/mae.*accuracy'"),
        ({"loss__prediction": "bce"}, r"loss\.prediction must be auto, mse or mae .*got 'bce'"),
        (
            {"environments__view": "swap", "environments__rate__smell": 0.5},
            r"rate must name modalities of 'learning' \(audio, text, vision\), but got smell",
        ),
        ({"environments__partition": "film"}, r"partition must be one of none, .*'film'"),
        ({"environments__partition": "speaker", "environments__groups": 6}, "at most 5"),
        ({"environments__partition": "oracle"}, "'oracle' needs the true environments"),
        (
            {"environments__partition": "random", "environments__groups": 8},
            r"environment 0 of 'random' has 6 .*Lower environments\.groups",
        ),
        ({"model__modalities": ["smell"]}, "names 'smell'"),
        ({"model__unimodal__vision": "pool"}, r"model\.unimodal\.vision must be mlp"),
    ],
)
def test_a_configuration_that_does_not_fit_the_data_is_refused_before_training(
    learning: DevelopmentData, changes: dict[str, Any], message: str
) -> None:
    config = small_config(**changes)
    with pytest.raises(InputError, match=message):
        check(learning, config)
    with pytest.raises(InputError, match=message):
        next(iter(fit(learning, config)))


def test_a_regression_loss_is_refused_for_classes(learning_binary: DevelopmentData) -> None:
    config = small_config(objective="ood_val/accuracy", loss__prediction="mse")
    with pytest.raises(InputError, match=r"must be auto or bce for the binary task of 'learning'"):
        check(learning_binary, config)


def test_an_objective_that_no_model_could_change_is_refused(tmp_path: Path) -> None:
    neutral = pl.when(pl.col("split") == "ood_val").then(0.0).otherwise("label").cast(pl.Float32)
    samples = learning_samples().with_columns(neutral.alias("label"))
    data = load_dataset(write_learning(tmp_path / "neutral", samples=samples)).development()
    with pytest.raises(InputError, match=r"'ood_val/acc2_non0' cannot be measured on the 24"):
        check(data, small_config(objective="ood_val/acc2_non0"))
    check(data, small_config(objective="ood_val/acc2_has0"))


def test_the_scale_of_the_labels_chooses_the_metrics(tmp_path: Path) -> None:
    samples = learning_samples().with_columns(pl.col("label") / 3)
    folder = write_learning(tmp_path / "sims", samples=samples, label_range=(-1.0, 1.0))
    data = load_dataset(folder).development()
    result = trained(data, small_config(objective="ood_val/acc3"))
    assert result.objective == result.metrics["ood_val/acc3"]
    assert "ood_val/acc7" not in result.metrics


def test_a_batch_may_be_larger_than_the_training_split(learning: DevelopmentData) -> None:
    one_batch = trained(learning, small_config(training__batch_size=48))
    larger = trained(learning, small_config(training__batch_size=1000))
    assert_identical(larger, one_batch)


def spurious_dataset(folder: Path) -> DevelopmentData:
    """`text` causes the label; `vision` follows the label, but not out of distribution."""
    rng = np.random.default_rng(0)
    sizes = {"train": 240, "id_val": 80, "ood_val": 160}
    split = np.repeat(list(sizes), list(sizes.values()))
    count = len(split)
    label = rng.uniform(-3, 3, count).astype(np.float32)
    shown = np.where(split == "ood_val", rng.permutation(label), label)
    features = {
        "text": (label[:, None] + rng.normal(0, 1.5, (count, 4))).astype(np.float32),
        "vision": (shown[:, None] + rng.normal(0, 0.3, (count, 4))).astype(np.float32),
    }
    samples = pl.DataFrame(
        {"id": [f"s{row}" for row in range(count)], "split": split.tolist(), "label": label}
    )
    write_dataset(
        folder,
        samples=samples,
        features=features,
        task="regression",
        label_range=(-3.0, 3.0),
        name="spurious",
        source={},
        shift={},
    )
    return load_dataset(folder).development()


def test_swapping_a_spurious_modality_beats_it_out_of_distribution(tmp_path: Path) -> None:
    data = spurious_dataset(tmp_path / "spurious")
    swap = {
        "environments__view": "swap",
        "environments__count": 1,
        "environments__rate__vision": 1.0,
        "environments__rate__text": 0.0,
        "loss__prediction_views": "all",
    }

    def scores(objective: str, scheme: dict[str, Any]) -> tuple[float, float]:
        sizes = {"model__representation_size": 16, "model__hidden_size": 16}
        config = small_config((0, 1), objective=objective, training__epochs=10, **sizes | scheme)
        metrics = trained(data, config).metrics
        return metrics["id_val/mae"], metrics["ood_val/mae"]

    in_distribution, out_of_distribution = scores("id_val/mae", {})
    assert in_distribution < 0.3
    assert out_of_distribution > 1.5
    assert scores("id_val/mae", swap)[1] < 0.8
    # Selecting on the shifted split does not make up for training that trusts the modality.
    assert scores("ood_val/mae", swap)[1] < 0.6 * scores("ood_val/mae", {})[1]
