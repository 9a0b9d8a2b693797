"""Which sample lies in which split, as a file that makes the same splits again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict, ValidationError

from cmir.data.manifest import SPLITS
from cmir.errors import InputError

INDEX_FILE = "splits.json"


class SplitIndex(BaseModel):
    """Ids by split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    splits: dict[str, list[str]]


def write_index(file: Path, samples: pl.DataFrame) -> None:
    """Writes the ids of each split, in the order of the samples."""
    splits = {
        name: samples.filter(pl.col("split") == name)["id"].to_list()
        for name in SPLITS
        if name in samples["split"]
    }
    file.write_text(SplitIndex(splits=splits).model_dump_json(indent=1) + "\n", encoding="utf-8")


def indexed(samples: pl.DataFrame, file: Path) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Puts each sample where the index says; samples that it does not name get a null split.

    Args:
        samples: columns `id` and `split`.
        file: written by `write_index`.

    Returns:
        The samples with new splits, and the record for `dataset.json`.

    Raises:
        InputError: no such file, or it names splits or ids that there are not.
    """
    index = _read(file)
    place = {sample: name for name, ids in index.splits.items() for sample in ids}
    unknown = sorted(set(index.splits) - set(SPLITS))
    if unknown or len(place) < sum(map(len, index.splits.values())):
        fault = f"{', '.join(unknown)} is none" if unknown else "some id stands in two"
        raise InputError(
            f"{file}: ids must stand in one of the splits {', '.join(SPLITS)}, but {fault}."
        )
    missing = sorted(set(place) - set(samples["id"].to_list()))
    if missing:
        raise InputError(
            f"{file}: every id must be in the source, but {len(missing)} are not: "
            f"{', '.join(missing[:5])}. The index belongs to another data set."
        )
    split = samples["id"].replace_strict(place, default=None, return_dtype=pl.String)
    moved = samples.with_columns(split=split)
    left_out = moved["split"].null_count()
    return moved, {"scheme": "index", "file": file.name, "left_out": left_out}


def _read(file: Path) -> SplitIndex:
    try:
        return SplitIndex.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"--shift index:{file}: there is no such file.") from None
    except (OSError, ValueError, ValidationError):
        raise InputError(
            f'{file}: must be an index of splits, {{"splits": {{"train": [ids], ...}}}}, such as '
            f"the {INDEX_FILE} of a dataset folder, but is not."
        ) from None
