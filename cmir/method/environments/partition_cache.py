"""Arrays that are costly to compute, kept in a folder that several processes share."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cmir.errors import PlaceError
from cmir.shared_files import written_whole

NAME = re.compile(r"[0-9a-f]{24}\.array")
# From a file's name to its content, where another host has it.
Ask = Callable[[str], bytes | None]


def recalled(
    folder: Path | None,
    key: Mapping[str, Any],
    compute: Callable[[], np.ndarray],
    ask: Ask | None = None,
) -> np.ndarray:
    """The array that `compute` returns, from the folder where it has been kept before.

    A file begins with the sha256 of its key and content: one that is damaged, cut off or of
    another key is not used but computed and written again, whole or not at all.

    Args:
        folder: where arrays are kept, made if need be; None: compute always.
        key: everything that the array follows from.
        compute: called where no usable file is there.
        ask: called before that, where another host may have the file.

    Raises:
        PlaceError: the folder cannot be written.
    """
    if folder is None:
        return compute()
    name = json.dumps(dict(key), sort_keys=True).encode()
    path = folder / f"{hashlib.sha256(name).hexdigest()[:24]}.array"
    values = _array(kept_file(folder, path.name), name)
    if values is None:
        values = _array(ask(path.name), name) if ask is not None else None
        values = compute() if values is None else values
        _write(path, name, values)
    return values


def kept_file(folder: Path, name: str) -> bytes | None:
    """What a folder keeps under the name of a file; None where it does not."""
    if not NAME.fullmatch(name):
        return None
    try:
        return (folder / name).read_bytes()
    except OSError:
        return None


def _array(content: bytes | None, name: bytes) -> np.ndarray | None:
    """The array in the content of a file; None where it is damaged or of another key."""
    if content is None or hashlib.sha256(name + content[32:]).digest() != content[:32]:
        return None
    return np.asarray(np.load(io.BytesIO(content[32:]), allow_pickle=False))


def _write(path: Path, name: bytes, values: np.ndarray) -> None:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    array = stream.getvalue()
    try:
        with written_whole(path, by_several=True) as draft:
            draft.write_bytes(hashlib.sha256(name + array).digest() + array)
    except OSError as error:
        raise PlaceError(
            f"{path.parent}: partitions of the data are kept here, but it cannot be written: "
            f"{error.strerror}. Make room, or run in a folder you may write to."
        ) from None
