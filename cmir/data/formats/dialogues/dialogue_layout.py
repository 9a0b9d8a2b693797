"""Features of conversations as a table of utterances: dialogue, session, speaker, class."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from cmir.data.formats.dialogues.dialogue_tuples import (
    ByDialogue,
    Dialogues,
    read_dialogues,
    speaker_of,
)
from cmir.data.formats.inspection.texts import text_of
from cmir.errors import InputError

# Every tenth dialogue of training, where the source has no validation.
VALIDATION_EVERY = 10
# As the published loaders number them.
IEMOCAP = ("happy", "sad", "neutral", "angry", "excited", "frustrated")
MELD = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
_SESSION = re.compile(r"(Ses\d\d)")

Content = dict[str, dict[str, Any]]


def utterances(content: object, where: str) -> tuple[Content, tuple[str, ...], tuple[str, ...]]:
    """A tuple of dicts by dialogue as `{split: {key: values}}`.

    Keys of a split: `id`, `dialogue`, `speaker`, `labels`, `raw_text`, the modalities, and for
    IEMOCAP `session`. A speaker of IEMOCAP, M or F there, is one of the session.

    Args:
        content: of the pickle.
        where: the file named in messages.

    Returns:
        the splits, names of the classes where they are those of IEMOCAP or MELD, and notes.

    Raises:
        InputError: it is no such tuple, or its parts do not fit together.
    """
    found = read_dialogues(content, where)
    splits, notes = _with_validation(found.splits)
    names = _names(found)
    if names:
        notes = (*notes, f"classes 0 to {len(names) - 1} are named {', '.join(names)}")
    return {name: _split(found, keys, where) for name, keys in splits.items()}, names, notes


def _with_validation(
    splits: Mapping[str, list[Any]],
) -> tuple[dict[str, list[Any]], tuple[str, ...]]:
    """The splits with a validation split, and what was done."""
    if "valid" in splits:
        return dict(splits), ()
    train = splits["train"]
    valid = train[VALIDATION_EVERY - 1 :: VALIDATION_EVERY]
    kept = [key for place, key in enumerate(train) if (place + 1) % VALIDATION_EVERY]
    note = f"no validation in the source: every tenth dialogue of training, {len(valid)}, is it"
    return {"train": kept, "valid": valid, "test": splits["test"]}, (note,)


def _names(found: Dialogues) -> tuple[str, ...]:
    labels = [label for values in found.labels.values() for label in values]
    if not all(isinstance(label, int | np.integer) for label in labels):
        return ()
    is_iemocap = any(_session(key) for key in found.labels)
    names = IEMOCAP if is_iemocap else MELD
    return names if set(map(int, labels)) == set(range(len(names))) else ()


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
    if all(_session(key) for key in keys):
        split["session"] = [_session(key) for key, _ in each]
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
    session = _session(key)
    return f"{session}_{speaker_of(value)}" if session else speaker_of(value)


def _label(value: Any) -> Any:
    return int(value) if isinstance(value, int | np.integer) else text_of(value)


def _session(key: Any) -> str:
    match = _SESSION.match(text_of(key))
    return match.group(1) if match else ""
