"""Where a dataset comes from: the files of a source, their hashes, and those of published ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HASHED_AT_ONCE = 1 << 24
READABLE = frozenset({".npy", ".npz", ".parquet", ".pickle", ".pkl"})

# README of github.com/thuiar/MMSA, section "Datasets".
PUBLISHED: Mapping[str, Mapping[str, str]] = {
    "aligned_50.pkl": {
        "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9": "MOSI",
        "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791": "MOSEI",
    },
    "unaligned_50.pkl": {
        "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524": "MOSI",
        "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f": "MOSEI",
    },
    "unaligned_39.pkl": {
        "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f": "SIMS",
    },
}

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


def recognise(name: str, sha256: str) -> str | None:
    """What is known of a file of this name and checksum; None where nothing is published.

    >>> recognise("mine.pkl", "0" * 64)
    >>> recognise("unaligned_39.pkl", "0" * 64)
    'unaligned_39.pkl: its sha256 differs from the one that MMSA published (SIMS)'
    """
    for files in PUBLISHED.values():
        if sha256 in files:
            return f"{name}: the {files[sha256]} file of MMSA, its sha256 is the published one"
    known = sorted(PUBLISHED.get(name, {}).values())
    if not known:
        return None
    one = "the one" if len(known) == 1 else "those"
    return f"{name}: its sha256 differs from {one} that MMSA published ({', '.join(known)})"


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
