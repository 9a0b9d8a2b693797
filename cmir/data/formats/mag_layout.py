"""Lists of samples aligned by word, `[((words, visual, acoustic), label, segment), ...]`.

The layout of MAG-BERT (github.com/WasifurRahman/BERT_multimodal_transformer), ITHP and CLUE
(github.com/Teng-Sun/CLUE_model); MISA and CLUE put word numbers first and the words last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cmir.data.formats.inspection.layouts import other_reader
from cmir.data.formats.inspection.texts import text_of
from cmir.errors import InputError


def word_samples(splits: Mapping[str, object], where: str) -> dict[str, dict[str, Any]]:
    """The lists of samples by split as `{split: {key: values}}`, the layout of `assemble`.

    `visual` becomes `vision`, `acoustic` becomes `audio`, one step for each word; the words are
    joined to `raw_text`. Of several labels the first is taken: it is the sentiment. Segments are
    the ids.

    Raises:
        InputError: something is no such sample; the message says which.
    """
    content = {
        text_of(name): [
            _sample(sample, f"{where}: {text_of(name)}: sample {place}")
            for place, sample in enumerate(_checked_list(samples, f"{where}: {text_of(name)}"))
        ]
        for name, samples in splits.items()
    }
    return {
        name: {
            "id": [segment for *_, segment in samples],
            "labels": np.array([label for *_, label, _ in samples]),
            **_texts([words for words, *_ in samples]),
            "vision": [visual for _, visual, *_ in samples],
            "audio": [acoustic for _, _, acoustic, *_ in samples],
        }
        for name, samples in content.items()
    }


def _checked_list(samples: object, where: str) -> Sequence[Any]:
    if isinstance(samples, list | tuple):
        return samples
    if isinstance(samples, np.ndarray) and samples.ndim:
        return list(samples)
    raise InputError(
        f"{where}: must be a list of samples ((words, visual, acoustic), label, segment), but is "
        f"{type(samples).__name__}.{other_reader(samples)}"
    )


def _sample(sample: Any, where: str) -> tuple[list[str] | None, Any, Any, float, str]:
    try:
        content, label, segment = sample
        words, visual, acoustic, *more = content
    except (TypeError, ValueError):
        raise InputError(
            f"{where}: must be ((words, visual, acoustic), label, segment), but is "
            f"{_outline(sample)}."
        ) from None
    try:
        sentiment = float(np.asarray(label, np.float64).reshape(-1)[0])
    except (TypeError, ValueError, IndexError):
        raise InputError(f"{where}: label must be a number, but is {_outline(label)}.") from None
    steps = [_steps(visual, f"{where}: visual"), _steps(acoustic, f"{where}: acoustic")]
    counts = {len(array) for array in steps if array is not None}
    if len(counts) > 1:
        raise InputError(
            f"{where}: visual and acoustic must have one row for each word, but have "
            f"{' and '.join(str(len(array)) for array in steps)}. Cut them to one length or leave "
            "it out."
        )
    return _words(more[0] if more else words), *steps, sentiment, text_of(segment)


def _steps(value: Any, where: str) -> Any:
    """An array `(words, features)`; None where there is nothing."""
    try:
        array = np.asarray(value)
    except ValueError:  # Steps of several lengths.
        array = np.array(["ragged"])
    if value is None or not array.size:
        return None
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(f"{where} must be an array (words, features), but is {_outline(value)}.")
    return array


def _words(words: Any) -> list[str] | None:
    if isinstance(words, str | bytes):
        return [text_of(words)]
    found = list(words) if isinstance(words, list | tuple | np.ndarray) else []
    # Numbers are places in a vocabulary that lies elsewhere.
    if not all(isinstance(word, str | bytes) for word in found):
        return None
    return [text_of(word) for word in found]


def _texts(words: list[list[str] | None]) -> dict[str, list[str]]:
    known = [own for own in words if own is not None]
    return {"raw_text": [" ".join(own) for own in known]} if len(known) == len(words) else {}


def _outline(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"an array {value.dtype} {value.shape}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{type(value).__name__} {str(value)[:40]!r}"
