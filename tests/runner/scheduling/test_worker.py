"""The trainable of a trial, driven step by step as Ray Tune does, without Ray."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, load_file

from cmir.config import TrialConfig, trial_config
from cmir.data import load_dataset
from cmir.method.training.fitting import fit
from cmir.runner.checkpoints import StatePlace
from cmir.runner.driver_disk import DriverDisk
from cmir.runner.scheduling import kept_state
from cmir.runner.scheduling.data_identity import DataIdentity
from cmir.runner.scheduling.worker import CmirTrial, WorkerReport, shortened
from tests.support.small_sweep import write_data

SMALL = {
    "training.batch_size": 16,
    "training.epochs": 3,
    "model.representation_size": 8,
    "model.hidden_size": 8,
    "environments.view": "noise",
    "environments.count": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trial")
    write_data(folder / "data")
    return folder


def configured(**changes: Any) -> TrialConfig:
    settings = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    return trial_config(settings, seeds=(0, 1))


def worker(folder: Path, config: TrialConfig, **more: Any) -> CmirTrial:
    """A worker with this configuration."""
    kept = {name: str(folder / name) for name in ("partitions", "language")}
    data = DataIdentity.of(load_dataset(folder / "data").development())
    places = {"data": data, **kept}
    mark = folder / "mark"
    mark.write_text("word")
    own = {"weights": str(folder / "weights.safetensors"), "disk": DriverDisk(str(mark), "word")}
    own |= {"state": StatePlace(str(folder / "states"), 3)}
    return CmirTrial({"trial": config, "threads": 1, **own, **places, **more})


def broken_score(data: object, result: object, device: str) -> Any:
    raise RuntimeError("planted")


def run(trial: CmirTrial, steps: int = 20) -> list[WorkerReport]:
    """Its reports until it is done."""
    reports = []
    for _ in range(steps):
        result = trial.step()
        reports.append(result["report"])
        if result["done"]:
            return reports
    raise AssertionError(f"not done after {steps} steps")


def test_a_worker_trains_as_fit_does_and_keeps_the_weights(folder: Path) -> None:
    config = configured()
    reports = run(worker(folder, config))
    expected = list(fit(load_dataset(folder / "data").development(), config))
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert [report.metrics for report in reports] == [dict(one.metrics) for one in expected]
    result = expected[-1].result
    assert result is not None
    assert reports[-1].ending["best_epochs"] == list(result.best_epochs)
    assert reports[-1].ending["metrics"] == dict(result.metrics)
    assert torch.equal(load_file(folder / "weights.safetensors")["weights"], result.weights)


def test_weights_are_sent_where_the_drivers_disk_is_not_seen(folder: Path, tmp_path: Path) -> None:
    config, file = configured(), tmp_path / "weights.safetensors"
    for word in ("word", "another"):
        disk = DriverDisk(str(folder / "mark"), word)
        *_, last = run(worker(folder, config, disk=disk, weights=str(file)))
        assert file.exists() == (not last.weights)
        if file.exists():
            written = file.read_bytes()
            file.unlink()
    sent, kept = load(last.weights), load(written)
    assert sent.keys() == kept.keys()
    assert all(torch.equal(sent[name], kept[name]) for name in kept)
    last.forget()
    assert not last.weights


def lengthened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch counts as a long one, and keeping its state as nothing."""
    monkeypatch.setattr(kept_state, "WORTH", 0.0)
    monkeypatch.setattr(kept_state, "SHARE", 1e9)


def test_a_short_trial_keeps_no_state(folder: Path, tmp_path: Path) -> None:
    trial = worker(folder, configured(), state=StatePlace(str(tmp_path / "states"), 3))
    assert not any(report.is_kept for report in run(trial))
    assert not (tmp_path / "states").exists()


def test_a_long_trial_goes_on_in_another_worker_as_if_nothing_had_been(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengthened(monkeypatch)
    place, file = StatePlace(str(tmp_path / "states"), 3), tmp_path / "weights.safetensors"
    whole = run(worker(folder, configured(), state=place, weights=str(file)))
    assert [report.is_kept for report in whole] == [True, True, False]
    weights = load_file(file)["weights"]
    for epoch in (1, 2):
        again = worker(folder, configured(), state=replace(place, epoch=epoch), weights=str(file))
        rest = run(again)
        assert [report.epoch for report in rest] == list(range(epoch + 1, 4))
        assert [one.metrics for one in rest] == [one.metrics for one in whole[epoch:]]
        assert {**rest[-1].ending} == {**whole[-1].ending}
        assert torch.equal(load_file(file)["weights"], weights)


def test_a_state_that_cannot_be_used_is_said_and_fails_no_trial(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = StatePlace(str(tmp_path), 3, 1)
    (report,) = run(worker(folder, configured(), state=place))
    assert "00003.00001.state" in report.unusable
    lengthened(monkeypatch)
    run(worker(folder, configured(), state=StatePlace(str(tmp_path), 3)))
    other = configured(model__hidden_size=16)
    (report,) = run(worker(folder, other, state=place))
    assert (report.ending, "size" in report.unusable) == ({}, True)
    (tmp_path / "00003.00001.state").write_bytes(b"torn")
    (report,) = run(worker(folder, configured(), state=place))
    assert report.unusable


def test_a_state_that_cannot_be_written_is_said_once_and_training_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengthened(monkeypatch)
    (tmp_path / "states").write_text("no folder")
    reports = run(worker(folder, configured(), state=StatePlace(str(tmp_path / "states"), 3)))
    assert ["cannot be kept" in report.notice for report in reports] == [True, False, False]
    assert reports[-1].ending["outcome"] == "finished"


def test_what_is_measured_of_an_ended_trial_comes_with_its_ending(folder: Path) -> None:
    names = ("split/leak", "unlabelled/disagreement")
    last = run(worker(folder, configured(), measures=names))[-1]
    for name in names:
        by_seed = last.ending["by_seed"][name]
        assert len(by_seed) == 2
        assert last.ending["metrics"][name] == pytest.approx(sum(by_seed) / 2)
        assert name not in last.metrics


def test_a_divergence_ends_the_trial_and_says_where(folder: Path) -> None:
    (report,) = run(worker(folder, configured(training__learning_rate=1e30)))
    assert report.ending["outcome"] == "diverged"
    assert "non-finite in epoch 1" in report.ending["reason"]


def test_an_exception_fails_the_trial_and_the_worker_takes_the_next(folder: Path) -> None:
    trial = worker(folder, configured(), score=broken_score)
    *_, report = run(trial)
    assert report.ending["outcome"] == "failed"
    assert "RuntimeError at test_worker.py:" in report.ending["reason"]
    assert trial.reset_config(worker(folder, configured()).config)
    assert run(trial)[-1].ending["outcome"] == "finished"


def test_a_failure_keeps_its_whole_traceback(folder: Path) -> None:
    *_, report = run(worker(folder, configured(), score=broken_score))
    lines = report.ending["traceback"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "RuntimeError: planted"
    assert any("in broken_score" in line for line in lines)


def test_a_traceback_of_any_length_has_its_beginning_and_its_end() -> None:
    text = shortened("first" + "x" * 100_000 + "last")
    assert len(text) < 31_000
    assert text.startswith("first")
    assert text.endswith("last")


def test_weights_that_cannot_be_written_are_no_failure_of_the_trial(folder: Path) -> None:
    (folder / "file").touch()
    *_, report = run(worker(folder, configured(), weights=str(folder / "file" / "w.safetensors")))
    assert report.ending == {}
    assert "the weights cannot be written" in report.place


def test_data_that_is_gone_is_no_failure_of_the_trial(folder: Path) -> None:
    (report,) = run(worker(folder, configured(), data=DataIdentity("/nowhere", "abc", ())))
    assert report.ending == {}
    assert "cannot be read by the worker" in report.place
    assert "/nowhere" in report.place


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_full_or_failing_disk_is_no_failure_of_the_trial(folder: Path, number: int) -> None:
    def score(data: object, result: object, device: str) -> Any:
        try:
            raise OSError(number, os.strerror(number))
        except OSError as error:
            raise ValueError("a library's own words") from error

    *_, report = run(worker(folder, configured(), score=score))
    assert report.ending == {}
    assert os.strerror(number) in report.place


def test_a_configuration_that_does_not_fit_the_data_says_so(folder: Path) -> None:
    config = configured(environments__view="swap", environments__rate={"x": 0.1})
    (report,) = run(worker(folder, config))
    assert "environments.rate must name modalities" in report.ending["reason"]


def test_the_partition_stands_in_the_first_report(folder: Path) -> None:
    first, *rest = run(worker(folder, configured(environments__partition="error")))
    assert len(first.partition["environments"]) == 2
    assert all(not report.partition for report in rest)


def test_a_report_that_has_been_read_holds_nothing_large(folder: Path) -> None:
    *_, report = run(worker(folder, configured()))
    report.forget()
    assert (report.metrics, report.partition, report.ending) == ({}, {}, {})
