"""How long one sample takes: `predict` in a process, and one request to `mlflow models serve`.

    python benchmarks/latency.py --model cmir-mosi [--version N | --alias champion]

The sample is the first of the version's own example, so that it has the shapes of real ones. Both
run on two processors, with one thread for arithmetic and with two; each HTTP request opens a
connection of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import mlflow
import numpy as np
import torch

from benchmarks.support.model_server import model_server, post
from benchmarks.support.results import Row, show
from benchmarks.support.timed import BenchmarkError, end_as_interrupt, scratch
from cmir.runner.tracking.sweep_tracker import connect
from cmir.serving.requests import LENGTHS

PROCESSORS, WARM_UP = 2, 5
THREADS = (1, 2)
PERCENTILES = (50, 90, 99)


def one_sample(example: dict[str, Any]) -> dict[str, Any]:
    """The first sample of a batch, without the axis N."""
    return {name: np.asarray(values)[0].tolist() for name, values in example.items()}


def milliseconds(call: Callable[[], object], count: int) -> np.ndarray:
    """Wall time of each of `count` calls, after a few that do not count."""
    for _ in range(WARM_UP):
        call()
    found = np.empty(count)
    for index in range(count):
        began = time.perf_counter()
        call()
        found[index] = 1000 * (time.perf_counter() - began)
    return found


def row(what: str, threads: int, times: np.ndarray) -> Row:
    """The line of the table for one way of asking."""
    told = {f"p{p} ms": round(float(np.percentile(times, p)), 2) for p in PERCENTILES}
    load = round(os.getloadavg()[0], 1)
    return {"what": what, "threads": threads, "calls": len(times), **told, "load": load}


def measure(uri: str, count: int) -> list[Row]:
    """Both ways of asking for one sample, the same one."""
    model: Any = mlflow.pyfunc.load_model(uri)
    sample = one_sample(dict(model.input_example))
    arrays = {
        name: np.asarray(values, None if name.endswith(LENGTHS) else np.float32)
        for name, values in sample.items()
    }
    body = json.dumps({"inputs": sample}).encode()
    rows = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        times = milliseconds(lambda: model.predict(arrays), count)
        rows.append(row("predict in the process", threads, times))

    def ask() -> None:
        status, text = post(url, body)
        if status != 200:
            raise BenchmarkError(f"the server answered {status}: {text[:500]}")

    settings = {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()}
    settings["PYTHONPATH"] = str(Path(__file__).resolve().parent.parent)
    for threads in THREADS:
        settings["OMP_NUM_THREADS"] = str(threads)
        with scratch() as folder, model_server(uri, folder / "server.log", settings) as url:
            name, times = f"one request of {len(body) / 1e3:.0f} kB", milliseconds(ask, count)
        rows.append(row(name, threads, times))
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="name of the registered model")
    parser.add_argument("--version", help="its number; default: the champion")
    parser.add_argument("--alias", default="champion")
    parser.add_argument("--requests", type=int, default=200)
    given = parser.parse_args(arguments)
    end_as_interrupt()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:PROCESSORS])
    connect()
    chosen = f"/{given.version}" if given.version else f"@{given.alias}"
    show(
        f"latency of {given.model}{chosen}",
        measure(f"models:/{given.model}{chosen}", given.requests),
    )


if __name__ == "__main__":
    main()
