"""What a sweep costs beside training: per trial, per reported epoch, and memory per worker.

    python benchmarks/overhead.py

Trials that train nothing go through the real study, scheduler and tracking, two at a time on two
processors; sweeps of several sizes give the cost of one more trial or epoch. The memory is that of
worker processes on a generated data set of the shapes of CMU-MOSEI (Linux only).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import memory
from benchmarks.support.results import Row, keep, show
from benchmarks.support.timed import BenchmarkError, end_as_interrupt, scratch, timed

SECONDS_AIM = 0.15
FEW_EPOCHS, FEW_TRIALS = 5, 20

Measured = tuple[list[Row], list[Row]]


def noop(trials: int, epochs: int, timeout: float = 3600.0, live: int = 20) -> dict[str, Any]:
    """One sweep of trials that train nothing; `live` is the option of `sweep.py`.

    Returns:
        what `noop_sweep` leaves, the numbers of trials and epochs, the timing of the command.

    Raises:
        BenchmarkError: a trial did not finish, or is not in MLflow.
    """
    sizes = {"trials": trials, "epochs": epochs, "live": live}
    with scratch() as folder:
        command = [sys.executable, "-m", "benchmarks.support.noop_sweep", *map(str, sizes.values())]
        timing = timed(command, folder, timeout)
        record = json.loads((folder / "noop.json").read_text())
    if record["finished"] != trials or record["unwritten"]:
        raise BenchmarkError(
            f"of {trials} trials {record['finished']} finished, {record['unwritten']} of them are "
            "not in MLflow"
        )
    return {**sizes, **record, **asdict(timing)}


def per_trial(given: argparse.Namespace) -> Measured:
    """Sweeps of some numbers of trials: what each further one costs."""
    raw = [noop(trials, FEW_EPOCHS) for _ in range(given.repeat) for trials in given.trials]
    return _marked("trials", raw), trial_lines(raw)


def trial_lines(raw: Sequence[Row]) -> list[Row]:
    """From each number of trials to the next: medians over the repeats."""
    return [
        {
            "trials": f"{few[0]['trials']} to {many[0]['trials']}",
            "s per trial": _median(_seconds_per_trial, few, many),
            "aim": str(SECONDS_AIM) if few[0]["trials"] >= 100 else "",
            "CPU s per trial": _median(_cpu_per_trial, few, many),
            "load": max(row["load_before"] for row in many),
        }
        for few, many in _steps(raw, "trials")
    ]


def per_epoch(given: argparse.Namespace) -> Measured:
    """Sweeps of trials with some numbers of epochs: what one more report costs."""
    raw = [noop(FEW_TRIALS, epochs) for _ in range(given.repeat) for epochs in given.epochs]
    return _marked("epochs", raw), epoch_lines(raw)


def epoch_lines(raw: Sequence[Row]) -> list[Row]:
    """From each number of epochs to the next: medians over the repeats."""
    return [
        {
            "epochs": f"{few[0]['epochs']} to {many[0]['epochs']}",
            "ms per epoch": 1000 * _median(_seconds_per_epoch, few, many),
            "CPU ms per epoch": 1000 * _median(_cpu_per_epoch, few, many),
            "load": max(row["load_before"] for row in many),
        }
        for few, many in _steps(raw, "epochs")
    ]


def per_worker(given: argparse.Namespace) -> Measured:
    """Memory that a second worker adds, by the size of the data set on disk."""
    row = memory.measure(given.scale)
    return _marked("memory", [row]), [memory.worker_line(row)]


MEASURES: Mapping[str, Callable[[argparse.Namespace], Measured]] = {
    "trials": per_trial,
    "epochs": per_epoch,
    "memory": per_worker,
}
TITLES = {
    "trials": f"one more trial of {FEW_EPOCHS} epochs that trains nothing, two at a time",
    "epochs": f"one more reported epoch, {FEW_TRIALS} trials, two at a time",
    "memory": "memory that a second worker adds with the same data, its imports not counted",
}


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line, measures, prints and keeps the numbers."""
    given = _parse(arguments)
    end_as_interrupt()
    rows: list[Row] = []
    for name in given.only or MEASURES:
        raw, lines = MEASURES[name](given)
        rows += raw
        show(TITLES[name], lines)
    print(f"kept in {keep(rows, 'overhead', given.out)}")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=MEASURES)
    parser.add_argument("--trials", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 51], help="of each trial")
    parser.add_argument("--scale", type=float, default=0.1, help="samples, as a share of MOSEI's")
    parser.add_argument("--repeat", type=int, default=1, help="times; medians are shown")
    parser.add_argument("--out", type=Path, help="Parquet file, in place of benchmarks/results")
    return parser.parse_args(arguments)


def _seconds_per_trial(few: Row, many: Row) -> float:
    """What follows in the larger sweep, and in the smaller one, after as many trials, compared.

    The start, which is long and varies, is left out; what is written after the last trial is not.
    """
    count = few["trials"]
    rest = many["seconds"] - many["ends"][count - 1]
    return float((rest - few["seconds"] + few["ends"][-1]) / (many["trials"] - count))


def _cpu_per_trial(few: Row, many: Row) -> float:
    return float((many["cpu_seconds"] - few["cpu_seconds"]) / (many["trials"] - few["trials"]))


def _seconds_per_epoch(few: Row, many: Row) -> float:
    return float((_spacing(many) - _spacing(few)) / (many["epochs"] - few["epochs"]))


def _cpu_per_epoch(few: Row, many: Row) -> float:
    used = (many["cpu_seconds"] - few["cpu_seconds"]) / few["trials"]
    return float(used / (many["epochs"] - few["epochs"]))


def _spacing(row: Row) -> float:
    """Seconds between the ends of two trials; the first two wait for their processes."""
    ends = row["ends"]
    return float(ends[-1] - ends[1]) / (len(ends) - 2)


def _steps(rows: Sequence[Row], key: str) -> Iterator[tuple[list[Row], list[Row]]]:
    """Runs of each size, in order of their repeats, with those of the next larger size."""
    sizes = sorted({row[key] for row in rows})
    return pairwise([row for row in rows if row[key] == size] for size in sizes)


def _median(step: Callable[[Row, Row], float], few: list[Row], many: list[Row]) -> float:
    return median(step(one, other) for one, other in zip(few, many, strict=True))


def _marked(measure: str, rows: Sequence[Row]) -> list[Row]:
    return [{"measure": measure, **row} for row in rows]


if __name__ == "__main__":
    sys.exit(main())
