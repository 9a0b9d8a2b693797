"""Features of conversations as a table of utterances: dialogue, session, speaker, class."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from cmir.data.formats.dialogues.dialogue_tuples import (
    ByDialogue,
    Dialogues,
    read_dialogues,
    speaker_of,
)
from cmir.data.formats.dialogues.known_corpora import (
    IEMOCAP,
    M3ED,
    MELD,
    MELD_VALIDATION,
    SERIES,
    SESSION,
)
from cmir.data.formats.inspection.texts import text_of
from cmir.errors import InputError

# Every tenth dialogue of training, where the source has no validation.
VALIDATION_EVERY = 10

Content = dict[str, dict[str, Any]]


def utterances(content: object, where: str) -> tuple[Content, tuple[str, ...], tuple[str, ...]]:
    """A tuple of dicts by dialogue as `{split: {key: values}}`.

    Keys of a split: `id`, `dialogue`, `speaker`, `labels`, `raw_text`, the modalities, for IEMOCAP
    `session`, and for M3ED `video`, the series. A role, such as M and F of IEMOCAP or A and B of
    M3ED, is one speaker in each session or dialogue.

    Args:
        content: of the pickle.
        where: the file named in messages.

    Returns:
        the splits, names of the classes of IEMOCAP, MELD and M3ED, and notes.

    Raises:
        InputError: it is no such tuple, or its parts do not fit together.
    """
    found = read_dialogues(content, where)
    splits, notes = _with_validation(found)
    names = _names(found)
    told = f"are named {', '.join(names)}" if names else "keep their numbers: name them by --names"
    if _has_numbers(found):
        notes = (*notes, f"classes {told}")
    return {name: _split(found, keys, where) for name, keys in splits.items()}, names, notes


def _with_validation(found: Dialogues) -> tuple[dict[str, list[Any]], tuple[str, ...]]:
    """The splits with a validation split, and what was done."""
    splits = dict(found.splits)
    if "valid" in splits:
        return splits, ()
    train = splits["train"]
    valid, what = (
        train[VALIDATION_EVERY - 1 :: VALIDATION_EVERY],
        "every tenth dialogue of training",
    )
    if found.corpus is MELD and set(MELD_VALIDATION) & set(train):
        valid, what = [key for key in train if key in MELD_VALIDATION], "MELD's own dialogues"
    kept = [key for key in train if key not in set(valid)]
    note = f"no list of validation in the source: {what}, {len(valid)}, is it"
    return {"train": kept, "valid": valid, "test": splits["test"]}, (note,)


def _has_numbers(found: Dialogues) -> bool:
    labels = (label for values in found.labels.values() for label in values)
    return all(isinstance(label, int | np.integer) for label in labels)


def _names(found: Dialogues) -> tuple[str, ...]:
    """Of the classes, where the collection is known and all of its classes occur."""
    if not _has_numbers(found):
        return ()
    numbers = {int(label) for values in found.labels.values() for label in values}
    names = found.corpus.classes
    return names if numbers == set(range(len(names))) else ()


def _split(found: Dialogues, keys: list[Any], where: str) -> dict[str, Any]:
    for key in keys:
        _check(found, key, where)
    counts = {key: len(found.labels[key]) for key in keys}
    each = [(key, number) for key in keys for number in range(counts[key])]
    split: dict[str, Any] = {
        "id": [f"{text_of(key)}_{_own(found, key, number)}" for key, number in each],
        "dialogue": [text_of(key) for key, _ in each],
        "speaker": [_speaker(found.speakers[key][number], key) for key, number in each],
        "labels": [_label(found.labels[key][number]) for key, number in each],
    }
    if found.corpus is IEMOCAP:
        split["session"] = [_part(SESSION, key) for key, _ in each]
    if found.corpus is M3ED:
        split["video"] = [_part(SERIES, key) for key, _ in each]
    if found.sentences is not None:
        split["raw_text"] = [text_of(found.sentences[key][number]) for key, number in each]
    for name, vectors in found.features.items():
        split[name] = _stacked(vectors, keys, f"{where}: {name}")
    return split


def _check(found: Dialogues, key: Any, where: str) -> None:
    wanted = len(found.labels[key]) if key in found.labels else -1
    parts = {"labels": found.labels, "speakers": found.speakers, **found.features}
    parts |= {} if found.sentences is None else {"sentences": found.sentences}
    for name, part in parts.items():
        count = len(part[key]) if key in part else 0
        if key not in part or count != wanted:
            raise InputError(
                f"{where}: {name} of dialogue {text_of(key)} must hold one value for each of its "
                f"{max(wanted, 0)} labels, but hold {count}."
            )


def _stacked(vectors: ByDialogue, keys: list[Any], where: str) -> np.ndarray:
    rows = [np.asarray(vectors[key], np.float32) for key in keys if len(vectors[key])]
    widths = {row.shape[1:] for row in rows}
    if len(widths) != 1 or len(next(iter(widths))) != 1:
        raise InputError(
            f"{where}: must be one vector for each utterance, of one size, but has the shapes "
            f"{', '.join(map(str, sorted(widths, key=str)))}."
        )
    return np.concatenate(rows)


def _own(found: Dialogues, key: Any, number: int) -> str:
    return str(number) if found.ids is None else text_of(found.ids[key][number])


def _speaker(value: Any, key: Any) -> str:
    """A speaker's name; a role of one letter is one of its session, or else of its dialogue."""
    name, is_role = speaker_of(value), isinstance(value, str | bytes)
    return f"{_part(SESSION, key) or text_of(key)}_{name}" if is_role and len(name) == 1 else name


def _label(value: Any) -> Any:
    return int(value) if isinstance(value, int | np.integer) else text_of(value)


def _part(pattern: re.Pattern[str], key: Any) -> str:
    match = pattern.match(text_of(key))
    return match.group(1) if match else ""
