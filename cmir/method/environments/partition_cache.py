"""Arrays that are costly to compute, kept in a folder that several processes share."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cmir.errors import PlaceError
from cmir.shared_files import written_whole


def recalled(
    folder: Path | None, key: Mapping[str, Any], compute: Callable[[], np.ndarray]
) -> np.ndarray:
    """The array that `compute` returns, from the folder where it has been kept before.

    A file begins with the sha256 of its key and content: one that is damaged, cut off or of
    another key is not used but computed and written again, whole or not at all.

    Args:
        folder: where arrays are kept, made if need be; None: compute always.
        key: everything that the array follows from.
        compute: called where no usable file is there.

    Raises:
        PlaceError: the folder cannot be written.
    """
    if folder is None:
        return compute()
    name = json.dumps(dict(key), sort_keys=True).encode()
    path = folder / f"{hashlib.sha256(name).hexdigest()[:24]}.array"
    values = _read(path, name)
    if values is None:
        values = compute()
        _write(path, name, values)
    return values


def _read(path: Path, name: bytes) -> np.ndarray | None:
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, array = content[:32], content[32:]
    if hashlib.sha256(name + array).digest() != digest:
        return None
    return np.asarray(np.load(io.BytesIO(array), allow_pickle=False))


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
