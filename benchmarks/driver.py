"""What the driver of a sweep does with so many ended trials, part by part, without Ray.

    python benchmarks/driver.py

A study over the real space of MOSI is filled with made-up endings of real size: 33 curves of 15
epochs, three seeds. Then each part is timed on it: what a trial costs, what a continued sweep
costs at its start, what the end costs. Seconds are those of the processor; what waits for the disk
or for other programs is in the second column.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.support.made_up import OBJECTIVE, finished
from benchmarks.support.noop_sweep import resident, write_sweep
from benchmarks.support.results import Row, keep, show
from benchmarks.support.timed import end_as_interrupt, scratch
from cmir.runner.studies.records import Ending, TrialRecord
from cmir.runner.studies.storage import journal_storage
from cmir.runner.studies.study import TrialStudy, open_study
from cmir.runner.tracking.sweep_tracker import SweepTracker, connect
from cmir.space.sampling import sampler_of
from cmir.space.search_space import SearchSpace
from cmir.space.space_file import read_sweep_file
from cmir.space.space_source import SpaceSource
from cmir.sweep.importance import importance_beside_chance
from cmir.sweep.leaderboard import leaderboard, pareto_front, schemes_compared
from cmir.sweep.pictures import PICTURES

Found = TypeVar("Found")
EPOCHS, NAME = 15, "filled"
PRUNED = 0.3
REPEATS = 20


class Parts:
    """Runs parts one after the other and notes what each took."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def time(self, part: str, do: Callable[[], Found], times: int = 1) -> Found:
        """Runs a part so many times; its seconds are the mean."""
        cpu, wall = time.process_time(), time.perf_counter()
        for _ in range(times):
            found = do()
        row = {
            "part": part,
            "CPU s": (time.process_time() - cpu) / times,
            "s": (time.perf_counter() - wall) / times,
            "driver MB": resident() / 1e6,
        }
        self.rows.append(row)
        return found


def made_up(rng: np.random.Generator) -> Ending:
    """An ending of real size; some are pruned."""
    ending = finished(rng, EPOCHS)
    if rng.random() < PRUNED:
        return replace(ending, outcome="pruned", by_seed={}, best_epochs=())
    return ending


def opened(folder: Path, space: SearchSpace) -> TrialStudy:
    """The study of a journal in a folder."""
    storage = journal_storage(folder / "study.journal", alone=True)
    return open_study(storage, NAME, SpaceSource(space), {"data_checksum": ""})


def filled(folder: Path, space: SearchSpace, trials: int) -> TrialStudy:
    """A study of so many ended trials, drawn at random."""
    study, generator = opened(folder, space), np.random.default_rng(0)
    study._study.sampler = sampler_of(space.file.model_copy(update={"sampler": "random"}), 0)
    for _ in range(trials):
        study.tell(study.ask().number, made_up(generator))
    return study


def of_a_trial(parts: Parts, study: TrialStudy, space: SearchSpace, trials: int) -> None:
    """Asking and telling; with TPE, however many of the trials should have been random."""
    study._study.sampler = sampler_of(space.file, trials)
    generator = np.random.default_rng(1)
    study.tell(study.ask().number, made_up(generator))
    asked = [parts.time("ask", study.ask) for _ in range(REPEATS)]
    parts.rows[-REPEATS:] = [_mean(parts.rows[-REPEATS:])]
    endings = iter([(trial.number, made_up(generator)) for trial in asked])
    parts.time("tell", lambda: study.tell(*next(endings)), REPEATS)


def of_the_end(parts: Parts, records: Sequence[TrialRecord]) -> None:
    """Tables and pictures."""
    parts.time("leaderboard", lambda: leaderboard(records, OBJECTIVE))
    parts.time("schemes compared", lambda: schemes_compared(records, OBJECTIVE))
    parts.time("Pareto front", lambda: pareto_front(records, OBJECTIVE))
    parts.time("importance beside chance", lambda: importance_beside_chance(records, OBJECTIVE))
    for name, draw in PICTURES.items():
        figure = parts.time(name, partial(draw, records, OBJECTIVE))
        parts.time(f"{name}.png", partial(figure.savefig, io.BytesIO()))


def of_tracking(parts: Parts, folder: Path, records: Sequence[TrialRecord]) -> None:
    """MLflow's database: one trial of many, and the look for what is there."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
    tracker = SweepTracker(connect(), NAME, NAME)

    def write() -> None:
        tracker.write_missing(records)
        tracker.flush()

    parts.time(f"write {len(records)} trials to MLflow", write)
    parts.time("look for them", tracker.writer.look)


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line, measures, prints and keeps the numbers."""
    given = _parse(arguments)
    end_as_interrupt()
    parts = Parts()
    with scratch() as folder:
        path = write_sweep(folder, given.trials, EPOCHS)
        space = SearchSpace(read_sweep_file(path), str(path))
        parts.time("imports", lambda: None)
        parts.time(f"fill with {given.trials} trials", lambda: filled(folder, space, given.trials))
        study = parts.time("open again", lambda: opened(folder, space))
        records = parts.time("records", study.records)
        of_a_trial(parts, study, space, given.trials)
        of_the_end(parts, records)
        of_tracking(parts, folder, records[: given.tracked])
        sizes = {name: (folder / name).stat().st_size for name in ("study.journal", "mlflow.db")}
    show(f"the driver with {given.trials} ended trials", parts.rows)
    print(", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in sizes.items()))
    rows = [{**row, "trials": given.trials, **sizes} for row in parts.rows]
    print(f"kept in {keep(rows, 'driver', given.out)}")
    return 0


def _mean(rows: Sequence[Row]) -> Row:
    numbers = {key: sum(row[key] for row in rows) / len(rows) for key in ("CPU s", "s")}
    return {**rows[-1], **numbers}


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--tracked", type=int, default=1000, help="trials written to MLflow")
    parser.add_argument("--out", type=Path, help="Parquet file, in place of benchmarks/results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
