"""Scores samples with a registered model: `python workflows/predict.py SOURCE`.

SOURCE is a dataset folder, an .npz file or a .json file with one sample or many, which are
sentences where the model has a language model. Prints a table
with the prediction, its spread over the seeds, and `outside`: whether an out-of-distribution
score exceeds its .99 quantile in training; or writes it to a .csv, .parquet or .json file.

Where the samples have labels, these and the errors stand beside the predictions, and the scores of
each split below. Held-out splits are scored only where --split names one, and compared with their
labels only with --test-set, which is counted as a test-set access.

Exit codes: 0 scored; 2 bad input.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import polars as pl
import torch
from polars import selectors
from rich.console import Console
from rich.table import Table

from cmir.cli import add_test_set, print_error, reason_of
from cmir.data import load_dataset
from cmir.data.manifest import HELDOUT_SPLITS
from cmir.data.samples import read_samples
from cmir.data.task import Task
from cmir.errors import InputError
from cmir.promotion.promotion_plan import CHAMPION
from cmir.registry.heldout_access import read_heldout
from cmir.registry.model_registry import Registry
from cmir.registry.versions import ensemble_of_version, known_model, version
from cmir.runner.paths import Paths
from cmir.runner.tracking.sweep_tracker import answering, connect
from cmir.serving.label_comparison import scores_by_split
from cmir.serving.predictor import CUT, Ensemble
from cmir.serving.score_files import score_source

SHOWN_ROWS = 20
# Of numbers in a file that is read by people: float32 has no more.
DIGITS = 7
WRITERS: Mapping[str, Callable[[pl.DataFrame, Path], None]] = {
    ".csv": lambda table, path: _rounded(table).write_csv(path),
    ".json": lambda table, path: _rounded(table).write_json(path),
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
            registry = Registry(client, one.model)
            table = (
                _compared(given, ensemble, registry) if given.test_set else _scored(given, ensemble)
            )
        _show(console, table) if given.out is None else _write(console, table, given.out)
    except InputError as error:
        print_error(error)
        return 2
    _show_scores(console, scores_by_split(table, ensemble.card.task))
    _say_heldout(console, given)
    _summarise(console, table, ensemble)
    return 0


def _scored(given: argparse.Namespace, ensemble: Ensemble) -> pl.DataFrame:
    return score_source(ensemble, given.source, given.split)


def _compared(given: argparse.Namespace, ensemble: Ensemble, registry: Registry) -> pl.DataFrame:
    """The samples with held-out splits among them, in one test-set access."""
    why, held = reason_of(given), _heldout(given.source)
    if given.split not in (None, *held) or not held:
        raise InputError(
            f"--test-set: must be given with a held-out split, but {given.source} has "
            f"{' and '.join(held) or 'none'}{f', not {given.split}' if given.split else ''}. "
            "Leave it out."
        )
    table, _ = read_heldout(
        load_dataset(given.source),
        lambda data: score_source(ensemble, given.source, given.split, data),
        lambda table: _kept(table, held, ensemble.card.task),
        registry=registry,
        paths=Paths(),
        purpose=f"predict: {why}",
    )
    return table


def _kept(table: pl.DataFrame, held: Sequence[str], task: Task) -> dict[str, float]:
    """What the ledger keeps."""
    scores = scores_by_split(table, task)
    names, splits = scores["metric"], [name for name in held if name in scores.columns]
    return {
        f"{split}/{metric}": value
        for split in splits
        for metric, value in zip(names, scores[split], strict=True)
    }


def _heldout(source: Path) -> list[str]:
    """Names of the held-out splits of a dataset folder."""
    if not source.is_dir():
        return []
    there = set(read_samples(source)["split"].cast(pl.String).to_list())
    return [name for name in HELDOUT_SPLITS if name in there]


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
        "--split",
        help="the only split of a dataset folder to score (default: all but the held-out ones)",
    )
    add_test_set(parser, "compare held-out splits with their labels, one test-set access")
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


def _show_scores(console: Console, scores: pl.DataFrame) -> None:
    if not scores.height:
        return
    shown = Table(title="scores of these predictions", title_justify="left", box=None)
    for name in scores.columns:
        shown.add_column(name, justify="left" if name == "metric" else "right")
    for metric, *values in scores.rows():
        places = 0 if metric == "samples" else 4
        shown.add_row(metric, *("" if v is None else f"{v:.{places}f}" for v in values))
    console.print(shown)


def _say_heldout(console: Console, given: argparse.Namespace) -> None:
    """Says which held-out splits, or which of their labels, were left alone."""
    held = [] if given.test_set else _heldout(given.source)
    if not held or given.split not in (None, *held):
        return
    told = "were left alone: --split NAME scores one of them"
    if given.split is not None:
        held, told = [given.split], "was not compared with its labels"
    console.print(
        f"{' and '.join(held)} (held out) {told}; --test-set --why TEXT compares, and counts it",
        highlight=False,
        soft_wrap=True,
    )


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


def _rounded(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(selectors.float().cast(pl.Float64).round_sig_figs(DIGITS))


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
