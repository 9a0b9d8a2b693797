"""A sweep whose epochs take half a second at least, so that there is time to look at it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from cmir.runner.paths import Paths
from cmir.runner.scheduling.placement import Placement
from cmir.runner.scheduling.trials_in_flight import Progress
from cmir.runner.scheduling.worker import CmirTrial
from cmir.sweep.run_sweep import SweepRequest, SweepStart, run_sweep

SECONDS = 0.5


def slow_trial() -> type[CmirTrial]:
    """Trains as any other; local, so that workers get it by value."""

    class SlowTrial(CmirTrial):
        def step(self) -> dict[str, Any]:
            time.sleep(SECONDS)
            return super().step()

    return SlowTrial


def main(space: Path) -> None:
    """Runs the sweep in the current folder, one trial at a time."""

    def show(start: SweepStart) -> Progress:
        return Progress()

    request = SweepRequest(space, {}, Placement(1), trainable=slow_trial(), live_seconds=1.0)
    run_sweep(request, Paths(), show)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
