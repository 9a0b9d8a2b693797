"""A sweep whose trials train nothing: what is left is the cost of the runner.

Run by `overhead.py`, `scale.py` and `hosts.py` in an empty folder: `noop_sweep TRIALS
EPOCHS LIVE [ADDRESS]`, the last two as `--live` and `--address` of `sweep.py`. Study, scheduler and
tracking are the real ones, over the real space of MOSI; each report carries as many metrics as a
real one. Leaves `noop.json`: seconds since the call of `run_sweep` at which trials ended, what the
driver's memory was then, the size of its files, and which trials ended with how many epochs.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from ray.tune import Trainable

from benchmarks.stacks.configurations import SPACE
from benchmarks.support.made_up import SEEDS, finished
from cmir.data import write_dataset
from cmir.data.manifest import SPLITS
from cmir.runner.paths import Paths
from cmir.runner.scheduling.placement import Placement
from cmir.runner.scheduling.trials_in_flight import Progress
from cmir.runner.scheduling.worker import REPORT, WorkerReport
from cmir.runner.studies.records import TrialRecord
from cmir.space.space_file import read_sweep_file
from cmir.sweep.run_sweep import SweepRequest, SweepStart, run_sweep

RECORD = "noop.json"


def noop_trial(epochs: int) -> type[Trainable]:
    """The class of trials that report so many epochs; local, so that workers get it by value."""
    ending = finished(np.random.default_rng(0), epochs)

    class NoopTrial(Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self._epoch = 0
            self._objective = random.Random(config["trial"].fingerprint).random()

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            self._epoch += 1
            is_last = self._epoch == epochs
            report = WorkerReport(self._epoch, self._objective, dict(ending.metrics))
            if is_last:
                told = {"outcome": "finished", "objective": self._objective}
                told |= {"metrics": ending.metrics, "by_seed": ending.by_seed}
                report.ending = told | {"best_epochs": ending.best_epochs}
            return {REPORT: report, "done": is_last}

    return NoopTrial


def write_small_data(folder: Path) -> Path:
    """A data set of a few samples that has the modalities and the columns of MOSI."""
    size = 200  # Eight environments of the space need eight samples each.
    count, rng = size * len(SPLITS), np.random.default_rng(0)
    samples = pl.DataFrame(
        {
            "id": [str(index) for index in range(count)],
            "split": [split for split in SPLITS for _ in range(size)],
            "label": rng.uniform(-3, 3, count).astype(np.float32),
            "video": [f"v{index % 10}" for index in range(count)],
        }
    )
    vectors = rng.normal(size=(3, count, 4)).astype(np.float32)
    return write_dataset(
        folder,
        samples=samples,
        features=dict(zip(("text", "audio", "vision"), vectors, strict=True)),
        task="regression",
        label_range=(-3.0, 3.0),
        name="small",
        source={},
        shift={"scheme": "none"},
    )


def write_sweep(folder: Path, trials: int, epochs: int) -> Path:
    """MOSI's space over the small data, without early stopping."""
    file = read_sweep_file(SPACE)
    content = file.model_dump(mode="json", include={"fixed", "search", "objective"})
    content |= {
        "name": "noop",
        "data": {"path": "small"},
        "trials": trials,
        "seeds": SEEDS,
        "epochs": epochs,
        "early_stopping": {"enabled": False},
    }
    path = folder / "noop.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def main(trials: int, epochs: int, live: int, address: str | None = None) -> None:
    """Runs the sweep in the current folder and leaves the record there."""
    write_small_data(Path("small"))
    path, paths = write_sweep(Path(), trials, epochs), Paths()
    ends: list[float] = []
    memory: list[float] = []
    numbers: list[int] = []
    began = time.perf_counter()

    def on_end(record: TrialRecord) -> None:
        numbers.append(record.number)
        ends.append(time.perf_counter() - began)
        memory.append(resident())

    def watch(start: SweepStart) -> Progress:
        return Progress(on_end=on_end)

    trainable = noop_trial(epochs)
    placement = Placement(None if address else 2, address=address)
    request = SweepRequest(path, {}, placement, trainable=trainable, live_seconds=live)
    outcome = run_sweep(request, paths, watch)
    record = {
        "seconds": time.perf_counter() - began,
        "ends": ends,
        "memory": memory,
        "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
        "finished": sum(record.outcome == "finished" for record in outcome.records),
        "numbers": numbers,
        "curves": [len(record.ending.curve["objective"]) for record in outcome.records],
        "unwritten": outcome.findings.unwritten,
        "journal": paths.journal(outcome.sweep).stat().st_size,
        "database": Path("mlflow.db").stat().st_size,
    }
    Path(RECORD).write_text(json.dumps(record))


def resident() -> float:
    """Memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return float(pages * resource.getpagesize())


if __name__ == "__main__":
    trials, epochs, live, *address = sys.argv[1:]
    main(int(trials), int(epochs), int(live), *address)
