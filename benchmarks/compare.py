"""The same configurations x seeds x epochs through three stacks, each timed as one command.

    python benchmarks/compare.py --data data/mosi

`cmir` is `workflows/sweep.py`, `tutorial` the stack of Ray Tune's own tutorial and `optuna` Optuna
with two processes of its own (see `ray_tutorial.py`, `optuna_alone.py`). All get two
processors, start from nothing, and train every seed for all epochs with the same steps and
evaluations; a stack that did other work is an error. Repeats take turns.

Exit codes: 0; 1 a stack failed; 2 bad input.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.stacks.configurations import (
    add_arguments,
    draw,
    read_space,
    shared_settings,
    sweep_of,
    write_sweep,
)
from benchmarks.stacks.job import Done, Job, read_done
from benchmarks.support.results import Row, keep, show
from benchmarks.support.timed import ROOT, BenchmarkError, Timing, end_as_interrupt, scratch, timed
from cmir.errors import InputError
from cmir.runner.paths import Paths
from cmir.runner.studies.storage import journal_storage
from cmir.runner.studies.study import records_of

OURS = "cmir"


@dataclass(frozen=True)
class Work:
    """What every stack has to do.

    Attributes:
        job: for the stacks beside ours.
        sweep: content of the sweep file, for ours.
    """

    job: Job
    sweep: dict[str, Any]

    @property
    def runs(self) -> int:
        """Number of pairs of configuration and seed."""
        return len(self.job.configurations) * self.job.seeds


def work_of(
    space: Path, data: Path, configurations: int, seeds: int, epochs: int, alike: int = 1
) -> Work:
    """The work on one dataset folder, the configurations drawn from a sweep file's space."""
    if not data.is_dir():
        raise InputError(f"--data {data}: there is no such dataset folder.")
    known = read_space(space)
    drawn = draw(known, configurations, alike=alike)
    dump = known.file.model_dump(mode="json")["search"]
    search = {key: dump[key] for key in known.dimensions}
    data = data.resolve()
    job = Job(str(data), epochs, seeds, shared_settings(known.file), drawn, search)
    return Work(job, sweep_of(known.file, drawn, data, seeds, epochs))


def run_ours(work: Work, folder: Path) -> tuple[Timing, Done]:
    """This project's command on a generated sweep file."""
    path = write_sweep(work.sweep, folder)
    script = str(ROOT / "workflows" / "sweep.py")
    command = [sys.executable, script, "--space", str(path), "--concurrency", "2"]
    timing = timed(command, folder)
    name = work.sweep["name"]
    records = records_of(journal_storage(Paths(folder).journal(name)), name)
    epochs = sum(len(record.ending.curve["objective"]) for record in records) * work.job.seeds
    objectives = [x for record in records for x in record.ending.by_seed["ood_val/mae"]]
    return timing, Done(epochs, objectives)


def run_module(work: Work, folder: Path, module: str) -> tuple[Timing, Done]:
    """One of the other stacks."""
    work.job.write(folder)
    timing = timed([sys.executable, "-m", f"benchmarks.stacks.{module}"], folder)
    return timing, read_done(folder)


STACKS: Mapping[str, Callable[[Work, Path], tuple[Timing, Done]]] = {
    OURS: run_ours,
    "tutorial": lambda work, folder: run_module(work, folder, "ray_tutorial"),
    "optuna": lambda work, folder: run_module(work, folder, "optuna_alone"),
}


def measure(stack: str, work: Work) -> dict[str, Any]:
    """Runs a stack once from nothing.

    Raises:
        BenchmarkError: it failed, or trained another number of runs or epochs.
    """
    with scratch() as folder:
        timing, done = STACKS[stack](work, folder)
    if (done.epochs, len(done.objectives)) != (work.runs * work.job.epochs, work.runs):
        raise BenchmarkError(
            f"{stack} was to train {work.runs} runs of {work.job.epochs} epochs, but trained "
            f"{len(done.objectives)} runs and {done.epochs} epochs in all"
        )
    return {
        "stack": stack,
        **asdict(timing),
        "objective": mean(done.objectives),
        "configurations": len(work.job.configurations),
        "seeds": work.job.seeds,
        "epochs": work.job.epochs,
        "data": Path(work.job.data).name,
    }


def run_all(work: Work, stacks: Sequence[str], repeats: int) -> list[Row]:
    """The stacks in turns; says how each went."""
    rows: list[Row] = []
    for repeat in range(repeats):
        for stack in stacks:
            rows.append({**measure(stack, work), "repeat": repeat})
            print(f"{stack}: {rows[-1]['wall_seconds']:.1f} s", flush=True)
    return rows


def table(rows: Sequence[Row]) -> list[Row]:
    """One line per stack: medians over the repeats, and their ratio to ours."""
    ours = [row for row in rows if row["stack"] == OURS]
    lines: list[Row] = []
    for stack in dict.fromkeys(row["stack"] for row in rows):
        own = [row for row in rows if row["stack"] == stack]
        wall, cpu = _median(own, "wall_seconds"), _median(own, "cpu_seconds")
        lines.append(
            {
                "stack": stack,
                "wall s": wall,
                "s/config/seed": wall / own[0]["configurations"] / own[0]["seeds"],
                "x ours": wall / _median(ours, "wall_seconds") if ours else float("nan"),
                "CPU s": cpu,
                "CPU x ours": cpu / _median(ours, "cpu_seconds") if ours else float("nan"),
                "ood_val/mae": _median(own, "objective"),
                "load": max(row["load_before"] for row in own),
            }
        )
    return lines


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line, runs the stacks in turns, prints and keeps the numbers."""
    given = _parse(arguments)
    end_as_interrupt()
    try:
        work = work_of(
            given.space,
            given.data,
            given.configurations,
            given.seeds,
            given.epochs,
            given.alike,
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        rows = run_all(work, given.only or list(STACKS), given.repeat)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    show(
        f"{given.configurations} configurations x {given.seeds} seeds x {given.epochs} epochs on "
        f"{given.data.name}, two processors, median of {given.repeat}",
        table(rows),
    )
    print(f"kept in {keep(rows, 'compare', given.out)}")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_arguments(parser, configurations=8, alike=4)
    parser.add_argument("--only", nargs="+", choices=STACKS, help="stacks to run")
    parser.add_argument("--repeat", type=int, default=1, help="times, the stacks taking turns")
    parser.add_argument("--out", type=Path, help="Parquet file, in place of benchmarks/results")
    return parser.parse_args(arguments)


def _median(rows: Sequence[Row], column: str) -> float:
    return float(median(row[column] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
