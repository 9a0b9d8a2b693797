"""Which of the layouts of UR-FUNNY and MUStARD a source has, and the two without tuples."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.data.formats.funny_layout import (
    HUMOUR,
    Content,
    Joke,
    binary_label,
    hkt_jokes,
    joined_jokes,
    joining,
    joke_text,
)
from cmir.data.formats.inspection.layouts import other_reader
from cmir.data.formats.inspection.texts import text_of
from cmir.data.formats.pickles import safe_pickle
from cmir.data.formats.source import Made, Ragged
from cmir.data.row_blocks import IntArray, scanned
from cmir.errors import InputError

FOLDS, LABELS, VECTORS = "data_folds.pkl", "humor_label_sdk.pkl", "word_embedding_list.pkl"
LANGUAGE = ("language_sdk.pkl", "word_embedding_indexes_sdk.pkl")
STREAMS = {"audio": "covarep_features_sdk.pkl", "vision": "openface_features_sdk.pkl"}


def read_funny(path: Path, steps: int | None) -> tuple[Content, list[str]]:
    """The samples of one of the three layouts as `{split: {key: values}}`, and notes on them.

    Raises:
        InputError: the source has none of the layouts.
    """
    if path.is_dir():
        return _features_of_ur_funny(path, steps), []
    content = safe_pickle.load(path)
    where = str(path)
    if not isinstance(content, Mapping) or not content:
        raise InputError(
            f"{where}: must hold a dict of splits, train, dev and test, but holds "
            f"{type(content).__name__}. For another layout write an .npz file."
        )
    if all(isinstance(split, Mapping) for split in content.values()):
        return _multibench(content, steps, where)
    jokes = {
        text_of(name): hkt_jokes(samples, f"{where}: {text_of(name)}")
        for name, samples in content.items()
    }
    notes = [
        f"{HUMOUR}: the humour-centric features, to be fused into language",
        "vision and audio: of 91 and 81 features those that HKT keeps, 55 to 90 and 0 to 59",
        "no language vectors in the source: the words are in raw_text",
    ]
    return joined_jokes(jokes, steps, where), notes


def _features_of_ur_funny(folder: Path, steps: int | None) -> Content:
    """Features of UR-FUNNY by word, one pickle for each kind, split by `data_folds.pkl`."""
    language = next((folder / name for name in LANGUAGE if (folder / name).is_file()), None)
    files = [folder / name for name in (FOLDS, LABELS, *STREAMS.values())]
    missing = [file.name for file in files if not file.is_file()]
    if missing or language is None:
        raise InputError(
            f"{folder}: the features of UR-FUNNY must be {FOLDS}, {LANGUAGE[0]}, {VECTORS}, "
            f"{', '.join(STREAMS.values())} and {LABELS}, but there is no "
            f"{', '.join([*missing, *([] if language else [LANGUAGE[0]])])}."
        )
    folds, labels = _table(folder / FOLDS), _table(folder / LABELS)
    words = _table(language)
    vectors = safe_pickle.load(folder / VECTORS) if (folder / VECTORS).is_file() else None
    table = None if vectors is None else _numbers(vectors, np.float32, str(folder / VECTORS))
    streams = {key: _table(folder / name) for key, name in STREAMS.items()}
    jokes = {
        text_of(split): [
            _joke(name, words, labels, streams, table, f"{folder}: {name}") for name in names
        ]
        for split, names in folds.items()
    }
    return joined_jokes(jokes, steps, str(folder))


def _numbers(value: Any, dtype: type[np.number[Any]], where: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(value, dtype)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{where}: must be an array of numbers, but is {type(value).__name__} that makes none."
        ) from None


def _table(file: Path) -> Mapping[Any, Any]:
    content = safe_pickle.load(file)
    if not isinstance(content, Mapping):
        raise InputError(f"{file}: must hold a dict by id, but holds {type(content).__name__}.")
    return content


def _joke(
    name: Any,
    words: Mapping[Any, Any],
    labels: Mapping[Any, Any],
    streams: Mapping[str, Mapping[Any, Any]],
    table: Any,
    where: str,
) -> Joke:
    def of(content: Mapping[Any, Any], key: Any) -> Any:
        try:
            return content[key]
        except (KeyError, TypeError):
            raise InputError(
                f"{where}: must have {key!r}, but has not. Complete it, or remove the sample from "
                f"{FOLDS}."
            ) from None

    own = of(words, name)
    text = joke_text(own.get("context_sentences", ()), own.get("punchline_sentence", ()))
    joined = {
        key: joining(
            [
                *of(of(content, name), "context_features"),
                of(of(content, name), "punchline_features"),
            ],
            f"{where}: {key}",
        )
        for key, content in streams.items()
    }
    if table is not None:
        places = [
            *of(own, "context_embedding_indexes"),
            of(own, "punchline_embedding_indexes"),
        ]
        where_numbers = f"{where}: word numbers"
        numbers = np.concatenate(
            [_numbers(part, np.int64, where_numbers).reshape(-1) for part in places]
        )
        if numbers.size and not (numbers.min() >= 0 and numbers.max() < len(table)):
            raise InputError(
                f"{where}: word numbers must be below {len(table)}, the words of {VECTORS}, but "
                f"go from {numbers.min()} to {numbers.max()}. The files do not belong together."
            )
        joined["text"] = lambda: table[numbers]
    return Joke(text_of(name), binary_label(of(labels, name), where), text, joined)


def _multibench(
    content: Mapping[Any, Any], steps: int | None, where: str
) -> tuple[Content, list[str]]:
    """MultiBench's arrays begin with zeros where a sample is short: the samples move to the front.

    As in its own loader the first step with language is where every modality begins.
    """
    found: Content = {}
    for name, split in content.items():
        keys = {text_of(key): value for key, value in split.items()}
        arrays = {
            key: value
            for key, value in keys.items()
            if isinstance(value, np.ndarray) and value.ndim == 3 and value.dtype.kind == "f"
        }
        place = f"{where}: {text_of(name)}"
        if "text" not in arrays or "labels" not in keys:
            raise InputError(
                f"{place}: must have labels and text (N, T, D), but has only {', '.join(keys)}."
                f"{other_reader(split)}"
            )
        starts = _first_steps(arrays["text"])
        labels = _labels_of(keys["labels"], len(starts), place)
        rows: dict[str, Any] = {"labels": [binary_label(label, place) for label in labels]}
        for key, array in arrays.items():
            if len(array) != len(starts):
                raise InputError(
                    f"{place}: {key} must have {len(starts)} rows, as text has, but has "
                    f"{len(array)}."
                )
            begins = starts if array.shape[1] == arrays["text"].shape[1] else _first_steps(array)
            moved = Ragged(_from(array, begins))
            moved = moved.padded_to(min(steps or moved.shape[1], moved.shape[1]))
            rows |= {key: moved, f"{key}_lengths": moved.lengths}
        ids = [f"{text_of(name)}{index}" for index in range(len(starts))]
        found[text_of(name)] = {"id": ids} | keys | rows
    return found, ["sequences began with padding: they were moved to the front"]


def _labels_of(value: Any, number: int, where: str) -> list[Any]:
    try:
        labels = list(np.asarray(value))
    except (TypeError, ValueError):
        labels = []
    if len(labels) != number:
        raise InputError(
            f"{where}: labels must have {number} rows, as text has, but has {len(labels)}."
        )
    return labels


def _from(array: Any, starts: IntArray) -> Made:
    return Made(len(array), lambda place: array[place, starts[place] :])


def _first_steps(array: Any) -> IntArray:
    """The first step of each sample that is not all 0, `(N,)`; T - 1 where there is none."""
    starts = np.full(len(array), array.shape[1] - 1, np.int64)
    for rows, block in scanned(array):
        # NaN is something as well.
        filled = (block != 0).any(axis=2)
        starts[rows] = np.where(filled.any(axis=1), filled.argmax(axis=1), starts[rows])
    return starts
