"""Convert feature files to a dataset folder and print its data card.

python workflows/prepare.py mmsa mosi_aligned_50.pkl data/mosi
python workflows/prepare.py mag clue/split_dataset_2 data/mosi_ood
python workflows/prepare.py funny ur_funny.pkl data/ur_funny --steps 64
python workflows/prepare.py npz features.npz data/mine --shift held_out:speaker --shift-seed 1
python workflows/prepare.py folder moods data/moods   # a CSV with names of classes, and arrays

Exit code 0; 2 when the input cannot be used; 130 interrupted, nothing written.
"""

from __future__ import annotations

from cmir.process import interruption

if __name__ == "__main__":
    interruption.watch(interruption.NOTHING_WRITTEN)

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast, get_args

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cmir.data.cards.card import data_card
from cmir.data.cards.card_text import render
from cmir.data.formats.origin import Progress as OnProgress
from cmir.data.preparing import prepare
from cmir.data.task import TaskKind
from cmir.errors import InputError
from cmir.extensions import FILE_FORMATS
from cmir.plugins import load_plugins


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line of `prepare.py`."""
    parser = argparse.ArgumentParser(
        description="Convert feature files to a dataset folder and print its data card."
    )
    parser.add_argument(
        "reader", help=f"kind of feature file: {', '.join(sorted(FILE_FORMATS))}, or a plugin's"
    )
    parser.add_argument(
        "source", nargs="+", help="the feature file or folder; for mag also one file per split"
    )
    parser.add_argument("out", help="the dataset folder to make")
    parser.add_argument("--name", help="name of the dataset (default: that of the folder)")
    parser.add_argument(
        "--shift",
        metavar="SCHEME",
        help="held_out:<column> (such as video or speaker) or held_out:cluster: whole groups; "
        "word_bias: words change their sentiment (word_bias:CONTRAST: no further than that); "
        "given:train=train,id_val=valid,ood_val=train:0.05,id_test=test: splits of the source, or "
        "shares of them; index:FILE: as in the splits.json of a dataset folder; cross:FILE: test "
        "on another feature file; none. Default: "
        "the splits of the source if it brings ood_valid, else speakers, videos or clusters",
    )
    parser.add_argument(
        "--shift-seed", type=int, default=0, help="random seed of the shift (default: 0)"
    )
    parser.add_argument(
        "--shift-share",
        type=float,
        default=0.15,
        help="share of the samples in each split that is made (default: 0.15)",
    )
    parser.add_argument(
        "--label",
        metavar="KEY",
        help="key of the label in the source, or KEY:COLUMN of several (default: found by name)",
    )
    parser.add_argument(
        "--task",
        choices=get_args(TaskKind),
        help="what is learned: a scale, 0 and 1, one class of several, or several labels at once "
        "(default: by the labels)",
    )
    parser.add_argument(
        "--names",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="A,B,...",
        help="names of the classes 0, 1, ..., or of the columns of several labels (default: as in "
        "the source)",
    )
    parser.add_argument(
        "--threshold",
        type=float,
        help="several labels that are intensities: one holds above it (default: 0 and 1)",
    )
    parser.add_argument(
        "--label-range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="scale of the label (default: by the labels)",
    )
    parser.add_argument(
        "--split",
        action="append",
        default=[],
        metavar="NAME=SPLIT",
        help="what a split of the source means, such as test=ood_test; repeatable (default: none)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        help="funny: longest sequence, the beginning of the context is cut off (default: not cut)",
    )
    parser.add_argument(
        "--plugin",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module that adds a file format (docs/extending.md); repeatable (default: none)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the dataset at OUT")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prepare a dataset; returns the exit code."""
    given = parse_arguments(arguments)
    try:
        load_plugins(given.plugin, "--plugin")
        with progress_bar() as progress:
            folder = prepare(
                given.source,
                given.out,
                reader=given.reader,
                name=given.name,
                shift=given.shift,
                shift_seed=given.shift_seed,
                shift_share=given.shift_share,
                label=given.label,
                task=given.task,
                label_range=cast(
                    tuple[float, float] | None, given.label_range and tuple(given.label_range)
                ),
                names=given.names,
                threshold=given.threshold,
                splits=meanings(given.split),
                steps=given.steps,
                overwrite=given.overwrite,
                progress=progress,
            )
        card = render(data_card(folder))
    except InputError as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        interruption.THIS.say(interruption.NOTHING_WRITTEN)
        return interruption.INTERRUPTED
    print_anywhere(f"{card}\n\nwritten to {folder}")
    return 0


def meanings(pairs: Sequence[str]) -> dict[str, str]:
    """`NAME=SPLIT` texts as a dict.

    Raises:
        InputError: a text has another form.

    >>> meanings(["test=ood_test"])
    {'test': 'ood_test'}
    """
    found = {}
    for pair in pairs:
        name, equals, split = pair.partition("=")
        if not (name and equals and split):
            raise InputError(f"--split {pair}: must be NAME=SPLIT, such as test=ood_test.")
        found[name] = split
    return found


@contextmanager
def progress_bar() -> Iterator[OnProgress]:
    """A bar on the terminal while the body runs; elsewhere, such as in a log, nothing."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        row = bar.add_task("reading", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(row, description=what, completed=done, total=total)

        yield show


def print_anywhere(text: str) -> None:
    """Print with question marks for what the terminal's encoding cannot show."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding))


if __name__ == "__main__":
    interruption.leave(main)
