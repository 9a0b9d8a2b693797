"""UR-FUNNY and MUStARD: context and punchline joined along time, labels 0 and 1.

Three published layouts: the pickles of HKT (github.com/matalvepu/HKT), which hold the
humour-centric features; the features of UR-FUNNY (github.com/ROC-HCI/UR-FUNNY), one pickle for
each kind; and the pickles of MultiBench (github.com/pliang279/MultiBench).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.data.formats.inspection.odd_samples import tidy_list
from cmir.data.formats.inspection.texts import text_of
from cmir.data.formats.source import Made, Ragged
from cmir.data.row_blocks import FloatArray
from cmir.errors import InputError

HUMOUR = "humour"
# What HKT's own loader keeps of the sizes it finds: the face's action units and shape, and the
# acoustic features that are not copies of others. These are the sizes 36 and 60 of the paper.
KEPT: Mapping[str, tuple[int, slice]] = {
    "vision": (91, slice(55, 91)),
    "audio": (81, slice(0, 60)),
}

Content = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Joke:
    """One sample: streams `(words, features)` of context and punchline, by modality."""

    id: str
    label: float
    text: str
    streams: Mapping[str, Callable[[], FloatArray]]


def joined_jokes(splits: Mapping[str, Sequence[Joke]], steps: int | None, where: str) -> Content:
    """Samples by split as `{split: {key: values}}`, the layout of `assemble`.

    Args:
        splits: samples by split, all with the same streams.
        steps: longest sequence; of a longer one the beginning of the context is cut off.
        where: the file named in messages.

    Raises:
        InputError: a stream has different numbers of features.
    """
    return {
        name: {
            "id": [joke.id for joke in jokes],
            "labels": np.array([joke.label for joke in jokes]),
            **({"raw_text": [joke.text for joke in jokes]} if any(j.text for j in jokes) else {}),
            **_rows(jokes, steps, f"{where}: {name}"),
        }
        for name, jokes in splits.items()
    }


def _rows(jokes: Sequence[Joke], steps: int | None, where: str) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for key in jokes[0].streams if jokes else ():
        made = Made(len(jokes), lambda place, key=key: jokes[place].streams[key]())  # type: ignore[misc]
        tidy = tidy_list(made, [joke.id for joke in jokes], f"{where}: {key}")
        found = Ragged(made) if tidy is None else Ragged(tidy.sequences, absent=tidy.absent)
        if steps is not None and steps < found.shape[1]:
            found = found.padded_to(steps)
        rows |= {key: found, f"{key}_lengths": found.lengths}
    return rows


def hkt_jokes(samples: Any, where: str) -> list[Joke]:
    """Samples `((words, visual, acoustic, hcf), (the same of the context), id, label)` of HKT.

    Raises:
        InputError: something is no such sample; the message says which.
    """
    if not isinstance(samples, list | tuple | np.ndarray):
        raise InputError(f"{where}: must be a list of samples, but is {type(samples).__name__}.")
    return [_hkt_joke(sample, f"{where}: sample {i}") for i, sample in enumerate(samples)]


def _hkt_joke(sample: Any, where: str) -> Joke:
    try:
        (words, *punchline), (context_words, *context), name, label = sample
        if len(punchline) != 3 or len(context) != 3:
            raise ValueError
    except (TypeError, ValueError):
        raise InputError(
            f"{where}: must be ((words, visual, acoustic, hcf), (the same of the context), id, "
            "label), as in the files of HKT, but is not. For another layout write an .npz file."
        ) from None
    streams = {
        key: joining([before, after], f"{where}: {key}", KEPT.get(key))
        for key, before, after in zip(("vision", "audio", HUMOUR), context, punchline, strict=True)
    }
    return Joke(text_of(name), binary_label(label, where), joke_text(context_words, words), streams)


def joining(
    parts: Sequence[Any], where: str, kept: tuple[int, slice] | None = None
) -> Callable[[], FloatArray]:
    """A function that joins parts `(words, features)` along time.

    Args:
        parts: arrays or lists; an empty one is left out.
        where: the file and the sample named in messages.
        kept: number of features and which of them are kept if there are so many.
    """

    def joined() -> FloatArray:
        found = [_words_by_features(part, where) for part in parts]
        filled = [part for part in found if len(part)]
        if not filled:
            return np.empty((0, 0), np.float32)
        if len({part.shape[1] for part in filled}) > 1:
            raise InputError(
                f"{where}: context and punchline must have the same number of features, but have "
                f"{' and '.join(str(part.shape[1]) for part in filled)}."
            )
        whole = np.concatenate(filled).astype(np.float32)
        return whole[:, kept[1]] if kept and kept[0] == whole.shape[1] else whole

    return joined


def _words_by_features(part: Any, where: str) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] | None = np.asarray(part, np.float32)
    except (TypeError, ValueError):
        array = None
    if array is None or (array.size and array.ndim != 2):
        raise InputError(
            f"{where}: must be an array (words, features), but is not. Leave the sample out."
        )
    return array if array.size else np.empty((0, 0), np.float32)


def joke_text(*parts: Any) -> str:
    """Texts, lists of words and lists of sentences, in their order, as one text."""
    return " ".join(text for part in parts for text in _texts(part))


def _texts(part: Any) -> list[str]:
    if isinstance(part, str | bytes):
        return [text_of(part)]
    if isinstance(part, list | tuple | np.ndarray):
        return [text for inner in part for text in _texts(inner)]
    return [str(part)]


def binary_label(label: Any, where: str) -> float:
    """1 for humour or sarcasm, else 0; MultiBench also writes -1 for 0.

    Raises:
        InputError: the label is another number, or none.
    """
    try:
        value = float(np.asarray(label, np.float64).reshape(-1)[0])
    except (TypeError, ValueError, IndexError):
        value = np.nan
    if value not in (-1.0, 0.0, 1.0):
        raise InputError(f"{where}: label must be 0 or 1, or -1 for 0, but is {label!r}.")
    return max(value, 0.0)
