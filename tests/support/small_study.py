"""The study of a small sweep in any storage, and a driver of it that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage

from cmir.runner.studies.records import Ending
from cmir.runner.studies.storage import storage_at
from cmir.runner.studies.study import TrialStudy, open_study
from cmir.space.search_space import checked_space
from cmir.space.space_file import parse_sweep
from cmir.space.space_source import SpaceSource
from tests.support.small_sweep import SMALL

ROOT = Path(__file__).resolve().parents[2]
FACTS = {"data_checksum": "abc"}


def opened(
    storage: BaseStorage, facts: Mapping[str, Any] = FACTS, name: str = "s", **changes: Any
) -> TrialStudy:
    """The study of the small sweep, with top-level keys of its file replaced."""
    space = checked_space(parse_sweep(SMALL | changes, "s.yaml"), "s.yaml")
    return open_study(storage, name, SpaceSource(space), facts)


def finished(value: float) -> Ending:
    """A trial that ended with this objective, after two epochs."""
    metrics = {"ood_val/mae": value, "ood_val/mae_std": 0.1}
    curve = {"objective": [value + 1.0, value], "train/mae": [0.8, 0.4]}
    seeds = {"ood_val/mae": [value - 0.1, value + 0.1]}
    return Ending("finished", value, metrics, seeds, [1, 2], curve, 1.5)


def kill_a_driver(url: str, name: str = "s") -> None:
    """Another process opens the study at `url`, ends trial 0, takes two more, and is killed."""
    code = "import sys; from tests.support.small_study import die; die(*sys.argv[1:])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    died = subprocess.run([sys.executable, "-c", code, url, name], env=environment)
    assert died.returncode == -signal.SIGKILL


def die(url: str, name: str) -> None:
    """What the killed driver does."""
    study = opened(storage_at(url, alone=True), name=name)
    study.tell(study.ask().number, finished(0.5))
    study.ask()
    study.ask()
    os.kill(os.getpid(), signal.SIGKILL)
