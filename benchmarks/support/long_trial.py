"""A sweep of one trial whose epochs take as long as is asked, whatever else the machine does.

Run by `benchmarks/hosts.py` on the head of a cluster: `long_trial SECONDS IS_KEPT ADDRESS`. Data,
training and states are real ones; an epoch waits. Says each epoch, and last a line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from cmir.config import trial_config
from cmir.data import load_dataset
from cmir.runner.job_list import JobList
from cmir.runner.paths import Paths
from cmir.runner.runner import Jobs, Runner, RunStart
from cmir.runner.scheduling import kept_state
from cmir.runner.scheduling.placement import Placement
from cmir.runner.scheduling.trials_in_flight import Progress
from cmir.runner.scheduling.worker import CmirTrial, WorkerReport

EPOCHS, CUT_AFTER = 10, 8


def long_trial(seconds: float, is_kept: bool) -> type[CmirTrial]:
    """The class of trials that wait in every epoch; local, so that workers get it by value."""

    class LongTrial(CmirTrial):
        def setup(self, config: dict[str, Any]) -> None:
            # The wait is no time of the training's own: epochs count as long, or none does.
            kept_state.WORTH, kept_state.SHARE = (0.0, 1e9) if is_kept else (1e9, 1e9)
            super().setup(config)

        def _epoch(self) -> WorkerReport:
            time.sleep(seconds)
            return super()._epoch()

    return LongTrial


def main(seconds: float, is_kept: bool, address: str) -> None:
    """Runs the sweep in the current folder, on data in its folder `data`."""
    told: list[int] = []

    def on_epoch(number: int, epoch: int, objective: float) -> None:
        told.append(epoch)
        print(f"epoch {epoch} at {time.monotonic():.1f}", flush=True)

    def watch(start: RunStart) -> Progress:
        return Progress(
            on_epoch=on_epoch,
            on_again=lambda number, why: print(why, flush=True),
            on_resume=lambda number, epoch: print(f"goes on after {epoch}", flush=True),
            on_notice=lambda text: print(text, flush=True),
        )

    config = trial_config({"training.epochs": EPOCHS, "training.patience": EPOCHS}, seeds=(0, 1, 2))
    jobs = Jobs("long", load_dataset(Path("data")).development(), JobList([config]), EPOCHS)
    runner = Runner(Paths(), Placement(address=address), trainable=long_trial(seconds, is_kept))
    (record,) = runner.run(jobs, watch)
    ended = {"outcome": record.outcome, "epochs": len(record.ending.curve["objective"])}
    print(json.dumps({"told": len(told), "ended": ended}))


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2] == "1", sys.argv[3])
