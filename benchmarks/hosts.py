"""What it costs to keep the states of trials, and what hosts that go cost.

    python benchmarks/hosts.py states --data data/mosi [--share .1]
    python benchmarks/hosts.py lost --data data/mosi [--seconds 6]
    python benchmarks/hosts.py killed [--trials 1000] [--every 20]
    python benchmarks/hosts.py delayed [--trials 60]

`states`: an epoch of real trainings, of a part of the data and scaled, against writing the state to
the driver's disk and sending it there. `lost`: a trial of 10 epochs whose host's power is cut after
the eighth. `killed`: trials that train nothing on two hosts of a cluster, one of which goes every
so many seconds while another comes. `delayed`: such trials on a host that frames reach after 50 ms,
or at once. All but the first make hosts of their own, as root on Linux.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import ray
import torch

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.long_trial import CUT_AFTER, EPOCHS
from benchmarks.support.noop_sweep import RECORD
from benchmarks.support.results import Row, keep, show
from benchmarks.support.separate_hosts import PORT, HostLab, SeparateHost, host_lab
from benchmarks.support.timed import ROOT, BenchmarkError, end_as_interrupt, scratch
from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.method.training.fitting import fit
from cmir.method.training.reports import EpochReport
from cmir.runner.checkpoints import StatePlace
from cmir.runner.driver_disk import DriverDisk
from cmir.runner.scheduling.data_server import DataSource, data_served
from cmir.runner.scheduling.kept_state import WORTH, Cadence, KeptState
from cmir.space.space_file import read_sweep_file

# As docs/cluster.md has them, so that a host which lost its power is missed soon.
HEALTH = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
LANGUAGE = ROOT / "search_spaces" / "mosi_language.yaml"
WRITTEN_TIMES, REPEATS = 3, 2
DELAY = 0.05
Measured = list[Row]


def configurations() -> Mapping[str, TrialConfig]:
    """A trial of vectors, and trials of a language model by what of it is trained."""
    file = read_sweep_file(LANGUAGE)
    adapters = {**file.fixed, **file.start_from[0]}
    whole = {k: v for k, v in adapters.items() if not k.startswith("training.backbone_")}
    top = {**whole, "training.backbone_layers": 3}
    return {
        "vectors": trial_config({}, seeds=(0, 1, 2)),
        "MiniLM, adapters": trial_config(adapters, seeds=(0, 1)),
        "MiniLM, top 3 layers": trial_config(top, seeds=(0, 1)),
        "MiniLM, all": trial_config(whole, seeds=(0, 1)),
    }


def states(given: argparse.Namespace) -> Measured:
    """Of each configuration an epoch, its state, and after how many epochs that is kept."""
    torch.set_num_threads(1)
    data = load_dataset(given.data).development()
    part = replace(data, **{name: _first(data, name, given.share) for name in data.splits})
    with scratch() as folder, _ray(folder):
        server = data_served("", data, folder / "partitions", folder / "states")
        with server as source:
            return [
                _state(name, config, part, given.share, source, folder)
                for name, config in configurations().items()
            ]


def _first(data: DevelopmentData, name: str, share: float) -> Any:
    split = data.splits[name]
    return split.first(max(64, round(len(split) * share)))


def _state(
    name: str,
    config: TrialConfig,
    data: DevelopmentData,
    share: float,
    source: DataSource | None,
    folder: Path,
) -> Row:
    reports = fit(data, config, cache=folder)
    next(reports)
    report = next(reports)
    epoch, place = report.seconds / share, StatePlace(str(folder / "states"), 0)
    (folder / "mark").write_text("word")
    here = DriverDisk(str(folder / "mark"), "word")
    elsewhere = DriverDisk(str(folder / "mark"), "another")
    disk = _cost(KeptState(place, here, source), report)
    sent = _cost(KeptState(place, elsewhere, source), report)
    size = place.file(report.epoch).stat().st_size
    return {
        "trained": name,
        "epoch s": epoch,
        "state MB": size / 1e6,
        "to disk s": disk,
        "share of an epoch": disk / epoch,
        "k": _every(disk, epoch),
        "sent s": sent,
        "k, sent": _every(sent, epoch),
        "kept": "no: short" if epoch < WORTH else "yes",
    }


def _cost(kept: KeptState, report: EpochReport) -> float:
    assert report.state is not None
    times = []
    for _ in range(WRITTEN_TIMES):
        began = time.perf_counter()
        kept.write(report.epoch, report.state())
        times.append(time.perf_counter() - began)
    return median(times)


def _every(cost: float, epoch: float) -> int:
    cadence = Cadence()
    cadence.note(0, cost)
    return cadence.every(epoch)


@contextmanager
def _ray(folder: Path) -> Iterator[None]:
    own: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 << 20}
    own["_temp_dir"] = str(folder / "ray")
    ray.init("local", include_dashboard=False, log_to_driver=False, **own)
    try:
        yield
    finally:
        ray.shutdown()


def lost(given: argparse.Namespace) -> Measured:
    """Seconds of a sweep of one trial: undisturbed, and with its host gone with and without."""
    rows: Measured = []
    for name, is_kept, is_cut in (
        ("undisturbed", True, False),
        ("lost, with its state", True, True),
        ("lost, without", False, True),
    ):
        rows.append({"host": name, **_one_trial(given, is_kept, is_cut)})
    return rows


def _one_trial(given: argparse.Namespace, is_kept: bool, is_cut: bool) -> Row:
    with _cluster() as (lab, head, folder):
        shutil.copytree(given.data, head.seen("data"))
        workers = [_joined(lab, head, name) for name in ("one", "two")]
        words = ["-m", "benchmarks.support.long_trial", str(given.seconds), str(int(is_kept))]
        log, began = folder / "long.log", time.monotonic()
        process = head.start(log, sys.executable, *words, f"{head.address}:{PORT}")
        if is_cut:
            _waited(process, log, lambda text: f"epoch {CUT_AFTER} " in text)
            lab.cut(next(host for host in workers if _trains(host)))
        _waited(process, log, lambda text: False)
        told = json.loads(_text(log).splitlines()[-1])
        return {"s": time.monotonic() - began, "epochs trained": told["told"], **told["ended"]}


def _trains(host: SeparateHost) -> bool:
    return bool(host.run("pgrep", "-f", "ray::.*Trainable").stdout)


def killed(given: argparse.Namespace) -> Measured:
    """Trials that train nothing while hosts go and come: how many ended, and how often."""
    with _cluster() as (lab, head, folder):
        hosts = [_joined(lab, head, f"w{number}") for number in range(2)]
        words = [str(given.trials), "5", "0", f"{head.address}:{PORT}"]
        log = folder / "noop.log"
        command = [sys.executable, "-m", "benchmarks.support.noop_sweep", *words]
        process, kills = head.start(log, *command), 0
        while not _ended_within(process, given.every):
            lab.cut(hosts.pop(0))
            kills += 1
            hosts.append(_joined(lab, head, f"w{kills + 1}"))
        if process.returncode:
            raise BenchmarkError(_text(log)[-2000:])
        record = json.loads(head.seen(RECORD).read_text())
        return [{"trials": given.trials, "hosts killed": kills, **_counted(record)}]


def _counted(record: Mapping[str, Any]) -> Row:
    numbers, curves = record["numbers"], record["curves"]
    return {
        "finished": record["finished"],
        "numbers": len(set(numbers)),
        "told twice": len(numbers) - len(set(numbers)),
        "curves of other than 5 epochs": sum(length != 5 for length in curves),
        "runs unwritten": record["unwritten"],
        "s": record["seconds"],
    }


def delayed(given: argparse.Namespace) -> Measured:
    """Seconds of a trial that trains nothing, in turn without and with a delay."""
    return [
        {
            "epochs": epochs,
            "delay ms": 1000 * delay,
            **_seconds_a_trial(given.trials, epochs, delay),
        }
        for _ in range(REPEATS)
        for epochs in (1, 15)
        for delay in (0.0, DELAY)
    ]


def _seconds_a_trial(trials: int, epochs: int, delay: float) -> Row:
    with _cluster() as (lab, head, folder):
        _joined(lab, head, "worker", delay)
        words = [str(trials), str(epochs), "0", f"{head.address}:{PORT}"]
        log = folder / "noop.log"
        process = head.start(log, sys.executable, "-m", "benchmarks.support.noop_sweep", *words)
        _waited(process, log, lambda text: False)
        ends = json.loads(head.seen(RECORD).read_text())["ends"]
        late = ends[trials // 3 :]
        return {"s of a trial": (late[-1] - late[0]) / (len(late) - 1)}


@contextmanager
def _cluster() -> Iterator[tuple[HostLab, SeparateHost, Path]]:
    """A head without processors for trials, on a host of its own; and a folder that is here."""
    with (
        scratch() as outside,
        scratch() as site,
        scratch() as short,
        host_lab(site, short) as lab,
    ):
        head = lab.add("head")
        words = ["--num-cpus=0", "--include-dashboard=false"]
        head.ray("--head", f"--port={PORT}", *words, **HEALTH)
        yield lab, head, outside


def _joined(lab: HostLab, head: SeparateHost, name: str, delay: float = 0.0) -> SeparateHost:
    host = lab.add(name)
    if delay:
        lab.slow(delay, head, host)
    host.ray(f"--address={head.address}:{PORT}", "--num-cpus=1", **HEALTH)
    return host


def _ended_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _waited(process: subprocess.Popen[bytes], log: Path, has_come: Callable[[str], bool]) -> None:
    """Until the command has said something, or has ended."""
    while not _ended_within(process, 0.1):
        if has_come(_text(log)):
            return
    if process.returncode:
        raise BenchmarkError(_text(log)[-2000:])


def _text(log: Path) -> str:
    return log.read_text(errors="replace")


MEASURES: Mapping[str, Callable[[argparse.Namespace], Measured]] = {
    "states": states,
    "lost": lost,
    "killed": killed,
    "delayed": delayed,
}
TITLES = {
    "states": "an epoch, and keeping its state",
    "lost": f"a trial of {EPOCHS} epochs whose host is lost after epoch {CUT_AFTER}",
    "killed": "trials that train nothing, on hosts that go and come",
    "delayed": "a trial that trains nothing, on another host",
}


def main(arguments: list[str] | None = None) -> None:
    """Parses the command line, measures, prints and keeps the numbers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("measure", choices=MEASURES)
    parser.add_argument("--data", type=Path, default=Path("data/mosi"), help="dataset folder")
    parser.add_argument("--share", type=float, default=0.1, help="of the data (default: .1)")
    parser.add_argument("--seconds", type=float, default=6.0, help="of an epoch (default: 6)")
    parser.add_argument(
        "--trials", type=int, default=1000, help="that train nothing (default: 1000)"
    )
    parser.add_argument("--every", type=float, default=20.0, help="s between two (default: 20)")
    parser.add_argument("--out", type=Path, help="Parquet file")
    given = parser.parse_args(arguments)
    end_as_interrupt()
    rows = MEASURES[given.measure](given)
    show(TITLES[given.measure], rows)
    print(f"kept in {keep(rows, f'hosts-{given.measure}', given.out)}")


if __name__ == "__main__":
    main()
