"""Trains a registered version again and compares: `python workflows/reproduce.py --version 3`.

Everything comes from what the version carries: configuration, seeds, checksum of the data, scores.
It agrees if every score on validation data is the recorded one, bit for bit, or its mean lies
within the spread of the recorded seeds. Held-out data is not read.

Exit codes: 0 agrees; 2 bad input; 3 disagrees; 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.status import Status
from rich.table import Table

from cmir.cli import print_error
from cmir.errors import InputError
from cmir.method.training.reports import EpochReport
from cmir.process import interruption
from cmir.promotion.reproduction import Reproduction, reproduce_version
from cmir.registry.recipe import Recipe
from cmir.registry.versions import (
    ensemble_of_version,
    known_model,
    recipe_of_version,
    version,
)
from cmir.runner.provenance import provenance
from cmir.runner.tracking.sweep_tracker import answering, connect

DISAGREES = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, trains, prints both numbers; returns the exit code."""
    given = _parse(arguments)
    console = Console()
    try:
        client = connect()
        with answering(client):
            one = version(client, known_model(client, given.model), given.version)
            recipe = recipe_of_version(client, one)
            registered = ensemble_of_version(one)
        if recipe is None:
            raise InputError(
                f"{one} carries no recipe: it was registered before versions did, or the files of "
                f"its run {one.run} are gone. Put them back, or promote its sweep again."
            )
        _announce(console, str(one), recipe)
        with Status("training", console=console) as status:
            found = reproduce_version(
                recipe, registered, given.data, lambda report: _show(status, report)
            )
    except InputError as error:
        print_error(error)
        return 2
    except KeyboardInterrupt:
        interruption.THIS.say(interruption.NOTHING_WRITTEN)
        return interruption.INTERRUPTED
    return _report(console, found)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--version", required=True, help="number or alias of the version, required")
    parser.add_argument("--model", help="registered model (default: the only one)")
    parser.add_argument("--data", type=Path, help="dataset folder (default: the recorded one)")
    return parser.parse_args(arguments)


def _announce(console: Console, name: str, recipe: Recipe) -> None:
    seeds = ", ".join(map(str, recipe.config.seeds))
    console.print(f"{name}: data {recipe.data}, seeds {seeds}", highlight=False)
    now = provenance()
    for key in sorted(recipe.code.keys() & now.keys()):
        if recipe.code[key] != now[key]:
            console.print(f"  {key}: {recipe.code[key]} then, {now[key]} now", highlight=False)


def _show(status: Status, report: EpochReport) -> None:
    status.update(f"training, epoch {report.epoch}, objective {report.objective:.4f}")


def _report(console: Console, found: Reproduction) -> int:
    table = Table(title="validation data", title_justify="left")
    for column in ("metric", "recorded", "reproduced", "spread of the seeds", "agrees"):
        table.add_column(column)
    for score in found.scores:
        agrees = "exactly" if score.is_exact else "within" if score.agrees else "NO"
        numbers = (score.recorded, score.again, score.spread)
        table.add_row(score.key, *(f"{number:.6f}" for number in numbers), agrees)
    console.print(table)
    bits = "the same, bit for bit" if found.is_exact else "other bits"
    if found.agrees:
        console.print(f"It agrees. Weights: {bits}.")
    else:
        console.print(
            "[bold]It does not agree[/bold]: a score left the spread of its seeds. "
            f"Weights: {bits}."
        )
    return 0 if found.agrees else DISAGREES
