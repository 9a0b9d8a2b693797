"""Scores samples with a registered model: `python workflows/predict.py SOURCE`.

SOURCE is a dataset folder, an .npz file or a .json file with one sample or many, which are
sentences where the model has a language model. Prints a table
with the prediction, its spread over the seeds, and `outside`: whether an out-of-distribution
score exceeds its .99 quantile in training; or writes it to a .csv, .parquet or .json file.

Exit codes: 0 scored; 2 bad input.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl
import torch
from rich.console import Console
from rich.table import Table

from cmir.cli import print_error
from cmir.errors import InputError
from cmir.promotion.promotion_plan import CHAMPION
from cmir.registry.versions import ensemble_of_version, known_model, version
from cmir.runner.tracking.sweep_tracker import answering, connect
from cmir.serving.predictor import CUT, Ensemble
from cmir.serving.score_files import score_source

SHOWN_ROWS = 20
WRITERS: Mapping[str, Callable[[pl.DataFrame, Path], None]] = {
    ".csv": lambda table, path: table.write_csv(path),
    ".json": lambda table, path: table.write_json(path),
    ".parquet": lambda table, path: table.write_parquet(path),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the command line, scores, prints or writes the table; returns the exit code."""
    given, console = _parse(arguments), Console()
    # Threads that wait for each other on a busy machine made one sample fifty times slower.
    torch.set_num_threads(1)
    try:
        _check_out(given.out)
        client = connect()
        with answering(client):
            one = version(client, known_model(client, given.model), given.version or given.alias)
            ensemble = ensemble_of_version(one)
        _announce(console, str(one), ensemble)
        table = score_source(ensemble, given.source, given.split)
        _show(console, table) if given.out is None else _write(console, table, given.out)
    except InputError as error:
        print_error(error)
        return 2
    _summarise(console, table, ensemble)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("source", type=Path, help="dataset folder, .npz or .json file")
    parser.add_argument("--model", help="registered model (default: the only one)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--version", help="number or alias of the version (default: see --alias)")
    which.add_argument(
        "--alias", default=CHAMPION, help=f"alias of the version (default: {CHAMPION})"
    )
    parser.add_argument(
        "--split", help="the only split of a dataset folder to score (default: all)"
    )
    parser.add_argument(
        "--out", type=Path, help="file for the table: .csv, .parquet or .json (default: print)"
    )
    return parser.parse_args(arguments)


def _check_out(path: Path | None) -> None:
    if path is None:
        return
    if path.suffix not in WRITERS:
        raise InputError(f"--out {path}: must end in {', '.join(WRITERS)}.")
    if not path.parent.is_dir():
        raise InputError(f"--out {path}: there is no folder {path.parent}.")


def _announce(console: Console, name: str, ensemble: Ensemble) -> None:
    card = ensemble.card
    console.print(
        f"{name}: {len(card.seeds)} seeds, trained on {card.trained_on}",
        highlight=False,
        markup=False,
    )


def _show(console: Console, table: pl.DataFrame) -> None:
    table = _narrow(table)
    shown = Table()
    for name in table.columns:
        shown.add_column(name)
    for row in table.head(SHOWN_ROWS).rows():
        shown.add_row(*(_cell(value) for value in row))
    console.print(shown)
    if table.height > SHOWN_ROWS:
        console.print(f"and {table.height - SHOWN_ROWS} more samples: give --out FILE for all")


def _narrow(table: pl.DataFrame) -> pl.DataFrame:
    """With names the largest probability alone: a column for each name is too much for a screen."""
    each = [name for name in table.columns if name.startswith("probability_")]
    if not each:
        return table
    place = table.columns.index("prediction") + 1
    largest = table.select(pl.max_horizontal(each)).to_series().alias("largest probability")
    spread = [f"std_{name.removeprefix('probability_')}" for name in each]
    return table.drop(each, spread).insert_column(place, largest)


def _write(console: Console, table: pl.DataFrame, path: Path) -> None:
    try:
        WRITERS[path.suffix](table, path)
    except OSError as error:
        raise InputError(f"--out {path}: cannot be written: {error}.") from None
    console.print(f"wrote {table.height} predictions to {path}", highlight=False, markup=False)


def _summarise(console: Console, table: pl.DataFrame, ensemble: Ensemble) -> None:
    """Says what was cut, imputed and out of distribution, which a column of numbers hides."""
    if CUT in table.columns and table[CUT].any():
        console.print(
            f"{int(table[CUT].sum())} of {table.height} sentences were longer than the language "
            f"model takes, and were cut ({CUT})",
            highlight=False,
        )
    limits = ensemble.card.distance_limits
    if not limits:
        console.print(
            "This version was registered before out-of-distribution scores were kept: whether an "
            "input is far from its training data is not known."
        )
        return
    missing = [name for name in limits if f"distance_{name}" not in table.columns]
    if missing:
        console.print(
            f"{', '.join(missing)}: did not come; erased as in the views it was trained with",
            markup=False,
        )
    beyond = {
        name: int((table[f"distance_{name}"] > limit).sum())
        for name, limit in limits.items()
        if name not in missing
    }
    told = ", ".join(f"{name} {count}" for name, count in beyond.items() if count)
    console.print(
        f"{int(table['outside'].sum())} of {table.height} samples have an out-of-distribution "
        f"score beyond the .99 quantile of training{f' ({told})' if told else ''}",
        highlight=False,
        markup=False,
    )


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
