"""Compares a sweep's champion with rivals at equal budget, and ends with one table:

python workflows/rivals.py --space search_spaces/mosi.yaml

Each rival is tuned by a sweep of its own with as many trials and seeds as the champion's, on the
same data and objective. All are trained again with fresh seeds and compared in pairs, with
intervals over seeds and groups and p values corrected over the rivals. Runs or continues. The
table is kept as CSV, Markdown and LaTeX.

Exit codes: 0 done; 2 bad input; 130 interrupted, nothing lost.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from cmir.ablation.ablation_plan import AblationPlan, AblationRequest, plan_ablation
from cmir.ablation.ablation_report import heldout_sentence
from cmir.ablation.ablation_table import Cells
from cmir.cli import (
    add_artifacts,
    add_loudness,
    add_placement,
    add_test_set,
    console_of,
    positive,
    print_error,
    print_object,
    reason_of,
)
from cmir.errors import InputError
from cmir.process import interruption
from cmir.process.cluster_address import check_address
from cmir.rivals.run_rivals import RivalsOutcome, RivalsRequest, Watch, compare_rivals
from cmir.runner.display import Displays
from cmir.runner.paths import Paths
from cmir.runner.runner import Runner
from cmir.runner.scheduling.placement import Placement
from cmir.runner.scheduling.trials_in_flight import Progress
from cmir.runner.tracking.sweep_tracker import connect
from cmir.space.shipped_spaces import space_argument
from cmir.sweep.run_sweep import SweepStart


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, runs the comparison, prints its table; returns the exit code."""
    given = _parse(arguments)
    console = console_of(given, 120)
    try:
        check_address(given.address)
        plan = plan_ablation(_origin(given), Paths())
        request = RivalsRequest(_names(given.only), given.test_set, reason_of(given))
        _announce(console, plan)
        placement = Placement(given.concurrency, given.trials_per_gpu, given.address)
        runner = Runner(Paths(artifacts=given.artifacts), placement, given.storage)
        with Shown(console) as shown:
            outcome = compare_rivals(plan, request, connect(), runner, shown.watch())
    except InputError as error:
        print_error(error)
        return 2
    except KeyboardInterrupt:
        interruption.THIS.say()
        return interruption.INTERRUPTED
    _report(console, outcome)
    if given.json:
        print_object(_as_json(plan, outcome))
    return 0


class Shown(Displays):
    """The display of what trains: each rival's sweep, then all with fresh seeds."""

    def watch(self) -> Watch:
        """The hooks that a comparison calls."""
        return Watch(self._on_tuning, self.show)

    def _on_tuning(self, name: str, start: SweepStart) -> Progress:
        self._console.print(f"tuning [bold]{name}[/bold]", highlight=False)
        return self.show(start.run)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    told = "the sweep file, or the name of one that ships, required"
    parser.add_argument("--space", type=space_argument, required=True, help=told)
    parser.add_argument("--sweep", help="sweep whose best trial is the champion (default: latest)")
    parser.add_argument(
        "--trials",
        type=positive,
        help="trials to tune each rival (default: as many as the sweep spent)",
    )
    parser.add_argument(
        "--seeds", type=positive, default=5, help="fresh seeds of every row (default: 5)"
    )
    parser.add_argument(
        "--only",
        default="",
        metavar="NAMES",
        help="rivals, separated by commas (default: all that the data allows)",
    )
    add_test_set(parser, "one test-set access for all rivals together")
    parser.add_argument("--storage", help="Optuna storage URL (default: journal files)")
    add_artifacts(parser)
    add_placement(parser, "trainings")
    add_loudness(parser)
    return parser.parse_args(arguments)


def _origin(given: argparse.Namespace) -> AblationRequest:
    return AblationRequest(
        given.space,
        sweep=given.sweep,
        budget=given.trials,
        seeds=given.seeds,
        families=(),
        storage=given.storage,
    )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _as_json(plan: AblationPlan, outcome: RivalsOutcome) -> dict[str, Any]:
    """What a script asks of a comparison."""
    return {
        "name": plan.name,
        "metric": plan.metric,
        "rows": outcome.table.to_dicts(),
        "accesses": None if outcome.heldout is None else outcome.heldout.accesses,
        "files": [str(file) for file in outcome.files],
        "mlflow_misses": outcome.trouble,
    }


def _announce(console: Console, plan: AblationPlan) -> None:
    console.print(
        f"rivals of [bold]{plan.name}[/bold] over {plan.data.name}: {plan.origin}; objective "
        f"{plan.full.objective}; {plan.budget} trials for each",
        highlight=False,
    )


def _report(console: Console, outcome: RivalsOutcome) -> None:
    for cells in outcome.shown:
        console.print(_table(cells))
    if outcome.heldout is not None:
        console.print(heldout_sentence(outcome.heldout), highlight=False)
    console.print(
        "differences: rival less champion, paired, 95 % over seeds and groups; p corrected over "
        "the rivals (Holm); s: seconds of all trainings",
        highlight=False,
    )
    if outcome.trouble:
        console.print(
            f"MLflow lacks this table: {outcome.trouble} Nothing is lost: the same command writes "
            "it.",
            markup=False,
        )
    folder = outcome.files[0].parent
    names = ", ".join(file.name for file in outcome.files)
    console.print(f"look:  {folder}: {names}", highlight=False, soft_wrap=True)


def _table(cells: Cells) -> Table:
    table = Table(title=cells.title, title_justify="left", box=None, pad_edge=False)
    for column in cells.head:
        table.add_column(column, overflow="fold")
    for row in cells.rows:
        table.add_row(*row)
    return table
