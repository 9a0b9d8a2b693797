"""MIntRec: a table of clips for each split, and features by clip in pickles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from cmir.data.formats.inspection.texts import text_of
from cmir.data.formats.pickles import safe_pickle
from cmir.data.formats.source import Made, Ragged
from cmir.errors import InputError

SPLITS = ("train", "dev", "test")
FEATURES = {"text": "text", "video": "vision", "audio": "audio"}

Content = dict[str, dict[str, Any]]


def clips(folder: Path) -> Content:
    """The folder as `{split: {key: values}}`.

    `train.tsv`, `dev.tsv` and `test.tsv` have the columns season, episode, clip, text and label, in
    this order, or under these names; anywhere below the folder lie pickles
    `<text|video|audio>_feats.pkl`, dicts from `season_episode_clip` to arrays `(steps, 1, D)` or
    `(steps, D)`. The series, S04, becomes the environment `source`, the episode `video`.

    Raises:
        InputError: a file is missing, or a clip has no features.
    """
    features = _features(folder)
    found: Content = {}
    for name in SPLITS:
        table = _table(folder / f"{name}.tsv")
        ids = table["id"].to_list()
        found[name] = {
            "id": ids,
            "source": table["season"].to_list(),
            "video": table["episode"].to_list(),
            "raw_text": table["text"].to_list(),
            "labels": table["label"].to_list(),
            **{key: _sequences(own, ids, f"{folder}: {key}") for key, own in features.items()},
        }
    return found


def _table(file: Path) -> pl.DataFrame:
    if not file.is_file():
        raise InputError(f"{file}: must be there, as in the folder of MIntRec, but is not.")
    try:
        table = pl.read_csv(file, separator="\t", infer_schema=False, quote_char=None)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"{file}: must be a table with tabs, but: {error}.") from None
    wanted = ["season", "episode", "clip", "text", "label"]
    if table.width < len(wanted):
        raise InputError(
            f"{file}: must have the columns {', '.join(wanted)}, but has only "
            f"{', '.join(table.columns)}."
        )
    if not set(wanted) <= set(table.columns):
        table = table.select(pl.nth(place).alias(name) for place, name in enumerate(wanted))
    key = pl.concat_str("season", "episode", "clip", separator="_")
    episode = pl.concat_str("season", "episode", separator="_")
    return table.with_columns(id=key, episode=episode)


def _features(folder: Path) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for word, name in FEATURES.items():
        files = sorted(folder.rglob(f"{word}_feats.pkl"))
        if len(files) > 1:
            raise InputError(
                f"{folder}: there must be one {word}_feats.pkl, but there are {len(files)}: "
                f"{', '.join(str(file.relative_to(folder)) for file in files)}."
            )
        for file in files:
            content = safe_pickle.load(file)
            if not isinstance(content, Mapping):
                raise InputError(
                    f"{file}: must hold a dict of arrays by clip, but holds "
                    f"{type(content).__name__}."
                )
            found[name] = {text_of(key): value for key, value in content.items()}
    if not found:
        raise InputError(
            f"{folder}: there must be video_feats.pkl or audio_feats.pkl below it, but there is "
            "none."
        )
    return found


def _sequences(features: Mapping[str, Any], ids: list[str], where: str) -> Ragged:
    missing = [name for name in ids if name not in features]
    if missing:
        raise InputError(
            f"{where}: must hold every clip, but lacks {len(missing)}: {', '.join(missing[:5])}."
        )

    def make(place: int) -> np.ndarray:
        steps = np.asarray(features[ids[place]], np.float32)
        return steps.reshape(len(steps), -1)

    return Ragged(Made(len(ids), make))
