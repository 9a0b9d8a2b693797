"""Every test-set access is counted, written down, and missed where the ledger is cut."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cmir.data import HeldoutData, MultimodalDataset, load_dataset
from cmir.errors import InputError
from cmir.registry.heldout_access import Tally, ledger_lines, read_heldout, tally
from cmir.registry.model_registry import Registry
from cmir.runner.paths import Paths
from cmir.runner.tracking.sweep_tracker import connect
from tests.support.made_data.learning_data import write_learning
from tests.support.small_promotion import open_store


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return open_store(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> MultimodalDataset:
    return load_dataset(write_learning(tmp_path_factory.mktemp("ledger") / "data"))


def mean_label(data: HeldoutData) -> float:
    return float(data.splits["ood_test"].labels.mean())


def shown(mean: float) -> Mapping[str, float]:
    return {"ood_test/mean": mean, "ood_test/corr": float("nan")}


def read(dataset: MultimodalDataset, registry: Registry, purpose: str = "test") -> Tally:
    _, before = read_heldout(
        dataset, mean_label, shown, registry=registry, paths=Paths(), purpose=purpose
    )
    return before


def read_in_a_process(path: Path, number: int) -> None:
    dataset, registry = load_dataset(path), Registry(connect(), "cmir-a")
    for _ in range(3):
        read(dataset, registry, f"process {number}")


def test_an_access_leaves_one_line_that_says_what_was_read_and_why(
    client: MlflowClient, dataset: MultimodalDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["workflows/promote.py", "--sweep", "small one"])
    read(dataset, Registry(client, "cmir-a"), "promotion of small")
    (line,) = ledger_lines(Paths())
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "purpose": "promotion of small",
        "command": "promote.py --sweep 'small one'",
        "model": "cmir-a",
        "data": "learning",
        "data_checksum": dataset.checksum,
        "splits": ["id_test", "ood_test"],
        "result": {
            "ood_test/mean": pytest.approx(mean_label(dataset.heldout())),
            "ood_test/corr": None,
        },
    }


def test_accesses_are_counted_by_data_whatever_model_they_were_for(
    client: MlflowClient, dataset: MultimodalDataset, tmp_path: Path
) -> None:
    other = load_dataset(write_learning(tmp_path / "other", heldout_seed=3))
    befores = [
        read(data, Registry(client, name)).accesses
        for data, name in ((dataset, "cmir-a"), (other, "cmir-a"), (dataset, "cmir-b"))
    ]
    assert befores == [0, 0, 1]
    assert tally(dataset, Registry(client, "cmir-c"), Paths()) == Tally(2, 2)
    tags = client.get_registered_model("cmir-a").tags
    assert tags["heldout_readings"] == "2"
    assert tags[f"heldout_readings.{dataset.checksum[:12]}"] == "1"


@pytest.mark.parametrize("left", [0, 1])
def test_a_ledger_that_was_deleted_or_cut_is_noticed(
    client: MlflowClient, dataset: MultimodalDataset, left: int
) -> None:
    registry = Registry(client, "cmir-a")
    for _ in range(2):
        assert read(dataset, registry).warning == ""
    ledger = Paths().heldout_ledger
    kept = ledger.read_text().splitlines(keepends=True)[:left]
    ledger.unlink()
    if kept:
        ledger.write_text("".join(kept))
    before = read(dataset, registry)
    assert before.accesses == 2
    assert f"knows of 2 test-set accesses to this data, the ledger lists {left}" in before.warning


def test_a_new_registry_does_not_make_the_ledger_forget(
    client: MlflowClient, dataset: MultimodalDataset
) -> None:
    registry = Registry(client, "cmir-a")
    read(dataset, registry)
    client.delete_registered_model("cmir-a")
    found = tally(dataset, registry, Paths())
    assert (found.accesses, found.warning) == (1, "")


def test_an_access_that_fails_is_counted_and_told(
    client: MlflowClient, dataset: MultimodalDataset
) -> None:
    def broken(data: HeldoutData) -> float:
        raise ZeroDivisionError

    registry = Registry(client, "cmir-a")
    with pytest.raises(ZeroDivisionError):
        read_heldout(dataset, broken, shown, registry=registry, paths=Paths(), purpose="test")
    (line,) = ledger_lines(Paths())
    assert (line["result"], line["fault"]) == (None, "ZeroDivisionError")
    assert tally(dataset, registry, Paths()) == Tally(1, 1)


def test_an_access_that_cannot_be_counted_is_not_done(
    client: MlflowClient, dataset: MultimodalDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*arguments: object) -> None:
        raise ConnectionError("the server went away")

    monkeypatch.setattr(MlflowClient, "set_registered_model_tag", gone)
    seen: list[HeldoutData] = []

    def noted(data: HeldoutData) -> float:
        seen.append(data)
        return 0.0

    registry = Registry(client, "cmir-a")
    with pytest.raises(InputError, match=r"was not read, because .* the server went away\. Run"):
        read_heldout(dataset, noted, shown, registry=registry, paths=Paths(), purpose="test")
    assert (seen, ledger_lines(Paths())) == ([], [])


def test_accesses_from_before_they_were_counted_by_data_are_not_forgotten(
    client: MlflowClient, dataset: MultimodalDataset
) -> None:
    client.create_registered_model("cmir-a", {"heldout_readings": "3"})
    assert read(dataset, Registry(client, "cmir-a")).registry == 3
    assert tally(dataset, Registry(client, "cmir-a"), Paths()).registry == 4


def test_a_damaged_ledger_is_told_with_its_line(
    client: MlflowClient, dataset: MultimodalDataset
) -> None:
    Paths().make()
    Paths().heldout_ledger.write_text(json.dumps({"a": 1}) + "\n[1, 2\n")
    with pytest.raises(InputError, match=r"line 2 must be a JSON object, but got '\[1, 2'"):
        read(dataset, Registry(client, "cmir-a"))


@pytest.mark.slow
def test_processes_that_read_at_once_lose_no_line_and_no_count(
    client: MlflowClient, dataset: MultimodalDataset
) -> None:
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=read_in_a_process, args=(dataset.path, n)) for n in range(2)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [process.exitcode for process in started] == [0, 0]
    assert tally(dataset, Registry(client, "cmir-a"), Paths()) == Tally(6, 6)


def test_a_password_on_the_command_line_is_not_written_down(
    client: MlflowClient, dataset: MultimodalDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = "postgresql+psycopg://me:se@cret@host/studies"
    monkeypatch.setattr(sys, "argv", ["promote.py", "--storage", store, f"--storage={store}"])
    read(dataset, Registry(client, "cmir-a"))
    text = Paths().heldout_ledger.read_text()
    assert "cret" not in text
    assert text.count("me:***@host/studies") == 2


def test_a_line_behind_one_without_an_end_stands_on_its_own(
    client: MlflowClient, dataset: MultimodalDataset
) -> None:
    read(dataset, Registry(client, "cmir-a"), "one")
    ledger = Paths().heldout_ledger
    ledger.write_bytes(ledger.read_bytes()[:-1])
    read(dataset, Registry(client, "cmir-a"), "two")
    assert [line["purpose"] for line in ledger_lines(Paths())] == ["one", "two"]
