"""The processes that a command has started, by a mark in their environment: found, and ended.

Ray starts a dozen. They are known by what they inherit, not by their names: those of another
command, and a cluster's, are left alone.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "CMIR_COMMAND"
PROC = Path("/proc")


def mark_children() -> None:
    """Gives all processes that are started from now on the mark of this one."""
    os.environ[MARK] = f"{os.getpid()}-{time.monotonic_ns()}"


def end_children() -> None:
    """Ends the processes that carry this one's mark, and what they have started; at once."""
    for number in sorted(marked_processes()):
        try:
            os.kill(number, signal.SIGKILL)
        except OSError:
            continue


def marked_processes() -> set[int]:
    """Numbers of the processes that carry this one's mark, and of those below them.

    A process that writes its title over its environment, as Ray's workers do, is found by its
    parent, or by a file that it holds open below Ray's session folder of this process.
    """
    mark = f"{MARK}={os.environ.get(MARK)}".encode()
    found, parents = set(), {}
    for folder in _processes():
        number = int(folder.name)
        parents[number] = _parent(folder)
        if _carries(folder, mark) or _is_of_session(folder):
            found.add(number)
    below = {child for child in parents if _is_below(child, {os.getpid(), *found}, parents)}
    return (found | below) - {os.getpid()}


def is_alive(number: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not.

    Example:
        >>> is_alive(os.getpid())
        True
    """
    fields = _fields(PROC / str(number))
    return bool(fields) and fields[0] not in "ZX"


def children_called(*names: str) -> dict[int, str]:
    """Number and name of the processes that this one has started and not waited for, by name."""
    own = os.getpid()
    found = {int(one.name): _name(one) for one in _processes() if _parent(one) == own}
    return {number: name for number, name in found.items() if name in names}


def _processes() -> Iterator[Path]:
    if PROC.is_dir():
        yield from (folder for folder in PROC.iterdir() if folder.name.isdigit())


def _carries(folder: Path, mark: bytes) -> bool:
    try:
        return mark in (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _is_of_session(folder: Path) -> bool:
    """Whether a process holds a file open below Ray's session folder of this process."""
    if not _name(folder).startswith("ray::"):
        return False
    try:
        opened = [os.readlink(handle) for handle in (folder / "fd").iterdir()]
    except OSError:
        return False
    return any("/session_" in file and f"_{os.getpid()}/" in file for file in opened)


def _is_below(number: int, above: set[int], parents: dict[int, int]) -> bool:
    while number in parents:
        number = parents[number]
        if number in above:
            return True
    return False


def _name(folder: Path) -> str:
    try:
        return (folder / "comm").read_text().strip()
    except OSError:
        return ""


def _parent(folder: Path) -> int:
    fields = _fields(folder)
    return int(fields[1]) if fields else 0


def _fields(folder: Path) -> list[str]:
    """State, number of the parent and so on; none where there is no such process."""
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
