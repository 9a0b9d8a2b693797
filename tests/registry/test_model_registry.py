"""The model registry: champions, counted test-set accesses, runs that say how they ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from cmir.data import DevelopmentData, load_dataset
from cmir.registry.logged_models import signature_of
from cmir.registry.model_registry import (
    ACCESSES,
    CHECKSUM,
    Champion,
    Registry,
    log_metrics,
    promotion_run,
)
from cmir.serving.predictor import Ensemble
from cmir.serving.trained_ensemble import ensemble_of
from tests.support.made_data.learning_data import small_config, trained, write_learning
from tests.support.small_promotion import open_store

NAME = "cmir-test"
DATA = "0123456789abcdef"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return open_store(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    return load_dataset(write_learning(tmp_path_factory.mktemp("data") / "d")).development()


@pytest.fixture(scope="module")
def ensemble(data: DevelopmentData) -> Ensemble:
    return ensemble_of(trained(data, small_config()), data)


def status_of(client: MlflowClient, run: str) -> str:
    return str(client.get_run(run).info.status)


def test_every_reading_is_counted_on_the_registered_model(client: MlflowClient) -> None:
    registry = Registry(client, NAME)
    assert [registry.count_access(DATA) for _ in range(3)] == [1, 2, 3]
    assert client.get_registered_model(NAME).tags == {
        ACCESSES: "3",
        f"{ACCESSES}.0123456789ab": "3",
    }
    assert Registry(client, NAME).accesses() == 3
    assert Registry(client, "cmir-other").accesses() == 0


def test_an_unknown_model_has_no_champion(client: MlflowClient) -> None:
    assert Registry(client, NAME).champion("champion") is None
    Registry(client, NAME).count_access(DATA)
    assert Registry(client, NAME).champion("champion") is None


def test_the_alias_moves_to_each_new_version_and_carries_its_scores(
    client: MlflowClient, ensemble: Ensemble, data: DevelopmentData
) -> None:
    registry = Registry(client, NAME)
    registry.count_access(DATA)
    for number, score in (("1", "0.1"), ("2", "0.30000000000000004")):
        tags = {CHECKSUM: "abc", "ood_val/mae": score, "id_val/mae": "9", "sweep": "s"}
        with promotion_run(client, "test", "s", None) as run:
            version = registry.register(
                run, ensemble, data, {"ood_val/mae": 0.5}, tags, "words", "champion"
            )
        assert version == number
        expected = Champion(number, "abc", {"ood_val/mae": float(score)})
        assert registry.champion("champion") == expected
    made = client.get_model_version(NAME, "1")
    assert made.description == "words"
    assert made.run_id is not None
    assert registry.champion("challenger") is None


def test_the_models_metrics_stand_with_its_run_and_with_itself(
    client: MlflowClient, ensemble: Ensemble, data: DevelopmentData
) -> None:
    registry = Registry(client, NAME)
    registry.accesses()
    metrics = {"ood_test/mae": 0.5, "ood_test/corr": float("nan")}
    with promotion_run(client, "test", "s", None) as run:
        registry.register(run, ensemble, data, metrics, {}, "", "champion")
    assert client.get_run(run).data.metrics == {"ood_test/mae": 0.5}
    source = str(client.get_model_version(NAME, "1").source)
    model = client.get_logged_model(source.removeprefix("models:/"))
    assert {metric.key: metric.value for metric in model.metrics or ()} == {"ood_test/mae": 0.5}


def test_a_promotion_run_is_a_child_of_the_sweeps_run(client: MlflowClient) -> None:
    experiment = client.create_experiment("space")
    parent = client.create_run(experiment).info.run_id
    with promotion_run(client, "elsewhere", "sweep", parent) as run:
        log_metrics(client, run, {"ood_val/mae": 1.0})
    found = client.get_run(run)
    assert found.info.experiment_id == experiment
    assert found.data.tags["mlflow.parentRunId"] == parent
    assert found.info.status == "FINISHED"


def test_a_parent_that_this_store_does_not_know_is_no_obstacle(client: MlflowClient) -> None:
    with promotion_run(client, "space", "sweep", "0" * 32) as run:
        pass
    found = client.get_run(run)
    assert client.get_experiment(found.info.experiment_id).name == "space"
    assert "mlflow.parentRunId" not in found.data.tags


@pytest.mark.parametrize(
    ("fault", "status"), [(RuntimeError("x"), "FAILED"), (KeyboardInterrupt(), "KILLED")]
)
def test_a_run_that_is_cut_off_says_so(
    client: MlflowClient, fault: BaseException, status: str
) -> None:
    seen: list[str] = []

    def cut_off() -> None:
        with promotion_run(client, "space", "sweep", None) as run:
            seen.append(run)
            raise fault

    with pytest.raises(type(fault)):
        cut_off()
    assert status_of(client, seen[0]) == status


def test_logging_a_model_says_nothing(
    client: MlflowClient,
    ensemble: Ensemble,
    data: DevelopmentData,
    capfd: pytest.CaptureFixture[str],
) -> None:
    registry = Registry(client, NAME)
    registry.accesses()
    with promotion_run(client, "test", "s", None) as run:
        registry.register(run, ensemble, data, {}, {}, "", "champion")
    assert capfd.readouterr() == ("", "")


def test_the_signature_tells_what_a_binary_model_returns(ensemble: Ensemble) -> None:
    card = ensemble.card.model_copy(update={"kind": "binary"})
    binary = Ensemble(card, ensemble.weights, ensemble.mean, ensemble.std)
    assert signature_of(binary).outputs.input_names() == ["prediction", "std", "probability"]
    assert signature_of(ensemble).outputs.input_names() == ["prediction", "std"]
