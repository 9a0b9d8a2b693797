"""Before a failure counts against a trial: whether the place where it ran is at fault."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from cmir.errors import PlaceError, place_error

# Bytes that must find room for the disk to count as usable.
PROBE = 1 << 16


def place_check(data: Path, kept: Path, also: Callable[[], None]) -> Callable[[], None]:
    """A check that a failed trial calls for: a worker cannot always say what it died of.

    Args:
        data: folder whose files shall be as they are now.
        kept: folder that shall take files.
        also: a further check, which raises PlaceError.

    Returns:
        a function that raises PlaceError where something has given way since.
    """
    sizes = _sizes(data)

    def check() -> None:
        also()
        _check_data(data, sizes)
        _check_room(kept)

    return check


def _check_data(data: Path, before: Mapping[str, int]) -> None:
    """A worker that reads a mapped file which was cut off dies without a word."""
    now = _sizes(data)
    changed = sorted(name for name in before if now.get(name) != before[name])
    if changed:
        raise PlaceError(
            f"{data}: must stay as it is while trials run, but {', '.join(changed)} "
            f"{'was' if len(changed) == 1 else 'were'} taken away or changed. Put the data back, "
            "then run the same command again: trials in training are kept and run again."
        )


def _check_room(folder: Path) -> None:
    probe = folder / f".probe-{os.getpid()}"
    try:
        with probe.open("wb") as file:
            file.write(b"\0" * PROBE)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise place_error(folder, error) from error
    finally:
        probe.unlink(missing_ok=True)


def _sizes(folder: Path) -> dict[str, int]:
    """Size of each file of a folder; none where it is gone."""
    try:
        return {file.name: file.stat().st_size for file in folder.iterdir() if file.is_file()}
    except OSError:
        return {}
