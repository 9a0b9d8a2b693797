"""What the stores of a sweep carry by themselves: trials per second and bytes per trial.

    python benchmarks/stores.py
    python benchmarks/stores.py --storage postgresql+psycopg://USER@HOST/STUDIES \
        --backend postgresql+psycopg://USER@HOST/RUNS

Trials of MOSI's space, with the metrics of a real one after every epoch, are asked of the study and
told to it, and written to MLflow, as a sweep does it; nothing is trained, no sampler learns, and
Ray has no part. The study is a journal file and `--storage`, an empty database; MLflow is a sqlite
file, a server of its own over another one, and such a server over `--backend`. Bytes are those of
the database and of the trials' files.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import yaml
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from benchmarks.made_up import finished
from benchmarks.model_server import end, free_port, start_tracking_server
from benchmarks.noop_sweep import write_small_data, write_sweep
from benchmarks.results import Row, keep, show
from benchmarks.timed import BenchmarkError, end_as_interrupt, scratch
from cmir.cli import positive
from cmir.runner.paths import Places
from cmir.runner.records import Ending, TrialRecord
from cmir.runner.storage import storage_at
from cmir.runner.study import open_study
from cmir.runner.tracking.sweep_tracker import SweepTracker, connect
from cmir.space.search_space import SearchSpace
from cmir.space.space_source import SpaceSource
from cmir.sweep.preparation import prepare_sweep

NAME = "stores"


def space_of(folder: Path, trials: int, epochs: int) -> SearchSpace:
    """MOSI's space, sampled at random: what a sampler costs is not the store's."""
    write_small_data(folder / "small")
    path = write_sweep(folder, trials, epochs)
    content = yaml.safe_load(path.read_text()) | {"sampler": "random"}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return prepare_sweep(path, {}, Places(folder)).space


def endings(trials: int, epochs: int) -> list[Ending]:
    """Of finished trials with all metrics that a real one has."""
    rng = np.random.default_rng(0)
    return [finished(rng, epochs) for _ in range(trials)]


def fill_study(
    name: str, url: str, space: SearchSpace, told: Sequence[Ending]
) -> tuple[Row, list[TrialRecord]]:
    """Asks for a trial for each of the endings and tells it; what it took, and the records."""
    study = open_study(storage_at(url), NAME, SpaceSource(space), {"data_checksum": ""})
    with _timed(name, len(told), lambda: stored_bytes(url)) as row:
        records = [study.tell(study.ask().number, ending) for ending in told]
    return row, records


def fill_tracker(
    name: str, uri: str, records: Sequence[TrialRecord], size: Callable[[], int]
) -> Row:
    """Writes the records to MLflow at `uri`, whose bytes `size` tells.

    Raises:
        BenchmarkError: not all could be written.
    """
    with _environment("MLFLOW_TRACKING_URI", uri):
        tracker = SweepTracker(connect(), NAME, NAME, None)
        with _timed(name, len(records), size) as row:
            tracker.write_missing(records)
            missing = tracker.flush()
    if missing:
        raise BenchmarkError(f"{missing} of {len(records)} trials could not be written to {uri}")
    return row


@contextmanager
def server(store: str, folder: Path) -> Iterator[str]:
    """`mlflow server` over a database; yields its address."""
    port = free_port()
    process = start_tracking_server(store, folder / "artifacts", port, folder / "server.log")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        end(process)


def stored_bytes(url: str) -> int:
    """Size of a journal or sqlite file, or of a PostgreSQL database.

    Raises:
        BenchmarkError: another kind of database.
    """
    name = url.removeprefix("sqlite:///")
    if "://" not in name:
        return Path(name).stat().st_size if Path(name).exists() else 0
    if not url.startswith("postgresql"):
        raise BenchmarkError(f"{make_url(url).render_as_string()}: must be PostgreSQL or a file")
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            found = connection.execute(text("SELECT pg_database_size(current_database())"))
            return int(found.scalar_one())
    finally:
        engine.dispose()


def measure(
    folder: Path, trials: int, epochs: int, storage: str | None, backend: str | None
) -> list[Row]:
    """All stores, one after the other."""
    space, told = space_of(folder, trials, epochs), endings(trials, epochs)
    row, records = fill_study("study: journal", str(folder / "journal"), space, told)
    rows = [row]
    if storage is not None:
        name = f"study: {make_url(storage).get_backend_name()}"
        rows.append(fill_study(name, storage, space, told)[0])
    direct, files = f"sqlite:///{folder}/direct.db", folder / "mlruns"

    def direct_bytes() -> int:
        return stored_bytes(direct) + _folder_bytes(files)

    rows.append(fill_tracker("MLflow: sqlite", direct, records, direct_bytes))
    for store in filter(None, (f"sqlite:///{folder}/served.db", backend)):
        place = folder / make_url(store).get_backend_name()
        place.mkdir()
        with server(store, place) as address:
            rows.append(_fill_server(store, place, address, records))
    return rows


def _fill_server(store: str, place: Path, address: str, records: Sequence[TrialRecord]) -> Row:
    def served_bytes() -> int:
        return stored_bytes(store) + _folder_bytes(place / "artifacts")

    return fill_tracker(f"MLflow: server, {place.name}", address, records, served_bytes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, measures, prints and keeps the numbers."""
    given = _parse(arguments)
    end_as_interrupt()
    # Without a server MLflow keeps files in the current folder.
    with scratch() as folder, chdir(folder):
        rows = measure(folder, given.trials, given.epochs, given.storage, given.backend)
    show(f"{given.trials} trials of {given.epochs} epochs, one after the other", rows)
    print(f"kept in {keep(rows, 'stores', given.out)}")
    return 0


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before


def _folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


@contextmanager
def _timed(name: str, trials: int, size: Callable[[], int]) -> Iterator[dict[str, Any]]:
    """Times the block, and yields the row that is filled when it ends."""
    row: dict[str, Any] = {"store": name, "trials": trials}
    before, began, used = size(), time.perf_counter(), time.process_time()
    yield row
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    row |= {
        "trials/s": trials / seconds,
        "ms per trial": 1e3 * seconds / trials,
        "driver's CPU ms": 1e3 * cpu / trials,
        "kB per trial": (size() - before) / trials / 1e3,
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=positive, default=200)
    parser.add_argument("--epochs", type=positive, default=15, help="of each trial")
    parser.add_argument("--storage", help="an empty PostgreSQL database for the study")
    parser.add_argument("--backend", help="another one for MLflow")
    parser.add_argument("--out", type=Path, help="Parquet file, in place of benchmarks/results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
