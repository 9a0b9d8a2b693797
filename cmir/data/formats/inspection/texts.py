"""Texts of a source as text: bytes of any encoding, parts, and halves of characters."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from cmir.errors import InputError

_SURROGATE = re.compile("[\ud800-\udfff]")


def text_of(value: object, glue: str = " ") -> str:
    """A value as text: bytes are UTF-8, else Latin-1; parts are joined by the glue.

    >>> text_of(b"caf\\xe9"), text_of(("video", 3), "$_$")
    ('café', 'video$_$3')
    """
    if isinstance(value, bytes):
        return _decoded(value)
    if isinstance(value, list | tuple | np.ndarray):
        return glue.join(text_of(part, glue) for part in value)
    return whole_characters(str(value))


def whole_characters(text: str) -> str:
    r"""The text without lone surrogates, which no file of ours can hold.

    Bytes that Python kept as such (`errors="surrogateescape"`) are decoded, pairs are joined, and
    what is left becomes the replacement character.

    >>> whole_characters("caf\udce9"), whole_characters("\ud83d\ude00")
    ('café', '😀')
    """
    if not _SURROGATE.search(text):
        return text
    try:
        return _decoded(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def texts(values: object, glue: str, where: str) -> list[str | None]:
    """One text for each sample, None where it is missing.

    Raises:
        InputError: the values are no list.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
        raise InputError(f"{where}: must be a list of texts, but is {type(values).__name__}.")
    if isinstance(values, np.ndarray) and values.ndim == 0:
        raise InputError(f"{where}: must be a list of texts, but is a single value.")
    return [None if _is_missing(value) else text_of(value, glue) for value in values]


def _is_missing(value: object) -> bool:
    # What pandas puts where a column of texts has none.
    return value is None or (isinstance(value, float) and np.isnan(value))


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")
