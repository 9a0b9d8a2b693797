"""Does a sweep choose the same configuration with reduced matrix products, and what do they save?

    python benchmarks/precision.py --data data/mosi

Trains configurations of a space twice, with `training.precision` full and reduced (TF32 on a GPU,
bfloat16 on a CPU), and compares the objectives: the best of both, their ranks, and their
differences beside the spread over seeds. Runs without Ray and MLflow, on one processor or GPU.

Exit codes: 0; 2 bad input.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

# A script's own folder is on the path, but not the one above it.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.configurations import add_arguments, draw, read_space
from benchmarks.results import Row, keep, show
from cmir.config import Precision, TrialConfig
from cmir.data import DevelopmentData, load_dataset
from cmir.errors import InputError
from cmir.method.environments.partitions import Partitions
from cmir.method.training.pack import Pack
from cmir.method.training.reports import EpochReport
from cmir.method.training.split_scores import goal_of


def configurations(
    space: Path, count: int, alike: int, seeds: int, epochs: int
) -> list[TrialConfig]:
    """Configurations drawn from a space; so many neighbours are of one structure."""
    known = read_space(space)
    drawn = [known.trial(values) for values in draw(known, count, alike=alike)]
    return [
        config.model_copy(
            update={
                "seeds": tuple(range(seeds)),
                "training": config.training.model_copy(update={"epochs": epochs}),
            }
        )
        for config in drawn
    ]


def train(
    data: DevelopmentData,
    configs: Sequence[TrialConfig],
    precision: Precision,
    device: torch.device,
    partitions: Partitions,
) -> tuple[list[dict[str, Any]], float]:
    """Of each configuration the objective of every seed (none if it diverged); seconds in all."""
    rows: list[dict[str, Any]] = []
    began = time.perf_counter()
    for _, group in groupby(configs, key=lambda config: str(config.structure)):
        members = [
            config.model_copy(
                update={"training": config.training.model_copy(update={"precision": precision})}
            )
            for config in group
        ]
        pack = Pack(data, members, device, partitions)
        found: dict[int, Sequence[float]] = {}
        while pack.running:
            for index, report in pack.run_epoch().items():
                if isinstance(report, EpochReport) and report.result is not None:
                    found[index] = report.result.by_seed[members[index].objective]
        rows += [{"by_seed": found.get(index, ())} for index in range(len(members))]
    return rows, time.perf_counter() - began


def compare(
    full: Sequence[Row], reduced: Sequence[Row], sign: float
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A row per configuration, and what they say together."""
    rows = [
        {
            "configuration": index,
            "full": float(np.mean(a["by_seed"])),
            "reduced": float(np.mean(b["by_seed"])),
            "over seeds": float(np.std(a["by_seed"], ddof=1)) if len(a["by_seed"]) > 1 else 0.0,
        }
        for index, (a, b) in enumerate(zip(full, reduced, strict=True))
        if len(a["by_seed"]) and len(b["by_seed"])
    ]
    losses = {kind: [sign * row[kind] for row in rows] for kind in ("full", "reduced")}
    best = {kind: rows[int(np.argmin(values))]["configuration"] for kind, values in losses.items()}
    summary = {
        "configurations": len(rows),
        "diverged in one only": sum(
            bool(a["by_seed"]) != bool(b["by_seed"]) for a, b in zip(full, reduced, strict=True)
        ),
        "best, full": best["full"],
        "best, reduced": best["reduced"],
        "rank correlation": float(spearmanr(losses["full"], losses["reduced"]).statistic),
        "median difference": float(np.median([abs(r["full"] - r["reduced"]) for r in rows])),
        "median over seeds": float(np.median([row["over seeds"] for row in rows])),
    }
    return rows, summary


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line, trains, prints and keeps the numbers."""
    given = _parse(arguments)
    torch.set_num_threads(1)
    device = torch.device(given.device)
    try:
        data = load_dataset(given.data).development()
        configs = configurations(
            given.space, given.configurations, given.alike, given.seeds, given.epochs
        )
        goal = goal_of(configs[0].objective, data.task, data.label_range)
        partitions = Partitions(data)
        full, seconds = train(data, configs, "full", device, partitions)
        reduced, fewer = train(data, configs, "reduced", device, partitions)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows, summary = compare(full, reduced, goal.sign)
    summary |= {"s, full": seconds, "s, reduced": fewer, "reduced / full": fewer / seconds}
    lines = [{"figure": name, "value": value} for name, value in summary.items()]
    show(f"full and reduced matrix products on {given.device}, {data.name}", lines)
    print(f"kept in {keep([{**row, **summary} for row in rows], 'precision', given.out)}")
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    add_arguments(parser, configurations=24, alike=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, help="Parquet file, in place of benchmarks/results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
