"""The ledger of held-out data: every test-set access is counted in the registry and written here.

An access that nobody remembers is how a test set becomes a validation set. So all commands read
through `read_heldout`, and two records must agree: one line per access in
`mlruns/heldout_ledger.jsonl`, and a count per data set in the tags of the registered models.
"""

from __future__ import annotations

import errno
import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from cmir.data import HeldoutData, MultimodalDataset
from cmir.data.manifest import HELDOUT_SPLITS
from cmir.errors import InputError, place_error
from cmir.hidden_secrets import without_secrets
from cmir.registry.model_registry import Registry
from cmir.runner.paths import Paths
from cmir.runner.tracking.local_store import first_line

LOCK = "heldout_ledger"

Found = TypeVar("Found")


@dataclass(frozen=True)
class Tally:
    """How often the held-out splits of one data set have been read.

    Attributes:
        ledger: lines about it in the ledger.
        registry: accesses that the tags of all registered models know of.
    """

    ledger: int
    registry: int

    @property
    def accesses(self) -> int:
        """What the record that knows more says."""
        return max(self.ledger, self.registry)

    @property
    def warning(self) -> str:
        """Says that the ledger was deleted or cut, empty if it holds all."""
        if self.ledger >= self.registry:
            return ""
        return (
            f"the registry knows of {self.registry} test-set accesses to this data, the ledger "
            f"lists {self.ledger}: it was deleted or cut, or an access was killed."
        )


def heldout_splits(dataset: MultimodalDataset) -> tuple[str, ...]:
    """Names of the held-out splits of a data set, without reading them."""
    return tuple(name for name in HELDOUT_SPLITS if name in dataset.sizes)


def tally(dataset: MultimodalDataset, registry: Registry, paths: Paths) -> Tally:
    """How often a data set has been read until now, by any command and under any name.

    Raises:
        InputError: the ledger cannot be read, or MLflow does not answer.
    """
    lines = ledger_lines(paths)
    known = sum(line.get("data_checksum") == dataset.checksum for line in lines)
    with _asking_the_registry():
        return Tally(known, registry.accesses_of(dataset.checksum))


def read_heldout(
    dataset: MultimodalDataset,
    measure: Callable[[HeldoutData], Found],
    result: Callable[[Found], Mapping[str, float]],
    *,
    registry: Registry,
    paths: Paths,
    purpose: str,
) -> tuple[Found, Tally]:
    """Counts a test-set access, reads, and writes down what came out.

    It is counted before it is done, so that an access that fails is one too. Those of one folder
    wait for each other; on a tracking server that several machines write to, the counts of two in
    the same moment may become one, while each machine's ledger has its line.

    Args:
        dataset: with held-out splits.
        measure: reads them.
        result: the numbers of what `measure` returns that the ledger keeps.
        registry: that counts, under its model's name.
        paths: where the ledger is.
        purpose: of the access, in a few words.

    Returns:
        what `measure` returned, and the tally before this access.

    Raises:
        InputError: the access could not be counted, or the ledger not read; nothing was read.
    """
    paths.make()
    with paths.waiting_lock(LOCK):
        before = tally(dataset, registry, paths)
        with _asking_the_registry():
            registry.count_access(dataset.checksum)
        line = _line(dataset, registry, purpose)
        try:
            found = measure(dataset.heldout())
        except BaseException as error:
            _append(paths, line | {"result": None, "fault": type(error).__name__})
            raise
        _append(paths, line | {"result": _finite(result(found))})
    return found, before


def ledger_lines(paths: Paths) -> list[dict[str, Any]]:
    """The test-set accesses, in their order; no ledger is an empty one.

    Raises:
        InputError: the ledger cannot be read, or a line of it is no JSON object.
    """
    path = paths.heldout_ledger
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: the ledger of test-set accesses cannot be read: {error}."
        ) from None
    return [_parsed(path, number, line) for number, line in enumerate(text.splitlines(), 1) if line]


@contextmanager
def _asking_the_registry() -> Iterator[None]:
    """An access that cannot be counted is not done."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # MLflow, requests and SQLAlchemy each raise their own.
        raise InputError(
            f"held-out data was not read, because MLflow could not count the test-set access: "
            f"{first_line(error)} Run the same command when it answers."
        ) from None


def _parsed(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        found = None
    if not isinstance(found, dict):
        raise InputError(
            f"{path}: line {number} must be a JSON object, but got '{line[:40]}'. The ledger is "
            "only ever appended to: restore it, or move it away, which later commands will notice."
        )
    return found


def _line(dataset: MultimodalDataset, registry: Registry, purpose: str) -> dict[str, Any]:
    program, *arguments = sys.argv
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "purpose": purpose,
        "command": shlex.join([Path(program).name, *map(without_secrets, arguments)]),
        "model": registry.name,
        "data": dataset.name,
        "data_checksum": dataset.checksum,
        "splits": list(heldout_splits(dataset)),
    }


def _append(paths: Paths, line: Mapping[str, Any]) -> None:
    """Writes a line, all of it or none, behind a last line that may lack its end."""
    path = paths.heldout_ledger
    with path.open("ab+", buffering=0) as ledger:
        length = ledger.seek(0, os.SEEK_END)
        ledger.seek(max(0, length - 1))
        start = "" if ledger.read(1) in (b"", b"\n") else "\n"
        text = f"{start}{json.dumps(line)}\n".encode()
        try:
            if ledger.write(text) != len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(ledger.fileno())
        except OSError as error:
            ledger.truncate(length)
            raise place_error(path, error) from error


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {k: float(v) if math.isfinite(v) else None for k, v in values.items()}
