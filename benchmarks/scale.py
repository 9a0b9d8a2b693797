"""Whether a trial costs the same at the end of a long sweep as at its beginning.

    python benchmarks/scale.py

Trials that train nothing go through the real study, scheduler and tracking to 10,000,
two at a time on two processors. Shown are the seconds of a trial by window, the memory of
the driver at its end, and what the sweep leaves on the disk (Linux only).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.overhead import noop
from benchmarks.support.results import Row, keep, show
from benchmarks.support.timed import end_as_interrupt

BOUNDS = (200, 1000, 2000, 3000, 5000, 7500, 10_000)
SECONDS_AIM, FLAT_AIM = 0.15, 0.20
# Hardly any machine takes longer; the command ends with an error then.
MOST_SECONDS_PER_TRIAL = 2.0


def windows(record: Mapping[str, Any]) -> list[Row]:
    """Seconds of a trial from one bound to the next, and the driver's memory at its end.

    The first window begins with the first trial: the start of the command is another matter.
    """
    ends, memory = record["ends"], record["memory"]
    return [
        {
            "trials": f"{low} to {high}",
            "s per trial": (ends[high - 1] - ends[low - 1]) / (high - low),
            "aim": str(SECONDS_AIM) if low >= BOUNDS[0] else "",
            "driver MB": memory[high - 1] / 1e6,
        }
        for low, high in _bounds(len(ends))
    ]


def growth(rows: Sequence[Row]) -> float:
    """The slowest window against the first one beyond 1,000 trials, less one; 0 if there is none.

    Before it the sampler is random for a while, which takes less.

    Example:
        >>> seconds = {"200 to 1000": 0.02, "1000 to 2000": 0.04, "2000 to 3000": 0.05}
        >>> growth([{"trials": key, "s per trial": value} for key, value in seconds.items()])
        0.25
    """
    late = [row["s per trial"] for row in rows if int(row["trials"].split()[0]) >= BOUNDS[1]]
    return round(max(late) / late[0] - 1, 3) if late else 0.0


def whole(record: Mapping[str, Any], rows: Sequence[Row]) -> Row:
    """The sweep as a whole."""
    trials = len(record["ends"])
    return {
        "trials": trials,
        "s": record["seconds"],
        "CPU s per trial": record["cpu_seconds"] / trials,
        "s after the last": record["seconds"] - record["ends"][-1],
        "growth": growth(rows),
        "aim": FLAT_AIM,
        "driver peak MB": record["peak_memory"] / 1e6,
        "journal MB": record["journal"] / 1e6,
        "mlflow.db MB": record["database"] / 1e6,
    }


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line, measures, prints and keeps the numbers."""
    given = _parse(arguments)
    end_as_interrupt()
    timeout = 300 + MOST_SECONDS_PER_TRIAL * given.trials
    record = noop(given.trials, given.epochs, timeout, given.live)
    rows = windows(record)
    show("one more trial that trains nothing, two at a time", rows)
    show(
        "the whole sweep; growth is from the first window beyond 1,000 trials",
        [whole(record, rows)],
    )
    # The load of the machine explains more than anything else where others use it.
    print(f"load average before: {record['load_before']:.1f}")
    print(f"kept in {keep([record], 'scale', given.out)}")
    return 0


def _bounds(trials: int) -> Iterator[tuple[int, int]]:
    inner = [bound for bound in BOUNDS if bound < trials]
    return pairwise([1, *inner, trials])


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=BOUNDS[-1])
    parser.add_argument("--epochs", type=int, default=5, help="of each trial")
    parser.add_argument(
        "--live", type=int, default=20, help="as of sweep.py; 0: trials appear when they end"
    )
    parser.add_argument("--out", type=Path, help="Parquet file, in place of benchmarks/results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
