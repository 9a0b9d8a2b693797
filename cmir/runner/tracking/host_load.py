"""How busy the driver's host is: metrics of a sweep's run that MLflow shows as those of a system.

MLflow's own monitors look; its thread that logs them is not used, because it would ask a server
that hangs on its own account.
"""

from __future__ import annotations

import time
from typing import Any

from mlflow.entities import Metric

PREFIX = "system/"


class HostLoad:
    """What MLflow's monitors see between two questions, on a host where they can look."""

    def __init__(self) -> None:
        self._monitors: list[Any] | None = None

    def points(self) -> list[Metric]:
        """One point of each metric, whose step is the time in seconds: a sweep may continue."""
        if self._monitors is None:
            self._monitors = _monitors()
        now = time.time()
        return [
            Metric(PREFIX + key, value, int(now * 1000), int(now))
            for monitor in self._monitors
            for key, value in _seen(monitor).items()
        ]


def _seen(monitor: Any) -> dict[str, float]:
    monitor.clear_metrics()
    monitor.collect_metrics()
    found: dict[str, float] = monitor.aggregate_metrics()
    return found


def _monitors() -> list[Any]:
    """Of processors and memory, and of GPUs where there are any and `pynvml` is installed."""
    found: list[Any] = []
    try:
        # They need psutil, which Ray brings: without Ray nothing trains here.
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

        for kind in (CPUMonitor, GPUMonitor):
            found.append(kind())
    except (ImportError, RuntimeError):
        pass
    return found
