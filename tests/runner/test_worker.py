"""The trainable of a pack, driven step by step as Ray Tune does, without Ray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from cmir.config import TrialConfig, trial_config
from cmir.runner.worker import CmirTrial
from tests.support.small_sweep import write_data

SMALL = {
    "training.batch_size": 16,
    "training.epochs": 3,
    "model.representation_size": 8,
    "model.hidden_size": 8,
    "environments.view": "noise",
    "environments.count": 2,
}
Rows = dict[int, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trial")
    write_data(folder / "data")
    return folder


def configured(**changes: Any) -> TrialConfig:
    settings = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    return trial_config(settings, seeds=(0, 1))


def pack(folder: Path, configs: Sequence[TrialConfig], **more: Any) -> CmirTrial:
    """A worker with these configurations as trials 10, 11, ..."""
    members = [
        {
            "number": 10 + place,
            "trial": config.model_dump_json(),
            "weights": str(folder / f"{10 + place}.safetensors"),
        }
        for place, config in enumerate(configs)
    ]
    places = {"dataset": str(folder / "data"), "partitions": str(folder / "partitions")}
    return CmirTrial({"members": members, "threads": 1, **places, **more})


def run(worker: CmirTrial, steps: int = 20) -> Rows:
    """The rows of each member until the pack is done."""
    rows: Rows = {}
    for _ in range(steps):
        result = worker.step()
        for row in result["rows"]:
            rows.setdefault(row["number"], []).append(row)
        if result["done"]:
            return rows
    raise AssertionError(f"not done after {steps} steps")


def assert_close(rows: Sequence[dict[str, Any]], expected: Sequence[dict[str, Any]]) -> None:
    assert len(rows) == len(expected)
    for row, other in zip(rows, expected, strict=True):
        assert row["metrics"] == pytest.approx(other["metrics"], rel=1e-4, abs=1e-5)
        assert row["objective"] == pytest.approx(other["objective"], rel=1e-4)
    ending, other = rows[-1]["ending"], expected[-1]["ending"]
    assert ending["best_epochs"] == other["best_epochs"]
    assert ending["metrics"] == pytest.approx(other["metrics"], rel=1e-4, abs=1e-5)


def test_the_members_of_a_pack_are_each_one_alone(folder: Path) -> None:
    configs = [
        configured(training__learning_rate=1e-3),
        configured(training__learning_rate=1e-2, loss__invariance=3.0),
        configured(training__weight_decay=0.5, environments__strength=0.9),
    ]
    together = run(pack(folder, configs))
    kept = [load_file(folder / f"{number}.safetensors")["weights"] for number in (10, 11, 12)]
    assert set(together) == {10, 11, 12}
    for place, config in enumerate(configs):
        alone = run(pack(folder, [config]))[10]
        assert_close(together[10 + place], alone)
        weights = load_file(folder / "10.safetensors")["weights"]
        assert kept[place].numpy() == pytest.approx(weights.numpy(), rel=1e-3, abs=1e-5)


def test_who_is_dropped_leaves_and_who_diverges_leaves_and_the_others_do_not_notice(
    folder: Path,
) -> None:
    good, bad = configured(), configured(training__learning_rate=1e30)
    worker = pack(folder, [configured(training__learning_rate=1e-3), bad, good])
    first = worker.step()
    endings = {row["number"]: row.get("ending", {}).get("outcome") for row in first["rows"]}
    assert endings == {10: None, 11: "diverged", 12: None}
    assert "non-finite in epoch 1" in first["rows"][1]["ending"]["reason"]
    worker.drop([10])
    rest = run(worker)
    assert set(rest) == {12}
    assert_close([first["rows"][2], *rest[12]], run(pack(folder, [good]))[10])


def test_a_pack_is_done_when_all_are_dropped(folder: Path) -> None:
    worker = pack(folder, [configured(), configured(loss__invariance=2.0)])
    assert worker.step()["done"] is False
    worker.drop([10, 11])
    assert worker.step() == {"rows": [], "done": True}


def test_members_stop_early_each_for_itself(folder: Path) -> None:
    settings = {"training__epochs": 12, "training__patience": 1}
    rates = (3e-2, 1e-4)
    rows = run(pack(folder, [configured(training__learning_rate=r, **settings) for r in rates]))
    assert len(rows[10]) < len(rows[11])
    assert [row[-1]["ending"]["outcome"] for row in rows.values()] == ["finished", "finished"]


def test_an_exception_fails_the_pack_and_the_worker_takes_the_next(folder: Path) -> None:
    worker = pack(folder, [configured(), configured()], dataset="/nowhere")
    result = worker.step()
    assert result["done"] is True
    assert [row["ending"]["outcome"] for row in result["rows"]] == ["failed", "failed"]
    assert "/nowhere" in result["rows"][0]["ending"]["reason"]
    assert worker.reset_config(pack(folder, [configured()]).config)
    assert run(worker)[10][-1]["ending"]["outcome"] == "finished"


def test_a_configuration_that_does_not_fit_the_data_says_so(folder: Path) -> None:
    worker = pack(folder, [configured(environments__view="swap", environments__rate={"x": 0.1})])
    (row,) = worker.step()["rows"]
    assert "environments.rate must name modalities" in row["ending"]["reason"]


def test_the_partition_stands_in_the_first_row(folder: Path) -> None:
    rows = run(pack(folder, [configured(environments__partition="error")] * 2))
    for of_member in rows.values():
        assert len(of_member[0]["partition"]["environments"]) == 2
        assert all("partition" not in row for row in of_member[1:])


def test_the_first_step_measures_where_it_is_asked_to(folder: Path) -> None:
    measure = {"most": 4, "sharing": 2}
    worker = pack(folder, [configured()], measure=measure)
    first = worker.step()
    assert (first["rows"], first["done"]) == ([], False)
    worthwhile, possible = first["sizes"]
    assert 1 <= worthwhile <= possible <= 4
    assert_close(run(worker)[10], run(pack(folder, [configured()]))[10])


def test_what_cannot_be_measured_is_not_packed(folder: Path) -> None:
    worker = pack(folder, [configured()], measure={"most": 4, "sharing": 2}, dataset="/nowhere")
    assert worker.step()["sizes"] == [1, 1]
    assert worker.step()["rows"][0]["ending"]["outcome"] == "failed"
