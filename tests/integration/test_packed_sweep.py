"""Whole sweeps whose trials train in packs."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from cmir.runner.paths import Places
from cmir.runner.records import TrialRecord
from cmir.runner.trials_in_flight import Progress
from cmir.runner.worker import CmirTrial
from cmir.sweep.run_sweep import SweepOutcome, SweepRequest, SweepStart, conduct
from tests.support.small_sweep import working_in, write_space
from workflows.sweep import main

RATES = [0.001, 0.002, 0.005, 0.01]
DYING = 0.005
NOISE = {"environments.view": "noise", "environments.count": 2}


class Watch:
    """What a display is told, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, start: SweepStart) -> Progress:
        return Progress(
            on_start=lambda asked: self.events.append("start"),
            on_epoch=lambda number, epoch, objective: self.events.append("epoch"),
            on_sizes=lambda made, possible: self.events.append("size"),
        )

    def first_pack(self) -> int:
        """How many trials started before the first epoch ended."""
        return self.events[: self.events.index("epoch")].count("start")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with data in which MLflow's default store would be."""
    with working_in(tmp_path_factory.mktemp("packed")) as folder:
        yield folder


def swept(folder: Path, name: str, watch: Watch, pack: int | None, **more: Any) -> SweepOutcome:
    """Four start points that agree in structure, and whatever follows."""
    trainable = more.pop("trainable", CmirTrial)
    starts = [NOISE | {"training.learning_rate": rate} for rate in RATES]
    path = write_space(folder, **({"name": name, "start_from": starts} | more))
    request = SweepRequest(path, {}, concurrency=1, pack=pack, trainable=trainable)
    return conduct(request, Places(), watch)


@pytest.mark.slow
def test_a_packed_sweep_and_an_unpacked_one_give_the_same_numbers(folder: Path) -> None:
    settings = {"epochs": 6, "early_stopping": {"enabled": False}}
    alone, together = Watch(), Watch()
    expected = swept(folder, "alone", alone, 1, **settings).records
    found = swept(folder, "packed", together, 4, **settings).records
    assert (alone.first_pack(), together.first_pack()) == (1, 4)
    for record, other in zip(by_number(found), by_number(expected), strict=True):
        assert record.params == other.params
        assert record.outcome == other.outcome == "finished"
        assert record.ending.best_epochs == other.ending.best_epochs
        assert record.ending.metrics == pytest.approx(other.ending.metrics, rel=1e-3, abs=1e-4)
        for name, curve in other.ending.curve.items():
            assert record.ending.curve[name] == pytest.approx(curve, rel=1e-3, abs=1e-4)
    client = MlflowClient()
    experiment = client.get_experiment_by_name("packed")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.outcome = 'finished'")
    assert {int(run.data.tags["trial"]) for run in runs} == {0, 1, 2, 3}
    assert all(len(client.get_metric_history(r.info.run_id, "ood_val/mae")) == 7 for r in runs)


@pytest.mark.slow
def test_a_worker_that_dies_fails_its_pack_and_each_is_tried_once_more_alone(folder: Path) -> None:
    outcome = swept(folder, "dying", Watch(), 4, trainable=dying())
    assert outcome.is_complete
    first, again = by_number(outcome.records)[:4], by_number(outcome.records)[4:]
    assert all("its worker process died" in record.ending.reason for record in first)
    assert [record.retry_of for record in again] == [0, 1, 2, 3]
    assert Counter(record.outcome for record in again) == {"finished": 3, "failed": 1}
    failed = next(record for record in again if record.outcome == "failed")
    assert failed.params["training.learning_rate"] == DYING


@pytest.mark.slow
def test_a_pack_is_halved_and_its_size_may_be_measured(folder: Path) -> None:
    search = {"training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}
    halving = {
        "search": search,
        "start_from": [{"training.learning_rate": rate} for rate in RATES],
        "epochs": 5,
        "early_stopping": {"grace": 3, "reduction": 2.0},
    }
    watch = Watch()
    outcome = swept(folder, "halved", watch, 4, trials=4, **halving)
    assert watch.first_pack() == 4
    records = by_number(outcome.records)
    assert Counter(record.outcome for record in records) == {"finished": 2, "pruned": 2}
    assert all(len(r.ending.curve["objective"]) == 3 for r in records if r.outcome == "pruned")
    worst = max(r.objective or 0.0 for r in records if r.outcome == "finished")
    assert all((r.objective or 0.0) > worst for r in records if r.outcome == "pruned")
    measuring = Watch()
    swept(folder, "measured", measuring, None, trials=6, **halving)
    assert measuring.events.count("size") == 1
    assert measuring.first_pack() == 1


@pytest.mark.parametrize(("given", "message"), [("0", "at least 1"), ("many", "a whole number")])
def test_the_size_of_packs_is_a_number_or_auto(
    given: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--space", "s.yaml", "--pack", given])
    assert f"argument --pack: must be {message}" in capsys.readouterr().err


def by_number(records: Any) -> list[TrialRecord]:
    return sorted(records, key=lambda record: int(record.number))


def dying() -> type[CmirTrial]:
    """A trainable whose process ends with one learning rate; local: workers get it by value."""

    class Dying(CmirTrial):
        def step(self) -> dict[str, Any]:
            if any(f'"learning_rate":{DYING}' in m["trial"] for m in self.config["members"]):
                os._exit(1)
            return super().step()

    return Dying
