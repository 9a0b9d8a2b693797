"""Which published conversations a tuple holds: told from its speakers and dialogues, not guessed.

Seven numbered classes are MELD's, M3ED's, EmoryNLP's or DailyDialog's, each in an order of its own:
their number tells nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmir.data.formats.inspection.texts import text_of

SESSION = re.compile(r"(Ses\d\d)")
SERIES = re.compile(r"(.+)_\d+")
# Dialogues 0 to 1038 are for training, 1039 to 1152 for validation, and the rest for the test.
MELD_VALIDATION = range(1039, 1153)
MELD_SPEAKERS = 9


@dataclass(frozen=True)
class Corpus:
    """What the public loaders of a collection know of it.

    Attributes:
        classes: in the order of their numbers.
        lists: what its lists of dialogues are, in their order; the last may be missing.
    """

    classes: tuple[str, ...] = ()
    lists: tuple[str, str, str] = ("train", "test", "valid")


IEMOCAP = Corpus(("happy", "sad", "neutral", "angry", "excited", "frustrated"))
MELD = Corpus(("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger"))
M3ED = Corpus(
    ("happy", "neutral", "sad", "disgust", "anger", "fear", "surprise"),
    ("train", "valid", "test"),
)
UNKNOWN = Corpus()


def corpus_of(speakers: Mapping[Any, Any]) -> Corpus:
    """The collection that has such speakers by dialogue; `UNKNOWN` where none is known.

    IEMOCAP names its dialogues after sessions; MELD numbers them and has a row with a single 1
    among 9 for each utterance; M3ED has speakers A and B in dialogues named after series.

    Example:
        >>> corpus_of({"Ses01F_impro01": ["M", "F"]}) is IEMOCAP
        True
        >>> corpus_of({"anjia_1": ["A", "B"]}) is M3ED, corpus_of({0: ["0", "1"]}) is UNKNOWN
        (True, True)
    """
    keys = list(speakers)
    values = [value for own in speakers.values() for value in own]
    if all(SESSION.match(text_of(key)) for key in keys):
        return IEMOCAP
    if all(_is_number(key) for key in keys) and all(_length(v) == MELD_SPEAKERS for v in values):
        return MELD
    if all(SERIES.fullmatch(text_of(key)) for key in keys) and _are(values, ("A", "B")):
        return M3ED
    return UNKNOWN


def _length(value: Any) -> int:
    """How many numbers a row has; 0 of what is none."""
    return len(value) if isinstance(value, list | tuple | np.ndarray) else 0


def _is_number(key: Any) -> bool:
    return isinstance(key, int | np.integer)


def _are(values: Sequence[Any], known: Sequence[str]) -> bool:
    return all(isinstance(v, str | bytes) and text_of(v) in known for v in values)
