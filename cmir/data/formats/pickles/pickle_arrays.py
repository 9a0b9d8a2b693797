"""Arrays over the payloads of a pickle, put where the pickle has placeholders for them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.data.formats.pickles.pickle_payloads import Payload


def laid_over(
    payload: Payload, dtype: np.dtype[Any], shape: tuple[int, ...], order: str = "C"
) -> npt.NDArray[Any]:
    """The array of this type and shape that a payload holds; its values stay in the file.

    Args:
        payload: the bytes of the array, or text that stands for them in Latin-1.
        dtype: of numbers or text.
        shape: `(-1,)` for as many values as there are.
        order: "C" or "F".

    Raises:
        ValueError: the payload has another size, or the array is one of Python objects.
    """
    if dtype.hasobject or not dtype.itemsize:
        raise ValueError(f"an array of {dtype} cannot be a string of bytes")
    buffer, start = payload.buffer()
    size = payload.size if buffer is payload.content else len(buffer)
    count, rest = divmod(size, dtype.itemsize)
    if shape == (-1,):
        shape = (count,)
    if rest or math.prod(shape) != count or min(shape, default=0) < 0:
        raise ValueError(f"{size} bytes are no {dtype} array of shape {shape}")
    array: npt.NDArray[Any] = np.ndarray(
        shape, dtype, buffer, start, order="F" if order == "F" else "C"
    )
    array.flags.writeable = False
    return array


class ArrayToBe(np.ndarray):
    """What a pickle fills where it builds an array: `final` is the array once it has its state.

    numpy's own state setter takes bytes alone, and would copy a mapped file into memory.
    """

    final: npt.NDArray[Any]

    def __setstate__(self, state: Any, /) -> None:
        """Take numpy's state: version, shape, dtype, whether Fortran order, content."""
        shape, dtype, is_fortran, content = state[-4:]
        if isinstance(content, Payload):
            self.final = laid_over(content, dtype, tuple(shape), "F" if is_fortran else "C")
            return
        plain: npt.NDArray[Any] = np.empty(0, np.int8)
        plain.__setstate__(state)
        self.final = plain


class Settling:
    """Replaces placeholders in a tree of containers: `settled(content)` is the tree to use.

    Args:
        decode: whether text is to be read again as UTF-8 where that is possible. It then stems
            from byte strings of Python 2, which came as Latin-1.
    """

    def __init__(self, *, decode: bool = False) -> None:
        self._decode = decode
        self._done: dict[int, Any] = {}
        self._kept_alive: list[object] = []

    def settled(self, value: Any) -> Any:
        """The value without placeholders; lists and dicts are changed in place."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Payload):
            found = value.value()
            return self._text(found) if isinstance(found, str) else found
        if isinstance(value, list | tuple | dict | set | frozenset | np.ndarray):
            return self._container(value)
        return value

    def _text(self, text: str) -> str:
        if not self._decode or text.isascii():
            return text
        try:
            return text.encode("latin1").decode("utf-8")
        except UnicodeError:
            return text

    def _container(self, value: Any) -> Any:
        if id(value) in self._done:
            return self._done[id(value)]
        self._kept_alive.append(value)
        # First itself: a list may hold itself.
        self._done[id(value)] = value
        self._done[id(value)] = settled = self._inside(value)
        return settled

    def _inside(self, value: Any) -> Any:
        if isinstance(value, ArrayToBe):
            value = value.final
        if isinstance(value, np.ndarray):
            return self._array(value)
        if isinstance(value, list):
            value[:] = [self.settled(item) for item in value]
            return value
        if isinstance(value, dict):
            items = [(self.settled(key), self.settled(item)) for key, item in value.items()]
            value.clear()
            value.update(items)
            return value
        return type(value)(self.settled(item) for item in value)

    def _array(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if array.dtype.hasobject:
            for place in np.ndindex(array.shape):
                array[place] = self.settled(array[place])
        return array
