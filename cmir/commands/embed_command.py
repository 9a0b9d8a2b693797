"""Compute a language model's token vectors once: a data set folder in, another one out.

python workflows/embed.py data/mosi data/mosi_minilm --backbone minilm
python workflows/embed.py data/mosi data/mosi_deberta --backbone models/deberta --device cuda

The new folder is a data set like any other; `dataset.json` records which weights made it. A name
that is not on disk is fetched from the Hugging Face hub, unless HF_HUB_OFFLINE=1 is set. Needs
`pip install 'cmir-sweep[text]'`.

Exit code 0; 2 when the input cannot be used; 130 interrupted, nothing written.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.progress import Progress

from cmir.cli import positive
from cmir.errors import InputError
from cmir.method.language.data_tokens import TEXT_COLUMNS
from cmir.method.language.embedded_dataset import embed
from cmir.method.language.embedding import PRECISIONS, Embedding
from cmir.method.language.pretrained.backbones import find_backbone
from cmir.process import interruption


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line of `embed.py`."""
    parser = argparse.ArgumentParser(
        description="Compute a language model's token vectors as a modality of a data set."
    )
    parser.add_argument("dataset", help="the data set folder; it needs raw_text or text_bert")
    parser.add_argument("out", help="the data set folder to make")
    parser.add_argument(
        "--backbone",
        required=True,
        metavar="NAME_OR_FOLDER",
        help="any encoder: a folder, minilm, or a name of the Hugging Face hub",
    )
    parser.add_argument(
        "--from",
        dest="column",
        choices=TEXT_COLUMNS,
        help="column of the texts (default: raw_text, else text_bert)",
    )
    parser.add_argument(
        "--modality", default="text", help="modality that is made or replaced (default: text)"
    )
    parser.add_argument(
        "--layer", type=int, help="layer whose vectors are kept; 0: embedding (default: last)"
    )
    parser.add_argument(
        "--longest",
        type=positive,
        metavar="TOKENS",
        help="cut longer texts (default: the model's limit)",
    )
    parser.add_argument("--device", help="cpu, cuda or cuda:1 (default: a GPU if there is one)")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="floating-point format (default: float16 on a GPU, else float32)",
    )
    parser.add_argument(
        "--batch-tokens",
        type=positive,
        default=8192,
        help="padded tokens at a time (default: 8192)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the data set at OUT")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Embeds a data set; returns the exit code."""
    given = parse_arguments(arguments)
    console = Console()
    progress = Progress(console=console)
    bar = progress.add_task("texts", total=None)

    def show(done: int, total: int) -> None:
        progress.start()
        progress.update(bar, completed=done, total=total)

    try:
        embedding = Embedding(
            backbone=find_backbone(given.backbone, download=True),
            layer=given.layer,
            device=_device(given.device),
            precision=given.precision,
            batch_tokens=given.batch_tokens,
            longest=given.longest,
        )
        folder = embed(
            given.dataset,
            given.out,
            embedding,
            column=given.column,
            modality=given.modality,
            overwrite=given.overwrite,
            on_rows=show,
        )
    except InputError as error:
        print(f"embed: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        interruption.THIS.say(interruption.NOTHING_WRITTEN)
        return interruption.INTERRUPTED
    finally:
        if progress.live.is_started:
            progress.stop()
    console.print(f"written to {folder}", markup=False, highlight=False)
    return 0


def _device(wanted: str | None) -> str:
    """The device asked for, checked, or the GPU if there is one."""
    if wanted is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind, index = torch.device(wanted).type, torch.device(wanted).index or 0
    except RuntimeError:
        raise InputError(f"--device must be cpu, cuda or cuda:<i>, but got '{wanted}'.") from None
    if kind == "cpu" or (kind == "cuda" and index < torch.cuda.device_count()):
        return wanted
    raise InputError(f"--device {wanted}: there is no such device here. Use cpu.")
