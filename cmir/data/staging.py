"""A dataset folder appears whole or not at all, and replaces nothing but a dataset."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cmir.data.manifest import MANIFEST_FILE, SAMPLES_FILE, STATISTICS_FILE
from cmir.errors import InputError


@contextmanager
def new_folder(path: Path, overwrite: bool) -> Iterator[Path]:
    """A folder to fill, which takes the place of `path` when the body succeeds.

    Raises:
        InputError: `path` is a file or a folder of something else, or a dataset that may not
            be overwritten; the disk refuses.
    """
    target = path.resolve()
    check_target(target, overwrite)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise InputError(f"{path}: the folder cannot be made: {error.strerror}.") from None
    new = staging / "new"
    try:
        new.mkdir()
        yield new
        _replace(target, new, staging / "replaced")
    except OSError as error:
        raise InputError(f"{path}: the dataset cannot be written: {error}.") from None
    finally:
        shutil.rmtree(new, ignore_errors=True)
        # What it replaced stays in there should it be impossible to put it back.
        with suppress(OSError):
            staging.rmdir()


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse to put a dataset where something else is.

    Raises:
        InputError: `target` is a file, a folder of something else, a dataset with files that
            are no part of it, or a dataset and `overwrite` is False.
    """
    content = _content(target)
    if not content:
        return
    if not {MANIFEST_FILE, SAMPLES_FILE} <= content:
        raise InputError(
            f"{target}: the folder is not empty and is not a dataset, so it stays as it is. "
            "Give another folder."
        )
    foreign = sorted(name for name in content if not is_part_of_a_dataset(name))
    if foreign:
        raise InputError(
            f"{target}: the dataset folder also holds {', '.join(foreign)}, which replacing it "
            "would delete. Move that away or give another folder."
        )
    if not overwrite:
        raise InputError(
            f"{target}: there is a dataset already. Use --overwrite to replace it, or give "
            "another folder."
        )


def _content(target: Path) -> set[str]:
    try:
        return {file.name for file in target.iterdir()}
    except FileNotFoundError:
        return set()
    except NotADirectoryError:
        raise InputError(
            f"{target}: must be a folder, but its path leads to a file. Give another name."
        ) from None
    except OSError as error:
        raise InputError(f"{target}: the folder cannot be read: {error.strerror}.") from None


def is_part_of_a_dataset(name: str) -> bool:
    """Whether a file of a dataset folder may be called so."""
    known = {MANIFEST_FILE, SAMPLES_FILE, STATISTICS_FILE, "ground_truth.json", "ground_truth.npz"}
    return name in known | {"splits.json", "annealing.png"} or name.endswith(".npy")


def _replace(target: Path, new: Path, replaced: Path) -> None:
    if not target.exists():
        new.rename(target)
        return
    target.rename(replaced)
    try:
        new.rename(target)
    except OSError:
        replaced.rename(target)
        raise
    shutil.rmtree(replaced)
