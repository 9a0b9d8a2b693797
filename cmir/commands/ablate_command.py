"""Takes a configuration apart: `python workflows/ablate.py --space search_spaces/mosi.yaml`.

Trains the best trial of a sweep again beside arms that differ from it in one thing, all with the
same seeds, and compares each with it in pairs.

Exit codes: 0 done; 2 bad input; 130 interrupted, nothing lost.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from cmir.ablation.ablation_plan import AblationPlan, AblationRequest, plan_ablation
from cmir.ablation.ablation_report import heldout_sentence, how_to_read
from cmir.ablation.ablation_table import Cells, notes, score_cells
from cmir.ablation.arm import FAMILIES, Arm
from cmir.ablation.arm_results import VALIDATION
from cmir.ablation.run_ablation import AblationOutcome, Watch, ablate
from cmir.cli import (
    add_artifacts,
    add_loudness,
    add_placement,
    console_of,
    positive,
    print_error,
    print_object,
)
from cmir.errors import InputError
from cmir.process import interruption
from cmir.process.cluster_address import check_address
from cmir.runner.display import Displays
from cmir.runner.paths import Paths
from cmir.runner.runner import Runner
from cmir.runner.scheduling.placement import Placement
from cmir.runner.scheduling.trials_in_flight import Progress
from cmir.runner.tracking.sweep_tracker import connect
from cmir.space.shipped_spaces import space_argument
from cmir.sweep.run_sweep import SweepStart


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, runs the ablation, prints what it found; returns the exit code."""
    given = _parse(arguments)
    placement = Placement(given.concurrency, given.trials_per_gpu, given.address)
    request = AblationRequest(**{f.name: getattr(given, f.name) for f in fields(AblationRequest)})
    console = console_of(given, 100)
    try:
        check_address(placement.address)
        plan = plan_ablation(request, Paths())
        client = connect()
        _announce(console, plan)
        runner = Runner(Paths(artifacts=request.artifacts), placement, request.storage)
        with Shown(console, plan) as shown:
            outcome = ablate(plan, request, client, runner, shown.watch())
    except InputError as error:
        print_error(error)
        return 2
    except KeyboardInterrupt:
        interruption.THIS.say()
        return interruption.INTERRUPTED
    _report(console, plan, outcome)
    if given.json:
        print_object(_as_json(plan, outcome))
    return 0


class Shown(Displays):
    """The display of what trains: first the sweep that tunes the baseline, then the arms."""

    def __init__(self, console: Console, plan: AblationPlan) -> None:
        super().__init__(console)
        self._plan = plan

    def watch(self) -> Watch:
        """The hooks that an ablation calls."""
        return Watch(self._on_tuning, self._on_arms, self.show)

    def _on_tuning(self, start: SweepStart) -> Progress:
        self._console.print(
            f"the ERM baseline: a sweep of its own, {start.run.name}, {start.run.total} trials, of "
            f"which {start.run.done} are done",
            highlight=False,
        )
        return self.show(start.run)

    def _on_arms(self, rows: Sequence[Arm]) -> None:
        self.close()
        trainings = len({arm.fingerprint for arm in rows})
        self._console.print(
            f"{len(rows)} arms are {trainings} trainings of {len(self._plan.full.seeds)} seeds",
            highlight=False,
        )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    told = "the sweep file, or the name of one that ships, required"
    parser.add_argument("--space", type=space_argument, required=True, help=told)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--sweep", help="sweep whose best trial is taken apart (default: latest)")
    start.add_argument("--config", type=Path, help="a configuration file instead, YAML or JSON")
    parser.add_argument(
        "--budget",
        type=positive,
        help="trials to tune the ERM baseline (default: as many as the sweep spent, else 8)",
    )
    parser.add_argument(
        "--seeds", type=positive, default=5, help="fresh seeds per arm (default: 5)"
    )
    parser.add_argument(
        "--epochs", type=positive, help="most epochs of a training (default: the configuration's)"
    )
    parser.add_argument(
        "--families",
        type=lambda text: tuple(text.split(",")),
        default=FAMILIES,
        help=f"families of arms, separated by commas (default: {','.join(FAMILIES)})",
    )
    parser.add_argument(
        "--final",
        action="store_true",
        help="one test-set access, once all arms are trained (default: none)",
    )
    parser.add_argument("--storage", help="Optuna storage URL (default: journal files)")
    add_artifacts(parser)
    add_placement(parser, "trainings")
    add_loudness(parser)
    return parser.parse_args(arguments)


def _as_json(plan: AblationPlan, outcome: AblationOutcome) -> dict[str, Any]:
    """What a script asks of an ablation."""
    return {
        "name": plan.name,
        "metric": plan.metric,
        "arms": outcome.table.to_dicts(),
        "heldout": [] if outcome.heldout is None else outcome.heldout.to_dicts(),
        "files": [str(file) for file in outcome.files],
        "mlflow_misses": outcome.trouble,
    }


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
    if outcome.heldout is not None and outcome.access is not None:
        title = f"the same on held-out data, {plan.metric}"
        console.print(
            _table(score_cells(outcome.heldout, plan.metric, outcome.access.splits, title))
        )
        console.print(heldout_sentence(outcome.access), highlight=False)
    for line in notes(outcome.table):
        console.print(f"  {line}", markup=False, highlight=False)
    console.print(how_to_read(plan), markup=False, highlight=False)
    if outcome.trouble:
        console.print(
            f"MLflow lacks this ablation: {outcome.trouble} Nothing is lost: the same command "
            "writes it.",
            markup=False,
        )
    picture, *_ = outcome.files
    folder = picture.parent.resolve().relative_to(Path.cwd())
    console.print(f"look:  {folder / picture.name}, and beside it", highlight=False)


def _table(cells: Cells) -> Table:
    table = Table(title=cells.title, title_justify="left", box=None, pad_edge=False)
    for column in cells.head:
        table.add_column(column, no_wrap=True)
    for row in cells.rows:
        table.add_row(*row)
    return table
