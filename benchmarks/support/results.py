"""How every benchmark shows and keeps what it measured: a table, and a Parquet file."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks.support.timed import ROOT
from cmir.runner.provenance import provenance

RESULTS = ROOT / "benchmarks" / "results"
WIDE = 160

Row = Mapping[str, Any]


def machine() -> dict[str, str | int]:
    """Processor, number of them, versions, commit, time: columns of every row."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "cpu": _processor(),
        "cores": os.cpu_count() or 0,
        **provenance(),
    }


def keep(rows: Sequence[Row], name: str, out: Path | None) -> Path:
    """Writes the rows with what `machine` says; returns the file."""
    path = out or RESULTS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    here = machine()
    pl.DataFrame([{**row, **here} for row in rows], infer_schema_length=None).write_parquet(path)
    return path


def ratios_of(times: Sequence[tuple[float, float]]) -> Row:
    """Median, least and largest ratio of the second to the first of each pair of times."""
    ratios = [other / base for base, other in times]
    return {"median": median(ratios), "least": min(ratios), "largest": max(ratios)}


def show(title: str, rows: Sequence[Row]) -> None:
    """Prints rows that have the same columns."""
    table = Table(title=title, title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right")
    for row in rows:
        table.add_row(*(_cell(value) for value in row.values()))
    console = Console()
    # A file has no width: lines are as long as the table needs.
    (console if console.is_terminal else Console(width=WIDE)).print(table)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
