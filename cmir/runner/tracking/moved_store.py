"""A folder that was moved or copied: MLflow's absolute places of files are led to where it is now.

MLflow writes down where the files of an experiment lie, of each of its runs, logged models and
versions. In a folder that is somewhere else now these places are another folder's, or nobody's:
what is read from them is missing, and what is written makes them anew.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

from mlflow.utils.file_utils import local_file_uri_to_path

from cmir.runner.sqlite_files import opened

# Where MLflow keeps files unless it is told otherwise: `mlruns/<experiment>` in the folder.
FILES = "mlruns"
# Table and column of each place that MLflow writes down.
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
    ("model_versions", "source"),
)


def settle(file: Path, here: Path) -> None:
    """Leads what a store of sqlite says about its files to where they are.

    An experiment is taken for moved if its files lie beside the store, or if the folder that the
    store names is gone. Paths that are not MLflow's own, such as a bucket, stay.

    Args:
        file: of the store.
        here: the folder that the command runs in.
    """
    with closing(opened(file)) as database, database:
        moved = dict(_moved(database, file.parent, here.resolve()))
        if not moved:
            return
        changed = sum(_lead(database, table, column, moved) for table, column in PLACES)
    old, new = next(iter(moved.items()))
    if changed and old != new:
        logging.getLogger(__name__).warning(
            "%s: this folder was moved or copied from %s; %d places of files in MLflow now lead "
            "to %s.",
            file,
            old.parent.parent,
            changed,
            new.parent.parent,
        )


def _moved(database: sqlite3.Connection, beside: Path, here: Path) -> Iterator[tuple[Path, Path]]:
    """Folders of experiments as the store names them, and as they must be named.

    Where both are the same, MLflow reads the name otherwise than it wrote it: it takes a % in a
    path for the beginning of an encoded character.
    """
    query = "SELECT experiment_id, artifact_location FROM experiments"
    for number, place in database.execute(query).fetchall():
        old = _written(place)
        if old is None or (old.parent.name, old.name) != (FILES, str(number)):
            continue
        new = _found(database, number, old, beside, here)
        if new != old or _is_misread(place, old):
            yield old, new


def _found(database: sqlite3.Connection, number: int, old: Path, beside: Path, here: Path) -> Path:
    near, there = (root / FILES / str(number) for root in (beside, here))
    if old.parent.resolve() == near.parent:
        return old
    content = _content(database, number)
    if any((near / name).exists() for name in content):
        return near
    if old.parent.parent.exists():
        return old
    return near if near.parent.exists() else there


def _content(database: sqlite3.Connection, number: int) -> list[str]:
    """What an experiment's folder holds: runs by their ids, logged models by theirs."""
    runs = "SELECT run_uuid FROM runs WHERE experiment_id = ?"
    models = "SELECT 'models/' || model_id FROM logged_models WHERE experiment_id = ?"
    return [name for (name,) in database.execute(f"{runs} UNION {models}", (number, number))]


def _lead(database: sqlite3.Connection, table: str, column: str, moved: Mapping[Path, Path]) -> int:
    """Writes the new places of one column; returns how many it had."""
    rows = database.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
    changed = [(_led(place, moved), row) for row, place in rows]
    changed = [(place, row) for place, row in changed if place is not None]
    database.executemany(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", changed)
    return len(changed)


def _led(place: str | None, moved: Mapping[Path, Path]) -> str | None:
    """The address of a place below a folder that was moved, None of one that was not."""
    path = _written(place or "")
    if path is None:
        return None
    over = next((old for old in (path, *path.parents) if old in moved), None)
    return None if over is None else (moved[over] / path.relative_to(over)).as_uri()


def _written(place: str) -> Path | None:
    """The path that a place means, None where it is none of this machine."""
    if place.startswith("file:"):
        return _as_read(place)
    return Path(place) if place.startswith("/") else None


def _is_misread(place: str, path: Path) -> bool:
    """Whether MLflow takes a place for another one, which nobody has filled yet."""
    read = _as_read(place)
    return read != path and not read.exists()


def _as_read(place: str) -> Path:
    """The path that MLflow reads in a place."""
    return Path(local_file_uri_to_path(place))  # type: ignore[no-untyped-call]
