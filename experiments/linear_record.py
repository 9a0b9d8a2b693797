"""What runs of the linear unit tests have given: a file of JSON lines that a run continues.

One line is one training: an example with its number of environments, a method, a data seed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.support.timed import BenchmarkError


@dataclass(frozen=True)
class Protocol:
    """How much is done.

    Attributes:
        name: says whether it is the published protocol.
        samples: of each environment, in training, validation and test alike.
        iterations: steps on the full batch.
        draws: of the hyper-parameters; also called model seeds.
        data_seeds: independent data sets.
    """

    name: str
    samples: int
    iterations: int
    draws: int
    data_seeds: int


FULL = Protocol("full, as published", 10_000, 10_000, 20, 50)
REDUCED = Protocol("reduced, not the published one", 1_000, 5_000, 20, 3)


@dataclass(frozen=True)
class Job:
    """One training of all draws."""

    example: str
    environments: int
    method: str
    data_seed: int


@dataclass(frozen=True)
class Line:
    """What a job gave.

    Attributes:
        job: what was trained.
        validation: error by draw and environment, from the distribution of training.
        test: the same with the spurious block shuffled.
        seconds: of a processor for its training.
        commit: of the code, with a mark if the tree had changes.
    """

    job: Job
    validation: list[list[float]]
    test: list[list[float]]
    seconds: float
    commit: str


class Record:
    """The file; a line that was cut off by the end of a process is dropped."""

    def __init__(self, path: Path, protocol: Protocol) -> None:
        self.path = path
        self.protocol = protocol

    def lines(self) -> list[Line]:
        """All complete lines.

        Raises:
            BenchmarkError: a line comes from other sizes than the protocol's.
        """
        return [self._line(json.loads(text), place) for place, text in self._complete()]

    def add(self, line: Line) -> None:
        """Writes one line to the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {**asdict(line.job), **asdict(line), **self._sizes()}
        del content["job"]
        with self.path.open("a+b") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
            file.write(json.dumps(content).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """The jobs that have no line yet, in their order."""
        done = {line.job for line in self.lines()}
        return [job for job in jobs if job not in done]

    def _complete(self) -> Iterator[tuple[int, str]]:
        if self.path.exists():
            whole, _, _ = self.path.read_text().rpartition("\n")
            yield from enumerate(whole.splitlines(), start=1)

    def _line(self, content: dict[str, Any], place: int) -> Line:
        for name, size in self._sizes().items():
            if content.pop(name) != size:
                raise BenchmarkError(
                    f"{self.path}, line {place}: {name} is not {size} as the protocol "
                    f"'{self.protocol.name}' has it: name another file by --record."
                )
        job = Job(**{name: content.pop(name) for name in Job.__dataclass_fields__})
        return Line(job, **content)

    def _sizes(self) -> dict[str, int]:
        sizes = asdict(self.protocol)
        return {name: sizes[name] for name in ("samples", "iterations", "draws")}


def jobs_of(
    examples: Sequence[str],
    environments: Sequence[int],
    methods: Sequence[str],
    data_seeds: int,
) -> list[Job]:
    """All jobs, data seed by data seed, so that an early end leaves balanced results."""
    return [
        Job(example, count, method, data_seed)
        for data_seed in range(data_seeds)
        for example in examples
        for count in environments
        for method in methods
    ]
