"""Runs or continues a sweep: `python workflows/sweep.py --space search_spaces/mosei.yaml`.

Exit codes: 0 done; 1 no trial finished, or more than half failed; 2 bad input; 130 interrupted,
nothing lost.
"""

from __future__ import annotations

import argparse
import gc
import os
import shlex
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from cmir.cli import (
    add_artifacts,
    add_loudness,
    add_placement,
    console_of,
    positive,
    print_error,
    print_object,
    same_decimals,
)
from cmir.errors import InputError
from cmir.hidden_secrets import without_secrets
from cmir.process import interruption
from cmir.process.cluster_address import check_address
from cmir.space.shipped_spaces import space_argument

# Imported by `_run`: `--help` and a mistyped option need not wait for torch and Ray.
if TYPE_CHECKING:
    from cmir.runner.scheduling.trials_in_flight import Progress
    from cmir.sweep.findings import Findings
    from cmir.sweep.modalities.modality_findings import ModalityFindings
    from cmir.sweep.run_sweep import SweepOutcome, SweepStart

SHOWN_ROWS = 10


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line, runs the sweep, prints what it found; returns the exit code."""
    given = _parse(arguments)
    # Until trials run, imports make a million objects and no garbage; to look for it takes .7 s.
    gc.disable()
    try:
        check_address(given.address)
        return _run(given, console_of(given))
    except InputError as error:
        print_error(error)
        return 2
    finally:
        gc.enable()


def _run(given: argparse.Namespace, console: Console) -> int:
    from cmir.runner.display import RunDisplay
    from cmir.runner.paths import Paths
    from cmir.runner.scheduling.placement import Placement
    from cmir.sweep.run_sweep import SweepRequest, run_sweep

    overrides = {
        name: value
        for name in ("trials", "seeds", "epochs")
        if (value := getattr(given, name)) is not None
    }
    request = SweepRequest(
        space=given.space,
        overrides=overrides,
        placement=Placement(given.concurrency, given.trials_per_gpu, given.address),
        fresh=given.fresh,
        storage=given.storage,
        live_seconds=given.live,
    )
    displays: list[RunDisplay] = []

    def show(start: SweepStart) -> Progress:
        gc.freeze()
        gc.enable()
        _announce(console, start)
        displays.append(RunDisplay(console, start.run).__enter__())
        return displays[0].progress()

    try:
        outcome = run_sweep(request, Paths(artifacts=given.artifacts), show)
    except KeyboardInterrupt:
        done = " ".join(display.summary() for display in displays)
        interruption.THIS.say(f"{done} {interruption.NOTHING_LOST}".strip())
        return interruption.INTERRUPTED
    finally:
        for display in displays:
            display.__exit__()
    code = _report(console, outcome, given.storage)
    if given.json:
        print_object(_as_json(outcome))
    return code


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    told = "the sweep file, or the name of one that ships, required"
    parser.add_argument("--space", type=space_argument, required=True, help=told)
    for name in ("trials", "seeds", "epochs"):
        instead = f"{name} instead of those in the sweep file (default: the file's)"
        parser.add_argument(f"--{name}", type=positive, help=instead)
    add_placement(parser, "trials")
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="start a new sweep beside the old one (default: continue)",
    )
    parser.add_argument("--storage", help="Optuna storage URL (default: a journal file)")
    parser.add_argument(
        "--live",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="between two writings of running trials to MLflow (default: 20)\n"
        "0: trials appear when they end",
    )
    add_loudness(parser)
    add_artifacts(parser)
    return parser.parse_args(arguments)


def _announce(console: Console, start: SweepStart) -> None:
    file, data = start.prepared.file, start.prepared.data
    if start.prepared.is_synthetic:
        text = (
            f"There is no data at '{file.data.path}': the built-in synthetic generator stands in.\n"
            f"Everything is named '{file.name}'. These numbers say nothing about the real data."
        )
        console.print(Panel(text, title="SYNTHETIC DATA", style="yellow"))
    sizes = ", ".join(f"{name} {len(split.rows)}" for name, split in data.splits.items())
    console.print(
        f"sweep [bold]{start.run.name}[/bold] over {data.name} ({sizes})", highlight=False
    )
    console.print(
        f"{file.trials} trials x {file.seeds} seeds x up to {file.epochs} epochs, "
        f"{start.run.resources.concurrency} trials at a time, "
        f"objective {', '.join(file.objectives)}; "
        f"MLflow at {start.run.tracking_uri}",
        highlight=False,
    )
    if start.run.done or start.run.interrupted:
        console.print(
            f"continuing: {start.run.done} trials are done, {start.run.interrupted} were in flight "
            "and run again"
        )


def _report(console: Console, outcome: SweepOutcome, storage: str | None) -> int:
    findings = outcome.findings
    finished = findings.table.filter(pl.col("outcome") == "finished")
    if not finished.is_empty():
        title = f"leaderboard of {outcome.sweep}: best of {finished.height} finished trials"
        console.print(_table(_scores(finished.head(SHOWN_ROWS)), title))
        console.print(_table(findings.schemes, "environment schemes compared"))
        _explain_best(console, finished)
        _tell_picked(console, findings)
        _tell_modalities(console, findings.modalities)
    if outcome.kept:
        size = sum(path.stat().st_size for path in outcome.kept) / 1e6
        console.print(
            f"weights of the best {len(outcome.kept)} trials: {size:.3g} MB in "
            f"{outcome.kept[0].parent}",
            highlight=False,
            soft_wrap=True,
        )
    if findings.unwritten or findings.trouble:
        console.print(
            f"MLflow misses {findings.unwritten} trials ({findings.trouble or 'see above'}). "
            "The study holds them: run the same command again to write them.",
            soft_wrap=True,
        )
    if findings.missing:
        numbers = ", ".join(map(str, findings.missing))
        console.print(
            f"The weights of trials {numbers}, among the best, are not on this machine: they lie "
            "where the driver ran then. Promotion does not need them: it trains anew.",
            soft_wrap=True,
        )
    if finished.is_empty():
        console.print("No trial finished. The reasons are in the lines above and in MLflow.")
        return 1
    if 2 * outcome.failed > outcome.counted:
        console.print(
            f"{outcome.failed} of {outcome.counted} trials failed: what is left is no search. "
            "The reasons are in the lines above and in MLflow. Mend them, then start anew with "
            "--fresh.",
            soft_wrap=True,
        )
        return 1
    folder = _own_commands()
    where = f" --storage {shlex.quote(without_secrets(storage))}" if storage else ""
    command = f"{folder}python workflows/promote.py --sweep {outcome.sweep}{where}"
    console.print(f"next:  {command}", highlight=False, soft_wrap=True, markup=False)
    _tell_where_to_look(console, findings.view, folder)
    return 0


def _tell_modalities(console: Console, found: ModalityFindings | None) -> None:
    """The verdict on each modality, in a sentence."""
    if found is None:
        return
    from cmir.sweep.modalities.modality_text import basis, sentences

    console.print(f"modalities: {basis(found)}", highlight=False, soft_wrap=True)
    for line in sentences(found):
        console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)


def _tell_where_to_look(console: Console, view: str, folder: str) -> None:
    """The address of the trials, best first, and what must run for it."""
    server = without_secrets(os.environ.get("MLFLOW_TRACKING_URI", ""))
    is_served = server.startswith("http")
    address = f"{server.rstrip('/') if is_served else 'http://127.0.0.1:5000'}/{view}"
    pages = "" if is_served else f"{folder}mlflow ui --workers 1    and then "
    console.print(f"look:  {pages}{address}", highlight=False, soft_wrap=True, markup=False)


def _as_json(outcome: SweepOutcome) -> dict[str, Any]:
    """What a script asks of an ended sweep."""
    table = outcome.findings.table.filter(pl.col("outcome") == "finished")
    found: dict[str, Any] = {
        "sweep": outcome.sweep,
        "complete": outcome.is_complete,
        "budget": outcome.budget,
        "trials": dict(Counter(record.outcome for record in outcome.records)),
        "mlflow_misses": outcome.findings.unwritten,
        "view": outcome.findings.view,
        "weights": [str(path) for path in outcome.kept],
        "modalities": _words(outcome.findings.modalities),
    }
    return found | {"best": None if table.is_empty() else table.row(0, named=True)}


def _words(found: ModalityFindings | None) -> dict[str, str]:
    """Modality -> its verdict in a word."""
    return {} if found is None else {name: one.word for name, one in found.verdicts.items()}


def _own_commands() -> str:
    """Folder of this environment's commands as one would type it; empty where it is active."""
    folder = Path(sys.executable).parent
    if "VIRTUAL_ENV" in os.environ or not folder.is_relative_to(Path.cwd()):
        return ""
    return f"{folder.relative_to(Path.cwd())}/"


def _scores(finished: pl.DataFrame) -> pl.DataFrame:
    """The columns that fit a terminal: the objective with its spread in one."""
    spread = next(name for name in finished.columns if name.endswith("_std"))
    objective = spread.removesuffix("_std")
    other = [
        name for name in finished.columns if "_val/" in name and name not in (objective, spread)
    ]
    pairs = (same_decimals(finished[name].to_list()) for name in (objective, spread))
    joined = pl.Series(objective, [f"{value} ± {std}" for value, std in zip(*pairs, strict=True)])
    place = finished.columns.index(spread) + 1
    pair = finished.columns[place : place + 2] if "front" in finished.columns else []
    other = [name for name in other if name not in pair]
    return finished.select("trial", "scheme", joined, *pair, *other, "seconds")


def _explain_best(console: Console, finished: pl.DataFrame) -> None:
    best = finished.row(0, named=True)
    settings = [
        (key, best[key]) for key in finished.columns if "." in key and best[key] is not None
    ]
    console.print(f"trial {best['trial']} is the best:", highlight=False)
    for key, value in settings:
        console.print(f"  {key} = {_cell(value)}", highlight=False)


def _tell_picked(console: Console, findings: Findings) -> None:
    """Of two objectives: what is on the front of both, and which trial is taken from it."""
    if findings.picked is None:
        return
    from cmir.sweep.pairs.picks import DEFAULT

    front = findings.table.filter(pl.col("front"))["trial"].to_list()
    console.print(
        f"on the front of both objectives: {', '.join(map(str, front))}; the rule {DEFAULT} picks "
        f"trial {findings.picked}",
        highlight=False,
        soft_wrap=True,
    )


def _table(frame: pl.DataFrame, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in frame.columns:
        table.add_column(column)
    cells = [
        same_decimals(column.to_list(), 1 if column.name == "seconds" else 4)
        for column in frame.get_columns()
    ]
    for row in zip(*cells, strict=True):
        table.add_row(*row)
    return table


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
