"""Tuples of dicts by dialogue, as the features of IEMOCAP and MELD are published.

DialogueRNN, MMGCN and what follows them read `(ids, speakers, labels, text, [further text
vectors,] audio, [visual,] sentences, train, test[, valid][, other labels])`, each but the lists of
dialogues a dict from a dialogue to a list of its utterances' values. COSMIC leaves out the ids, and
M3ED has the list of validation before that of the test. The parts are told by their order and by
what they hold, not by their number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmir.data.formats.dialogues.known_corpora import Corpus, corpus_of
from cmir.data.formats.inspection.texts import text_of
from cmir.errors import InputError

ByDialogue = Mapping[Any, Any]

# By how many dicts of vectors there are between labels and sentences.
FEATURES: Mapping[int, tuple[str, ...]] = {
    1: ("text",),
    2: ("text", "audio"),
    3: ("text", "audio", "vision"),
    4: ("text", "text2", "text3", "text4"),
    5: ("text", "text2", "text3", "text4", "audio"),
    6: ("text", "text2", "text3", "text4", "audio", "vision"),
}


@dataclass(frozen=True, eq=False)
class Dialogues:
    """A tuple whose parts are known; labels of another kind behind them are left out.

    Attributes:
        ids: of the utterances of each dialogue; None where there are none.
        speakers: of the utterances: names, or rows with a single 1.
        labels: numbers of classes, or names.
        features: by modality, the vectors of the utterances.
        sentences: of the utterances; None where there are none.
        splits: dialogues by split of the source.
        corpus: the collection, where it is known.
    """

    ids: ByDialogue | None
    speakers: ByDialogue
    labels: ByDialogue
    features: Mapping[str, ByDialogue]
    sentences: ByDialogue | None
    splits: Mapping[str, list[Any]]
    corpus: Corpus


def read_dialogues(content: object, where: str) -> Dialogues:
    """The parts of a tuple.

    Raises:
        InputError: it is no such tuple, or has parts that no published layout has.
    """
    parts = list(content) if isinstance(content, tuple | list) else []
    dicts = [part for part in parts if isinstance(part, Mapping) and part]
    lists = [part for part in parts if _is_keys(part)]
    if len(dicts) < 3 or len(lists) < 2:
        raise InputError(
            f"{where}: must hold a tuple of dicts by dialogue (ids, speakers, labels, vectors, "
            f"sentences) and lists of the dialogues of training and test, but holds "
            f"{_told(content)}."
        )
    ids, dicts = (dicts[0], dicts[1:]) if _has_ids(dicts) else (None, dicts)
    speakers, labels, *rest = dicts
    vectors = [one for one in rest if _holds_vectors(one)]
    sentences = next((one for one in rest if _holds_texts(one)), None)
    names = FEATURES.get(len(vectors))
    if names is None:
        raise InputError(
            f"{where}: must hold 1 to 6 dicts of vectors after the labels, but holds "
            f"{len(vectors)}."
        )
    corpus = corpus_of(speakers)
    order = corpus.lists if len(lists) > 2 else ("train", "test")
    keys = dict(zip(order, map(_listed, lists), strict=False))
    features = dict(zip(names, vectors, strict=True))
    return Dialogues(ids, speakers, labels, features, sentences, keys, corpus)


def first_value(part: ByDialogue) -> Any:
    """The value of the first utterance; None where there is none."""
    for values in part.values():
        if len(values):
            return values[0]
    return None


def speaker_of(value: Any) -> str:
    """A speaker's name; of a row with a single 1 its place.

    Example:
        >>> speaker_of([0, 0, 1]), speaker_of("M")
        ('2', 'M')
    """
    if isinstance(value, list | tuple | np.ndarray) and np.ndim(value) == 1:
        return str(int(np.argmax(value)))
    return text_of(value)


def _has_ids(dicts: Sequence[ByDialogue]) -> bool:
    """Whether the first dict has ids: a second one of speakers follows, before the labels."""
    second = first_value(dicts[1])
    is_label = isinstance(second, int | np.integer) and not isinstance(second, bool)
    return not is_label


def _is_keys(part: object) -> bool:
    return isinstance(part, list | tuple | set | frozenset) and bool(part)


def _listed(keys: Any) -> list[Any]:
    return sorted(keys, key=str) if isinstance(keys, set | frozenset) else list(keys)


def _holds_vectors(part: ByDialogue) -> bool:
    value = first_value(part)
    is_array = isinstance(value, list | tuple | np.ndarray)
    return is_array and np.ndim(value) >= 1 and np.asarray(value).dtype.kind == "f"


def _holds_texts(part: ByDialogue) -> bool:
    return isinstance(first_value(part), str | bytes)


def _told(content: object) -> str:
    kind = type(content).__name__
    if isinstance(content, tuple | list):
        held = ", ".join(type(part).__name__ for part in content[:12])
        return f"a {kind} of {held}"
    return kind
