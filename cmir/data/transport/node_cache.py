"""The cache of a host: what was brought there once, for all its processes and later commands."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cmir.errors import PlaceError
from cmir.shared_files import waiting_lock

CACHE = "CMIR_CACHE"
# Bytes that stay free, as other programs want some too.
SPARE = 64 << 20


def node_cache() -> Path:
    """`CMIR_CACHE`, else `cmir` in the folder for what programs can bring again."""
    chosen = os.environ.get(CACHE)
    if chosen:
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "cmir"


def kept_folder(kind: str, key: str, fill: Callable[[Path], None]) -> Path:
    """A folder of the cache, filled by the first process that asks while the others wait.

    Args:
        kind: of what is kept, a folder of the cache.
        key: what its content follows from.
        fill: puts everything into an empty folder; see `check_room`.

    Returns:
        The folder: it is there whole, or not at all.

    Raises:
        PlaceError: there is no room, or the cache cannot be written.
    """
    folder = node_cache() / kind / key
    with writing_to(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with waiting_lock(folder.with_name(f"{key}.lock")):
            if not folder.is_dir():
                with _appearing(folder) as draft:
                    fill(draft)
    return folder


def check_room(folder: Path, size: int) -> None:
    """Raises PlaceError where so many bytes do not fit."""
    free = shutil.disk_usage(folder).free
    if free < size + SPARE:
        raise PlaceError(
            f"{folder}: the data takes {size / 1e9:.2f} GB, but {free / 1e9:.2f} GB are free. "
            f"Make room, or set {CACHE} to a folder of this host that has some."
        )


def discard(folder: Path) -> None:
    """Takes a damaged folder out of the cache; who has opened its files keeps them."""
    with writing_to(folder), waiting_lock(folder.with_name(f"{folder.name}.lock")):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Says in one sentence why the cache cannot be written."""
    try:
        yield
    except OSError as error:
        raise PlaceError(
            f"{folder}: data is kept here, but it cannot be written: {error.strerror or error}. "
            f"Make room, or set {CACHE} to a folder of this host that can be written."
        ) from error


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A draft beside a folder, which takes its place when the block succeeds, and is gone if not.

    Only who holds its lock is here, so that the draft of a killed process is nobody's.
    """
    draft = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        yield draft
        draft.rename(folder)
    finally:
        with suppress(OSError):
            shutil.rmtree(draft, ignore_errors=True)
