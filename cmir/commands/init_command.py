"""Copies a sweep file that ships with the project into the current folder, to be edited.

cmir init            # says which there are
cmir init mosi       # mosi.yaml, and schema.json beside it, which lets editors complete it

Exit codes: 0 done; 2 bad input.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from cmir.cli import print_error
from cmir.errors import InputError
from cmir.space.shipped_spaces import shipped_folder, shipped_space, shipped_spaces

SCHEMA = "schema.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Copies a file, or lists them; returns the exit code."""
    given = _parse(arguments)
    try:
        if given.space is None:
            print("\n".join(shipped_spaces()))
        else:
            print(f"wrote {_copied(given.space, given.out)}")
    except InputError as error:
        print_error(error)
        return 2
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("space", nargs="?", help="name of a sweep file (default: list them)")
    parser.add_argument(
        "--out", type=Path, help="file to write (default: NAME.yaml in the current folder)"
    )
    return parser.parse_args(arguments)


def _copied(name: str, out: Path | None) -> Path:
    source = shipped_space(name)
    target = out or Path(source.name)
    if target.exists():
        raise InputError(f"{target}: is there already. Give another file with --out.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        text = source.read_text(encoding="utf-8").replace("$schema=../", "$schema=")
        target.write_text(text, encoding="utf-8")
        schema = target.parent / SCHEMA
        if not schema.exists():
            shutil.copyfile(shipped_folder() / SCHEMA, schema)
    except OSError as error:
        raise InputError(f"{target}: cannot be written: {error.strerror}.") from None
    return target
