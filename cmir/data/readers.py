"""Feature files of the field, one reader for each kind of file."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cmir.data import safe_pickle
from cmir.data.manifest import Task
from cmir.data.mmsa_layout import Source, assemble
from cmir.errors import InputError


def mmsa(file: Path, *, label: str | None = None, task: Task | None = None) -> Source:
    """Read a pickle in the layout of MMSA: `{split: {key: values}}`.

    Keys of a split, N samples: `id` ("video$_$clip"), `regression_labels` (or another of
    `LABEL_KEYS`), arrays `(N, T, D)` or `(N, D)` such as `text`, `audio`, `vision` or any other
    modality, `<modality>_lengths`, `raw_text`, `speaker`. Further keys are left out. Splits:
    `train`, `valid` or `dev`, and optionally `test`, `ood_valid`, `ood_test` (`SPLIT_NAMES`).

    Args:
        file: the pickle; it is read by `safe_pickle`, so nothing in it is executed.
        label: key of the label.
        task: "regression" or "binary"; found from the labels by default.

    Raises:
        InputError: the file is no such pickle.
    """
    return assemble(safe_pickle.load(file), str(file), label=label, task=task)


def npz(file: Path, *, label: str | None = None, task: Task | None = None) -> Source:
    """Read an .npz file whose keys are `<split>/<key>`, as in the layout of MMSA.

    Texts are unicode arrays, not object arrays: object arrays are pickles and are refused.
    The keys and splits are those of `mmsa`. To write one:

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "features.npz"
    >>> audio = np.zeros((2, 5), np.float32)
    >>> splits = {
    ...     "train": {"id": ["a$_$1", "a$_$2"], "labels": [0.5, -2.0], "audio": audio},
    ...     "valid": {"id": ["b$_$1", "b$_$2"], "labels": [1.0, 0.0], "audio": audio},
    ... }
    >>> np.savez(file, **{f"{s}/{k}": v for s, keys in splits.items() for k, v in keys.items()})
    >>> npz(file).samples.select("id", "split", "label", "video").row(3)
    ('b$_$2', 'id_val', 0.0, 'b')

    Raises:
        InputError: the file is no such .npz file.
    """
    return assemble(_nested(_arrays(file), str(file)), str(file), label=label, task=task)


READERS: Mapping[str, Callable[..., Source]] = {"mmsa": mmsa, "npz": npz}


def _arrays(file: Path) -> dict[str, Any]:
    try:
        # numpy leaves a broken archive open that it opened by name.
        with file.open("rb") as stream:
            content = np.load(stream, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise InputError(f"{file}: must be an .npz file, but is a single .npy array.")
            with content:
                return dict(content)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{file}: cannot be read: No such file or directory.") from None
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{file}: must be a whole .npz file without object arrays, but: {error}. It may be "
            "truncated or of another format; save texts as unicode arrays."
        ) from None


def _nested(arrays: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    splits: dict[str, dict[str, Any]] = {}
    for name, array in arrays.items():
        split, slash, key = name.partition("/")
        if not slash or not key:
            raise InputError(
                f"{where}: keys must have the form <split>/<key>, such as train/audio, but got "
                f"{name!r}."
            )
        splits.setdefault(split, {})[key] = array
    return splits
