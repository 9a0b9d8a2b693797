"""Where a dataset comes from: the files of a source and their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmir.data.formats.published import recognise

HASHED_AT_ONCE = 1 << 24
READABLE = frozenset({".npy", ".npz", ".parquet", ".pickle", ".pkl"})

Progress = Callable[[str, int, int], None]


def origin_of(paths: Sequence[Path], progress: Progress) -> tuple[dict[str, Any], list[str]]:
    """The record of files or folders for `dataset.json`, and notes on published ones.

    Args:
        paths: files, or folders whose readable files count.
        progress: told what is being done, and how many bytes of how many are done.

    Returns:
        Keys `file`, `sha256`, of several files also `files`: then `sha256` is that of the listing
        that `sha256sum` prints.
    """
    hashes = _sha256([file for path in paths for file in _files(path)], progress)
    notes = [recognise(file.name, digest) for file, digest in hashes.items()]
    record: dict[str, Any] = {"file": ", ".join(path.name for path in paths)}
    if len(hashes) == 1:
        record["sha256"] = next(iter(hashes.values()))
    else:
        record["sha256"] = hashlib.sha256(_listing(hashes).encode()).hexdigest()
        record["files"] = {file.name: digest for file, digest in hashes.items()}
    return record, [note for note in notes if note]


def _listing(hashes: Mapping[Path, str]) -> str:
    return "".join(f"{digest}  {file.name}\n" for file, digest in hashes.items())


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in READABLE)


def _sha256(files: Sequence[Path], progress: Progress) -> dict[Path, str]:
    total, done = sum(file.stat().st_size for file in files), 0
    hashes = {}
    for file in files:
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            while chunk := stream.read(HASHED_AT_ONCE):
                digest.update(chunk)
                done += len(chunk)
                progress("checking the source", done, total)
        hashes[file] = digest.hexdigest()
    return hashes
