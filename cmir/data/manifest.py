"""What `dataset.json` may say, and the names a dataset folder is made of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from struct import error as StructError  # noqa: N812
from tokenize import TokenError
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from cmir.data.task import Task, TaskKind
from cmir.errors import InputError

FORMAT = 1
MANIFEST_FILE = "dataset.json"
SAMPLES_FILE = "samples.parquet"
STATISTICS_FILE = "statistics.npz"
DEVELOPMENT_SPLITS = ("train", "id_val", "ood_val")
HELDOUT_SPLITS = ("id_test", "ood_test")
SPLITS = DEVELOPMENT_SPLITS + HELDOUT_SPLITS
FEATURE_DTYPES = (np.dtype(np.float32), np.dtype(np.float16))
# What numpy raises over a broken .npy file; its header is text that is parsed as Python.
BROKEN_ARRAY = (
    OSError,
    ValueError,
    EOFError,
    TypeError,
    SyntaxError,
    KeyError,
    OverflowError,
    MemoryError,
    RecursionError,
    TokenError,
    StructError,
)


class ArrayRecord(BaseModel):
    """Shape, dtype and the sha256 of one `<modality>.npy` file (what `sha256sum` prints)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: tuple[int, ...]
    dtype: str
    sha256: str


class Manifest(BaseModel):
    """The content of `dataset.json`; of its keys only `format` and `task` are needed."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    format: Literal[1]
    kind: TaskKind = Field(alias="task")
    name: str | None = None
    label_range: tuple[float, float] | None = None
    names: tuple[str, ...] = Field((), exclude_if=lambda names: not names)
    threshold: float | None = Field(None, exclude_if=lambda value: value is None)
    source: dict[str, Any] = Field(default_factory=dict)
    shift: dict[str, Any] = Field(default_factory=dict)
    arrays: dict[str, ArrayRecord] | None = None
    nonfinite: dict[str, Any] = Field(default_factory=dict)
    # The sha256 of what is computed of the features and kept beside them, by file.
    derived: dict[str, str] = Field(default_factory=dict)
    # By modality, the sha256 of the whole feature file, in a folder that holds the rows of the
    # development splits alone.
    cut_from: dict[str, str] = Field(default_factory=dict, exclude_if=lambda hashes: not hashes)

    @field_validator("label_range")
    @classmethod
    def _low_is_below_high(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError(f"must be [low, high] with low < high, but got {list(value)}")
        return value

    @model_validator(mode="after")
    def _names_fit_the_task(self) -> Manifest:
        _ = self.task  # Refuses names that do not fit.
        return self

    @property
    def task(self) -> Task:
        """What is learned; classes have no scale, whatever the file says."""
        scale = self.label_range if self.kind == "regression" else None
        return Task(self.kind, scale, self.names, self.threshold)


def task_record(task: Task) -> dict[str, Any]:
    """What `dataset.json` says of a task."""
    return {
        "task": task.kind,
        "label_range": task.label_range,
        "names": task.names,
        "threshold": task.threshold,
    }


def check_modality_name(name: str, where: str) -> str:
    """Return `name` if it can name a modality file, a column and a search-space key.

    Raises:
        InputError: the name is not lower-case letters, digits and underscores.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise InputError(
            f"{where}: a modality name must be a lower-case letter followed by lower-case "
            f"letters, digits or underscores, but got {name!r}. Rename it."
        )
    return name


def parse_manifest(content: dict[str, Any], where: str) -> Manifest:
    """Check the content of `dataset.json`.

    Raises:
        InputError: an unknown key, a missing key or a value of the wrong kind.
    """
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, InputError):  # Of the task as a whole, and it says what came.
            raise InputError(f"{where}: {cause}") from None
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        came = "" if first["type"] == "missing" else f", but got {first['input']!r}"
        raise InputError(f"{where}: {key}: {first['msg']}{came}.") from None


def read_manifest(folder: Path) -> Manifest | None:
    """Read `dataset.json` of a dataset folder; None where a folder made by hand has none.

    Raises:
        InputError: the folder is missing, or the content is not a manifest.
    """
    file = folder / MANIFEST_FILE
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such dataset folder. Make one with `python workflows/prepare.py`."
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: must be readable JSON, but: {error}.") from None
    if not isinstance(content, dict):
        raise InputError(f"{file}: must be a JSON object, but got {type(content).__name__}.")
    return parse_manifest(content, str(file))


def manifest_text(manifest: Manifest) -> str:
    """The text of `dataset.json`."""
    return json.dumps(manifest.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `dataset.json` into a dataset folder."""
    (folder / MANIFEST_FILE).write_text(manifest_text(manifest), encoding="utf-8")
