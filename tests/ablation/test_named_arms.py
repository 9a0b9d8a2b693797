"""An ablation on classes and on several labels: scores, noise, differences, the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import f1_score, log_loss

from cmir.ablation.ablation_plan import AblationPlan
from cmir.ablation.arm_results import ArmResult, noise_metrics, results_of, validation_scores
from cmir.ablation.arm_scores import Yardstick
from cmir.ablation.run_ablation import study_of
from cmir.commands.ablate_command import main
from cmir.data import DevelopmentData
from cmir.method.networks.features import load_features
from cmir.method.networks.predictions import predict
from cmir.method.networks.sized_network import network_for
from cmir.runner.paths import Paths
from cmir.runner.studies.storage import journal_storage
from cmir.runner.studies.study import records_of
from tests.support.made_data.learning_data import small_config, trained
from tests.support.small_ablation import FAMILIES, ablated, swept
from tests.support.small_promotion import open_store


@pytest.mark.parametrize("kind", ["classes", "multilabel"])
def test_arms_are_scored_clean_and_under_noise_and_compared(
    kind: str, learning_classes: DevelopmentData, learning_multilabel: DevelopmentData
) -> None:
    data = {"classes": learning_classes, "multilabel": learning_multilabel}[kind]
    config = small_config(seeds=(0, 1)).model_copy(update={"objective": "ood_val/macro_f1"})
    result = trained(data, config)
    scores = validation_scores(data, result, "cpu")
    count = data.task.outputs
    assert scores["ood_val"].shape == (2, 24, count)
    assert scores["noise_ood_val"].shape[1:] == (2, 24, count)
    network = network_for(data, config.model)
    weights = network.layout.unpack(result.weights)
    features, place = load_features(data, config.model, torch.device("cpu")), torch.device("cpu")
    clean = predict(network, weights, features, data.ood_val.rows, place).numpy()
    np.testing.assert_allclose(scores["ood_val"], clean, atol=1e-6)
    splits = {name: data.splits[name] for name in ("id_val", "ood_val")}
    noisy = noise_metrics(scores, splits, data.task)
    assert len(noisy["ood_val/noise_macro_f1"]) == 2
    found = Yardstick("macro_f1", splits, data.task).differences(scores, scores)
    assert found["ood_val/macro_f1_difference"] == found["ood_val/noise_macro_f1_difference"] == 0


def of_arms(plan: AblationPlan, folder: Path) -> dict[str, ArmResult]:
    study, paths = study_of(plan), Paths(folder)
    records = records_of(journal_storage(paths.journal(study)), study)
    return results_of(records, study, paths, plan.data)


def class_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return float(log_loss(labels, shares, labels=range(logits.shape[1])))


def mean_f1(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(f1_score(labels, logits >= 0, average="macro", zero_division=0))


@pytest.mark.parametrize(
    ("task", "metric", "by_hand", "is_less_better"),
    [("classes", "log_loss", class_loss, True), ("multilabel", "macro_f1", mean_f1, False)],
)
def test_names_are_taken_apart_to_the_end_in_the_objective(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    task: str,
    metric: str,
    by_hand: Callable[[Any, Any], float],
    is_less_better: bool,
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    open_store(tmp_path, monkeypatch)
    plan = swept(tmp_path, task, metric)
    ablated(plan, tmp_path)
    words = ["--space", "small.yaml", "--seeds", "2", "--families", ",".join(FAMILIES), "--final"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert f"ablation of small, {metric} on validation data" in shown
    assert max(map(len, shown.splitlines())) <= 100

    folder, trained_arms = tmp_path / "mlruns/studies/small.ablation", of_arms(plan, tmp_path)
    table, key = pl.read_parquet(folder / "ablation.parquet"), f"ood_val/{metric}"
    labels = plan.data.ood_val.labels
    for row in table.iter_rows(named=True):
        scores = trained_arms[row["fingerprint"]].scores
        clean = [by_hand(one, labels) for one in scores["ood_val"]]
        noisy = [by_hand(one, labels) for rate in scores["noise_ood_val"] for one in rate]
        assert row[key] == pytest.approx(np.mean(clean))
        assert row[f"ood_val/noise_{metric}"] == pytest.approx(np.mean(noisy))
    compared = table.filter(pl.col(f"{key}_difference").is_not_null())
    for row in compared.iter_rows(named=True):
        assert row[f"{key}_difference"] == pytest.approx(row[key] - table[key][0])
        is_gain = row[f"{key}_difference"] < 0 if is_less_better else row[f"{key}_difference"] > 0
        assert (row[f"{key}_p_better"] > 0.5) == is_gain
    assert pl.read_parquet(folder / "heldout.parquet")[f"ood_test/{metric}"].null_count() == 0
