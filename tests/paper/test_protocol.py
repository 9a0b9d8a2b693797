"""The paper's protocol: the best is trained again, the test split is read once and kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cmir.data import load_dataset
from cmir.data.task import Task
from cmir.errors import InputError
from cmir.method.baseline_recipes import with_rate
from cmir.method.networks.predictions import predict
from cmir.method.training.reports import EpochReport
from cmir.method.training.split_scores import split_metrics
from cmir.paper.protocol import reproduce
from cmir.promotion.promotion_plan import PromotionPlan, PromotionRequest, plan_promotion
from cmir.promotion.trainings import LocalTrainings
from cmir.runner.paths import Paths
from tests.support.small_promotion import open_store
from tests.support.small_protocol import followed, swept

MODEL = "cmir-paper_mustard"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    client = open_store(tmp_path, monkeypatch)
    swept("mustard", tmp_path)
    return client


def plan(seeds: int = 2) -> PromotionPlan:
    return plan_promotion(PromotionRequest(rule="id_val", top=1, seeds=seeds), Paths())


def accesses(client: MlflowClient) -> int:
    known = {model.name: model.tags for model in client.search_registered_models()}
    return int(known.get(MODEL, {}).get("heldout_readings", 0))


def test_the_best_by_the_sweeps_own_objective_is_tested(client: MlflowClient) -> None:
    scores = {r.number: r.objective for r in [*plan().shortlist]}
    found = followed(client)
    assert [found.trial] == list(scores)
    assert found.finished == 2
    assert found.seeds == (1000, 1001)
    assert {"id_test/accuracy", "id_test/accuracy_std"} <= found.heldout.keys()


def test_the_test_split_is_read_once_however_often_one_asks(client: MlflowClient) -> None:
    first = followed(client)
    assert accesses(client) == first.accesses == 1

    def fail(name: str, report: EpochReport) -> None:
        raise AssertionError("nothing is to be trained")

    used = plan()
    again = reproduce(used, client, LocalTrainings(used.data, on_epoch=fail))
    assert accesses(client) == 1
    assert {**again.heldout} == {k: v for k, v in first.heldout.items() if "_test/" in k}
    assert replace(again, heldout={}) == replace(first, heldout={})


def test_other_seeds_are_another_reading(client: MlflowClient) -> None:
    followed(client)
    assert followed(client, seeds=3).accesses == accesses(client) == 2


def test_nothing_is_registered(client: MlflowClient) -> None:
    followed(client)
    assert client.search_model_versions(f"name = '{MODEL}'") == []


def test_changing_held_out_labels_changes_no_choice(client: MlflowClient, tmp_path: Path) -> None:
    before = plan().shortlist[0]
    heldout = load_dataset(tmp_path / "data" / "paper" / "mustard").heldout()
    assert set(heldout.splits) == {"id_test"}
    assert not any("test" in key for key in before.ending.metrics)


def test_the_scores_are_those_of_the_seeds(client: MlflowClient, tmp_path: Path) -> None:
    """Against training again by hand and scoring the test split."""
    import numpy as np
    import torch

    from cmir.method.networks.features import load_features
    from cmir.method.networks.sized_network import network_for
    from cmir.method.training.fitting import fit

    found, used = followed(client), plan()
    config = used.shortlist[0].trial(used.seeds)
    *_, last = fit(used.data, config)
    assert last.result is not None
    heldout = used.dataset.heldout()
    split = heldout.splits["id_test"]
    network = network_for(used.data, config.model)
    device = torch.device("cpu")
    scores = predict(
        network,
        network.layout.unpack(last.result.weights),
        load_features(heldout, config.model, device),
        split.rows,
        device,
    )
    metrics = split_metrics(scores.numpy().astype(np.float64), split, Task("binary"))
    accuracy = metrics["id_test/accuracy"]
    assert found.heldout["id_test/accuracy"] == pytest.approx(accuracy.mean())
    assert found.heldout["id_test/accuracy_std"] == pytest.approx(accuracy.std(ddof=1))


def test_a_diverged_retraining_reads_nothing(client: MlflowClient) -> None:
    used = plan()
    config = with_rate(used.shortlist[0].config, 1e30)
    broken = replace(used, shortlist=[replace(used.shortlist[0], config=config)])
    found = reproduce(broken, client, LocalTrainings(used.data))
    assert not found.heldout
    assert accesses(client) == 0


def test_a_sweep_without_a_finished_trial_is_refused(client: MlflowClient) -> None:
    with pytest.raises(InputError, match="a trial must have finished, but none has"):
        reproduce(replace(plan(), shortlist=[]), client, LocalTrainings(plan().data))
