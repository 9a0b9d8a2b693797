"""Takes a configuration apart: `python workflows/ablate.py --space search_spaces/mosi.yaml`.

Trains the best trial of a sweep again beside arms that differ from it in one thing, all with the
same seeds, and compares each with it in pairs.

Exit codes: 0 done; 2 bad input; 130 interrupted, nothing lost.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.status import Status
from rich.table import Table

from cmir.ablation.ablation_plan import AblationPlan, AblationRequest, plan_ablation
from cmir.ablation.ablation_report import heldout_sentence, how_to_read
from cmir.ablation.ablation_table import Cells, notes, score_cells
from cmir.ablation.arm import FAMILIES, Arm
from cmir.ablation.arm_store import ArmEnding
from cmir.ablation.arm_training import VALIDATION
from cmir.ablation.run_ablation import AblationOutcome, Watch, ablate
from cmir.cli import positive, print_error
from cmir.errors import InputError
from cmir.runner.display import RunDisplay
from cmir.runner.paths import Places
from cmir.runner.tracking.sweep_tracker import connect
from cmir.runner.trials_in_flight import Progress
from cmir.sweep.run_sweep import SweepStart


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, runs the ablation, prints what it found; returns the exit code."""
    request = _parse(arguments)
    console = _console()
    try:
        plan = plan_ablation(request, Places())
        client = connect()
        _announce(console, plan)
        with Display(console, plan) as display:
            outcome = ablate(plan, request, Places(), client, display.watch())
    except InputError as error:
        print_error(error)
        return 2
    except KeyboardInterrupt:
        console.print("\nInterrupted. Nothing is lost: the same command continues.")
        return 130
    _report(console, plan, outcome)
    return 0


class Display:
    """One line that moves while arms are trained, one that stays for each that has ended."""

    def __init__(self, console: Console, plan: AblationPlan) -> None:
        self._console, self._plan = console, plan
        self._tuning: RunDisplay | None = None
        self._status = Status("training", console=console)
        self._done = self._all = 0
        self._began = time.monotonic()

    def __enter__(self) -> Display:
        return self

    def __exit__(self, *exception: object) -> None:
        self._status.stop()
        if self._tuning is not None:
            self._tuning.__exit__()

    def watch(self) -> Watch:
        """The hooks that an ablation calls."""
        return Watch(self._on_tuning, self._on_arms, self._on_end, self._on_tick)

    def _on_tuning(self, start: SweepStart) -> Progress:
        self._console.print(
            f"plain training: a sweep of its own, {start.run.name}, {start.prepared.file.trials} "
            f"trials, of which {start.run.done} are done",
            highlight=False,
        )
        self._tuning = RunDisplay(self._console, start.run).__enter__()
        return self._tuning.progress()

    def _on_arms(self, rows: Sequence[Arm], missing: Sequence[str]) -> None:
        if self._tuning is not None:
            self._tuning.__exit__()
        self._all, self._began = len(missing), time.monotonic()
        trainings = len({arm.fingerprint for arm in rows})
        self._console.print(
            f"{len(rows)} arms are {trainings} trainings of {len(self._plan.full.seeds)} seeds; "
            f"{trainings - len(missing)} are done",
            highlight=False,
        )
        if missing and self._console.is_terminal:
            self._status.start()

    def _on_end(self, arm: Arm, ending: ArmEnding) -> None:
        self._done += 1
        objective = ending.by_seed.get(self._plan.full.objective)
        score = f"{sum(objective) / len(objective):.4f}" if objective else ""
        reason = f"  {ending.reason}" if ending.reason else ""
        self._console.print(
            f"{arm.name:<27} {ending.outcome:<8} {score:>8}  {ending.seconds:6.1f} s  "
            f"[{self._done}/{self._all}, {self._left()}]{reason}",
            markup=False,
            highlight=False,
        )

    def _on_tick(self, running: int) -> None:
        self._status.update(
            f"{self._done} of {self._all} trained, {running} in training, {self._left()}"
        )

    def _left(self) -> str:
        missing = self._all - self._done
        if not self._done or not missing:
            return "starting" if missing else "done"
        seconds = (time.monotonic() - self._began) / self._done * missing
        return f"{seconds / 60:.0f} min left" if seconds > 90 else f"{seconds:.0f} s left"


def _parse(arguments: Sequence[str] | None) -> AblationRequest:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--space", type=Path, required=True, help="the sweep file")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--sweep", help="whose best trial; default: the space's latest sweep")
    start.add_argument("--config", type=Path, help="a configuration instead, YAML or JSON")
    parser.add_argument(
        "--budget",
        type=positive,
        help="trials to tune plain training; default: as many as the sweep spent, else 8",
    )
    parser.add_argument("--seeds", type=positive, default=5, help="fresh ones of every arm")
    parser.add_argument("--epochs", type=positive, help="longest training of every arm")
    parser.add_argument(
        "--families",
        type=lambda text: tuple(text.split(",")),
        default=FAMILIES,
        help=f"of arms, with commas between; default: {','.join(FAMILIES)}",
    )
    parser.add_argument(
        "--final", action="store_true", help="read held-out data once all arms are trained"
    )
    parser.add_argument("--concurrency", type=positive, help="arms at a time")
    return AblationRequest(**vars(parser.parse_args(arguments)))


def _console() -> Console:
    """The terminal; where there is none, as wide as the tables need."""
    console = Console()
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=100)


def _announce(console: Console, plan: AblationPlan) -> None:
    if plan.is_synthetic:
        text = "Everything here is of the built-in generator and says nothing about real data."
        console.print(Panel(text, title="SYNTHETIC DATA", style="yellow"))
    console.print(
        f"ablation [bold]{plan.name}[/bold] over {plan.data.name}: {plan.origin}; "
        f"objective {plan.full.objective}",
        highlight=False,
    )


def _report(console: Console, plan: AblationPlan, outcome: AblationOutcome) -> None:
    title = f"ablation of {plan.name}, {plan.metric} on validation data"
    console.print(_table(score_cells(outcome.table, plan.metric, VALIDATION, title)))
    if outcome.heldout is not None and outcome.reading is not None:
        title = f"the same on held-out data, {plan.metric}"
        console.print(
            _table(score_cells(outcome.heldout, plan.metric, outcome.reading.splits, title))
        )
        console.print(heldout_sentence(outcome.reading), highlight=False)
    for line in notes(outcome.table):
        console.print(f"  {line}", markup=False, highlight=False)
    for line in how_to_read(plan):
        console.print(line, markup=False, highlight=False)
    if outcome.caveat:
        console.print(outcome.caveat, highlight=False)
    if outcome.trouble:
        console.print(
            f"MLflow lacks this ablation: {outcome.trouble} Nothing is lost: the same command "
            "writes it.",
            markup=False,
        )
    picture, *_ = outcome.files
    folder = picture.parent.relative_to(Path.cwd())
    console.print(f"look:  {folder / picture.name}, and beside it", highlight=False)


def _table(cells: Cells) -> Table:
    table = Table(title=cells.title, title_justify="left", box=None, pad_edge=False)
    for column in cells.head:
        table.add_column(column, no_wrap=True)
    for row in cells.rows:
        table.add_row(*row)
    return table


if __name__ == "__main__":
    sys.exit(main())
