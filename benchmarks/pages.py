"""How long MLflow's pages take to show the trials of a long sweep.

    python benchmarks/pages.py --trials 1000 10000

Made-up trials of real size, 33 curves of 15 epochs, stand in a store of their own; `mlflow ui`
serves it as `make ui` does. Asked is what the page of the sweep's trials asks: the best hundred by
the shared view. Where there is a browser, it opens that page: its seconds are from the start of the
browser to a page whose table names a trial.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from statistics import median

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.driver import NAME, filled
from benchmarks.support.browser import found_browser, shown
from benchmarks.support.model_server import end, free_port, post, start, wait_until_it_answers
from benchmarks.support.noop_sweep import write_sweep
from benchmarks.support.results import Row, keep, show
from benchmarks.support.timed import end_as_interrupt, scratch
from cmir.runner.tracking.sweep_tracker import Live, SweepTracker, connect
from cmir.space.search_space import SearchSpace
from cmir.space.space_file import read_sweep_file
from cmir.sweep.experiment_page import NAME as SHARED
from cmir.sweep.experiment_page import VIEW, trials_view, view_path

EPOCHS, PAGE, REPEATS = 15, 100, 5


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line, measures, prints and keeps the numbers."""
    given = _parse(arguments)
    end_as_interrupt()
    rows = [_measured(trials) for trials in given.trials]
    show("MLflow's page of trials", rows)
    print(f"kept in {keep(rows, 'pages', given.out)}")
    return 0


def _measured(trials: int) -> Row:
    with scratch() as folder:
        tracker, view = _written(folder, trials)
        port, log = free_port(), folder / "ui.log"
        command = [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--port", str(port)]
        began = time.perf_counter()
        process = start([*command, "--backend-store-uri", _store(folder)], log, {})
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_it_answers(f"{address}/health", process, log)
            started = time.perf_counter() - began
            asked = [_asked(address, tracker.experiment, view) for _ in range(REPEATS)]
            drawn = _drawn(f"{address}/{view_path(tracker.experiment)}", folder)
        finally:
            end(process)
        size = (folder / "mlflow.db").stat().st_size
    return {
        "trials": trials,
        "server answers s": started,
        "first table asked s": asked[0],
        "again s": median(asked[1:]),
        "drawn in a browser s": drawn,
        "mlflow.db MB": size / 1e6,
    }


def _store(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def _written(folder: Path, trials: int) -> tuple[SweepTracker, str]:
    """A tracking store with so many trials; the filter and order of their view, as JSON."""
    os.environ["MLFLOW_TRACKING_URI"] = _store(folder)
    path = write_sweep(folder, trials, EPOCHS)
    file = read_sweep_file(path)
    study = filled(folder, SearchSpace(file, str(path)), trials)
    tracker = SweepTracker(connect(), NAME, NAME, live=Live(0, {"kind": "trial"}))
    tracker.write_missing(study.records())
    if tracker.flush():
        raise RuntimeError("MLflow did not take all trials")
    view = json.dumps(trials_view(file))
    tracker.describe_experiment("made-up trials", {VIEW + SHARED: view})
    return tracker, view


def _asked(address: str, experiment: str, view: str) -> float:
    """Seconds of the request that fills the table."""
    wanted = json.loads(view)
    direction = "ASC" if wanted["orderByAsc"] else "DESC"
    question = {
        "experiment_ids": [experiment],
        "filter": wanted["searchFilter"],
        "order_by": [f"{wanted['orderByKey']} {direction}"],
        "max_results": PAGE,
    }
    began = time.perf_counter()
    url = f"{address}/ajax-api/2.0/mlflow/runs/search"
    status, text = post(url, json.dumps(question).encode())
    taken = time.perf_counter() - began
    if status != 200 or not json.loads(text).get("runs"):
        raise RuntimeError(f"no runs came back: {status} {text[:300]}")
    return taken


def _drawn(url: str, folder: Path) -> float:
    """Seconds until a browser has drawn the table; NaN without a browser."""
    browser = found_browser()
    if browser is None:
        return float("nan")
    began = time.perf_counter()
    words = shown(browser, url, None, folder / "profile")
    if "best/objective" not in words:
        raise RuntimeError(f"the page shows no trials: {words[:300]}")
    return time.perf_counter() - began


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--out", type=Path, help="Parquet file, in place of benchmarks/results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
