"""A seeded campaign of kills: the same sweeps, ended at random moments and continued.

    python benchmarks/kills.py --kills 100 --seed 0

Each kill draws what is ended and how (the driver, its whole process group, one worker, Ray's raylet
or GCS by SIGKILL; the driver by SIGINT or SIGTERM, the group by SIGTERM) and when, from the first
moment of the imports to past the last trial. After each the study is opened and compared with what
it held before; a sweep that has spent its budget is compared with its runs in MLflow, and the next
one begins. Ends with one line, and with 1 where it has found anything (Linux only).
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.support.kept_study import Kept, kept_study, mismatches
from benchmarks.support.killed import End, Round, end, left_of, started
from benchmarks.support.timed import scratch

WEIGHTS: Mapping[End, int] = {
    "driver SIGKILL": 4,
    "group SIGKILL": 2,
    "worker SIGKILL": 3,
    "raylet SIGKILL": 2,
    "gcs_server SIGKILL": 2,
    "driver SIGINT": 4,
    "driver SIGTERM": 4,
    "group SIGTERM": 3,
}
SWEEP = """
name: kills
data: {path: data/none, if_missing: synthetic, synthetic: {samples: SAMPLES, seed: 1}}
objective: ood_val/mae
trials: TRIALS
seeds: 1
epochs: 12
early_stopping: {enabled: false}
fixed: {training.batch_size: 32, model.representation_size: 8, model.hidden_size: 8}
search: {training.learning_rate: {low: 1.0e-4, high: 1.0e-2, log: true}}
"""
SAMPLES = "{train: 128, id_val: 32, ood_val: 32, id_test: 32, ood_test: 32}"
NAME = "kills-synthetic"
# Seconds: until a command that was told to end has ended; until its helpers have.
PROMISED, HELPERS = 10.0, 20.0


@dataclass
class Tally:
    """What the campaign has found; all but the first shall be zero."""

    kills: int = 0
    lost: int = 0
    duplicated: int = 0
    unopenable: int = 0
    hung: int = 0
    mismatches: int = 0
    late: int = 0
    outliving: int = 0
    tracebacks: int = 0
    wrong_codes: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0

    def line(self) -> str:
        """The result in one line."""
        return (
            f"kills {self.kills}, lost {self.lost}, duplicated {self.duplicated}, unopenable "
            f"{self.unopenable}, hung {self.hung}, MLflow mismatches {self.mismatches}; later than "
            f"{PROMISED:.0f} s {self.late}, helpers after {HELPERS:.0f} s {self.outliving}, "
            f"tracebacks {self.tracebacks}, wrong exit codes {self.wrong_codes}, slowest answer to "
            f"a signal {self.slowest:.1f} s"
        )

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        counts = {key: value for key, value in asdict(self).items() if isinstance(value, int)}
        return sum(counts.values()) == self.kills


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the campaign; returns 1 where it has found anything."""
    given = _parse(arguments)
    draw, tally, begun = random.Random(given.seed), Tally(), time.monotonic()
    while tally.kills < given.kills and time.monotonic() - begun < given.minutes * 60:
        with scratch() as folder:
            _one_sweep(folder, given, draw, tally)
    print(", ".join(f"{kind}: {count}" for kind, count in sorted(tally.by_kind.items())))
    print(tally.line())
    return 0 if tally.is_clean else 1


def _one_sweep(folder: Path, given: argparse.Namespace, draw: random.Random, tally: Tally) -> None:
    """Kills a sweep until it is complete or the kills are spent, then lets it end."""
    text = SWEEP.replace("SAMPLES", SAMPLES).replace("TRIALS", str(given.trials))
    (folder / "kills.yaml").write_text(text)
    before, complete = Kept(), False
    while tally.kills < given.kills and not complete:
        kind = given.only or draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        found = _kill(folder, kind, draw.uniform(0.0, given.horizon), tally)
        before = _compare(folder, before, tally)
        complete = found.code == 0
    if not complete:
        _finish(folder, tally)
        before = _compare(folder, before, tally)
    tally.mismatches += mismatches(folder, NAME, before, given.trials)


def _kill(folder: Path, kind: End, moment: float, tally: Tally) -> Round:
    command = started(folder)
    found = end(command, kind, moment)
    if not found.was_there:
        return found
    tally.kills += 1
    tally.by_kind[kind] += 1
    is_signal = kind.endswith(("SIGINT", "SIGTERM"))
    if found.code is None:
        tally.hung += 1
    elif is_signal:
        tally.slowest = max(tally.slowest, found.seconds)
        tally.late += found.seconds > PROMISED
        tally.wrong_codes += found.code not in (0, 130)
    if is_signal:
        tally.outliving += bool(left_of(command, HELPERS))
    tally.tracebacks += "Traceback" in (folder / "log").read_text(errors="replace")
    print(
        f"{tally.kills:>4}  {kind:<18} at {moment:5.1f} s: exit {found.code} after "
        f"{found.seconds:4.1f} s",
        flush=True,
    )
    return found


def _finish(folder: Path, tally: Tally) -> None:
    command = started(folder)
    try:
        code = command.wait(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(command.pid, signal.SIGKILL)
        tally.hung += 1
    else:
        tally.wrong_codes += code != 0


def _compare(folder: Path, before: Kept, tally: Tally) -> Kept:
    """What the study holds now, and what of it is wrong."""
    now = kept_study(folder, NAME)
    if now is None:
        tally.unopenable += 1
        return before
    tally.lost += sum(now.endings.get(number) != text for number, text in before.endings.items())
    tally.duplicated += now.repeated - before.repeated
    return now


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100, help="default: 100")
    parser.add_argument("--seed", type=int, default=0, help="of kinds and moments (default: 0)")
    parser.add_argument("--trials", type=int, default=12, help="of each sweep (default: 12)")
    parser.add_argument("--only", choices=WEIGHTS, help="kind of kill (default: all, by weight)")
    parser.add_argument(
        "--horizon", type=float, default=16.0, help="latest moment, seconds (default: 16)"
    )
    parser.add_argument(
        "--minutes", type=float, default=600.0, help="no new sweep after so long (default: 600)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
