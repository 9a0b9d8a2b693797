"""Files that several processes share: written whole or not at all, and by one of them at a time."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from cmir.errors import InputError


@contextmanager
def written_whole(path: Path, *, by_several: bool = False) -> Iterator[Path]:
    """A draft beside a file, which takes its place when the block succeeds, and is gone if not.

    Args:
        path: of the file; its folder is made if need be.
        by_several: whether processes may write it at the same time: each has its own draft then,
            while else the next writer takes what a killed one left.

    Raises:
        OSError: the draft cannot be made or moved.
    """
    draft = path.with_suffix(f".{uuid4().hex}.part" if by_several else ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


@contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Waits until no other process is inside; ends with the process, however it ends."""
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def sweep_lock(path: Path, sweep: str) -> Iterator[None]:
    """Keeps other drivers away from a sweep; ends with the process, however it ends.

    Args:
        path: of the file that is locked; it says who has it.
        sweep: its name.

    Raises:
        InputError: another driver has it.
    """
    with path.open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            raise InputError(running_already(sweep, handle.read().strip())) from None
        handle.truncate(0)
        handle.write(own_name())
        handle.flush()
        yield


def own_name() -> str:
    """Who this driver is, for others: its process and its machine."""
    return f"in process {os.getpid()} on {socket.gethostname()}"


def running_already(sweep: str, holder: str) -> str:
    """The sentence for who finds a sweep in the hands of another driver."""
    return (
        f"the sweep '{sweep}' is running already, {holder}. Wait for it, or stop it with Ctrl-C: "
        "it loses nothing."
    )
