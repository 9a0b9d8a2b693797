"""The paper's protocol in one command, and its table with our numbers beside the published ones:

python workflows/reproduce_paper.py --space search_spaces/paper/mosi.yaml
python workflows/reproduce_paper.py --all

Draws 50 random configurations, judges them on the validation split, trains the best again with 5
fresh seeds, evaluates it once on the test split. Runs or continues: what is done is not repeated.
Features are frozen, unless --backbone names a language model to be fine-tuned with the rest.

Exit codes: 0 done; 1 no trial finished; 2 bad input, or no data for --space; 130 interrupted,
nothing lost.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cmir.cli import (
    add_artifacts,
    add_loudness,
    add_placement,
    console_of,
    positive,
    print_error,
    print_object,
)
from cmir.data.transport.data_url import is_url
from cmir.errors import InputError
from cmir.paper.language_setting import with_backbone
from cmir.paper.paper_table import Entry, entry, tables
from cmir.paper.protocol import Reproduction, reproduce
from cmir.paper.published_numbers import PAPER
from cmir.process import interruption
from cmir.process.cluster_address import check_address
from cmir.promotion.promotion import trainings_of
from cmir.promotion.promotion_plan import PromotionRequest, plan_promotion
from cmir.runner.display import RunDisplay
from cmir.runner.paths import Paths
from cmir.runner.runner import RunStart
from cmir.runner.scheduling.placement import Placement
from cmir.runner.scheduling.trials_in_flight import Progress
from cmir.runner.tracking.sweep_tracker import connect
from cmir.space.shipped_spaces import space_argument
from cmir.space.space_file import read_sweep_file
from cmir.sweep.run_sweep import SweepOutcome, SweepRequest, SweepStart, run_sweep

RETRAININGS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, follows the protocol, prints the table; returns the exit code."""
    given = _parse(arguments)
    console = console_of(given)
    try:
        check_address(given.address)
        entries = [_entry(space, given, console) for space in _spaces(given)]
    except InputError as error:
        print_error(error)
        return 2
    except NoTrialError as fault:
        console.print(f"{fault}", highlight=False)
        return 1
    except KeyboardInterrupt:
        interruption.THIS.say()
        return interruption.INTERRUPTED
    _print(console, entries)
    if given.json:
        print_object({"data_sets": [_as_json(one) for one in entries]})
    return 2 if given.space and entries[0].found is None else 0


class NoTrialError(Exception):
    """A sweep in which no trial finished."""


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--space", type=space_argument, help="one sweep file of search_spaces/paper, or its name"
    )
    which.add_argument(
        "--all", action="store_true", help="all six data sets, as far as they are on disk"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("search_spaces/paper"),
        help="folder of the sweep files for --all (default: search_spaces/paper)",
    )
    parser.add_argument(
        "--trials", type=positive, help="configurations drawn (default: the file's, 50)"
    )
    parser.add_argument("--epochs", type=positive, help="most epochs (default: the file's)")
    parser.add_argument(
        "--retrain",
        type=positive,
        default=RETRAININGS,
        help="fresh seeds with which the best is trained again (default: 5)",
    )
    parser.add_argument(
        "--backbone",
        metavar="NAME_OR_FOLDER",
        help="language model that is fine-tuned with the rest, as in the paper, on the data's\n"
        "raw_text or text_bert: a folder, or minilm (default: the data's frozen features)",
    )
    add_placement(parser, "trials")
    parser.add_argument("--storage", help="Optuna storage URL (default: journal files)")
    add_artifacts(parser)
    parser.add_argument(
        "--stand-in",
        action="store_true",
        help="generate synthetic data where a data set is missing (default: skip it)",
    )
    add_loudness(parser)
    return parser.parse_args(arguments)


def _spaces(given: argparse.Namespace) -> list[Path]:
    if given.space:
        return [given.space]
    return [given.folder / f"{name.removeprefix('paper_')}.yaml" for name in PAPER]


def _entry(space: Path, given: argparse.Namespace, console: Console) -> Entry:
    file = read_sweep_file(space)
    known = entry(file.name, None)
    paths = Paths(artifacts=given.artifacts)
    is_here = is_url(file.data.path) or (paths.root / file.data.path).exists()
    if not is_here and not given.stand_in:
        is_error = given.space is not None and console.quiet
        (Console(stderr=True) if is_error else console).print(
            f"{known.row.title}: there is no data at {file.data.path}; {space} says how to make it",
            highlight=False,
        )
        return known
    return entry(file.name, _reproduce(space, given, console, paths))


def _reproduce(
    space: Path, given: argparse.Namespace, console: Console, paths: Paths
) -> Reproduction:
    outcome = _search(space, given, console, paths)
    if not outcome.is_complete:
        raise KeyboardInterrupt
    if all(record.outcome != "finished" for record in outcome.records):
        raise NoTrialError(f"{outcome.sweep}: no trial finished. The reasons are in MLflow.")
    rule = outcome.records[0].config.objective.partition("/")[0]
    request = PromotionRequest(
        sweep=outcome.sweep, rule=rule, top=1, seeds=given.retrain, storage=given.storage
    )

    plan = plan_promotion(request, paths)
    displays: list[RunDisplay] = []

    def show(start: RunStart) -> Progress:
        displays.append(RunDisplay(console, start).__enter__())
        return displays[-1].progress()

    try:
        trainings = trainings_of(plan, _placement(given), given.storage, show, log=True)
        return reproduce(plan, connect(), trainings)
    finally:
        for display in displays:
            display.__exit__()


def _placement(given: argparse.Namespace) -> Placement:
    return Placement(given.concurrency, given.trials_per_gpu, given.address)


def _search(space: Path, given: argparse.Namespace, console: Console, paths: Paths) -> SweepOutcome:
    chosen = {"trials": given.trials, "epochs": given.epochs}
    overrides = {name: value for name, value in chosen.items() if value is not None}
    if given.backbone is not None:
        overrides |= with_backbone(read_sweep_file(space), given.backbone)
    displays: list[RunDisplay] = []

    def show(start: SweepStart) -> Progress:
        file = start.prepared.file
        console.print(
            f"sweep [bold]{start.run.name}[/bold] over {start.prepared.data.name}: {file.trials} "
            f"{file.sampler} configurations of up to {file.epochs} epochs, "
            f"{start.run.done} are done",
            highlight=False,
        )
        displays.append(RunDisplay(console, start.run).__enter__())
        return displays[0].progress()

    try:
        request = SweepRequest(space, overrides, _placement(given), storage=given.storage)
        return run_sweep(request, paths, show)
    finally:
        for display in displays:
            display.__exit__()


def _as_json(one: Entry) -> dict[str, Any]:
    """What a script asks of the protocol on a data set; `found` is null where there was no data."""
    return {"title": one.row.title, "found": None if one.found is None else asdict(one.found)}


def _print(console: Console, entries: Sequence[Entry]) -> None:
    for head, lines in tables(entries):
        table = Table()
        for column in head:
            table.add_column(column, overflow="fold")
        for line in lines:
            table.add_row(*line)
        console.print(table)
    for one in entries:
        if one.note:
            console.print(one.note, highlight=False, soft_wrap=True)
