"""Torch tensors in a pickle, as MMSA-FET writes them: read as arrays, without torch.

A pickled tensor is a call of `torch._utils._rebuild_tensor_v2` on a storage, and the storage a
call of `torch.storage._load_from_bytes` on what `torch.save` wrote in its older form: five small
pickles, then for each storage the number of its values and their bytes. The small pickles are
read by an unpickler that knows the names of storages alone; the values stay where they are.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
# The five small pickles are a few hundred bytes.
_HEADER = 1 << 16
_BFLOAT16 = "bfloat16"
_TYPES: Mapping[str, str] = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


@dataclass(frozen=True, eq=False)
class Storage:
    """The values of tensors as one array without shape; `values` of bfloat16 are float32."""

    values: npt.NDArray[Any]

    def __setstate__(self, state: object) -> None:
        """Refused: a file could put in another array, and views beyond its end."""
        raise pickle.UnpicklingError("a storage of a tensor must not be given a state")


def load_storage(raw: bytes | memoryview) -> Storage:
    """The storage that torch's older format holds; only a plain one of numbers on the CPU.

    Raises:
        ValueError: the bytes hold something else.
        pickle.UnpicklingError: they name something else than a storage.
    """
    view = memoryview(raw)
    stream = io.BytesIO(bytes(view[:_HEADER]))
    magic, version, _, typed, keys = (_HeaderUnpickler(stream).load() for _ in range(5))
    is_plain = isinstance(typed, _Typed) and typed.dtype in _TYPES.values()
    if magic != MAGIC or version != VERSION or not is_plain:
        raise ValueError("a tensor must hold one plain storage of torch.save")
    if keys != [typed.key]:
        raise ValueError("a tensor must hold one storage")
    start = stream.tell()
    size = np.dtype("<u2" if typed.dtype == _BFLOAT16 else typed.dtype).itemsize
    count = int.from_bytes(view[start : start + 8], "little", signed=True)
    stop = start + 8 + count * size
    if count < 0 or stop > len(view):
        raise ValueError(f"a tensor says that it has {count} values, but its bytes end before")
    return Storage(_numbers(view[start + 8 : stop], typed.dtype))


def _numbers(raw: memoryview, dtype: str) -> npt.NDArray[Any]:
    if dtype != _BFLOAT16:
        return np.frombuffer(raw, dtype)
    # The upper half of a float32.
    return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)


def rebuild_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, *_: object
) -> npt.NDArray[Any]:
    """The array that a tensor is, a view of its storage: `size` as its shape, strides in values.

    Raises:
        ValueError: the view reaches beyond the storage.
    """
    if not isinstance(storage, Storage):
        raise TypeError("a tensor must have a storage")
    shape, steps = _whole(size), _whole(stride)
    (first,) = _whole([offset])
    if len(shape) != len(steps):
        raise ValueError(f"a tensor of {len(shape)} axes must not have {len(steps)} strides")
    values, count = storage.values, math.prod(shape)
    last = first + sum((length - 1) * step for length, step in zip(shape, steps, strict=True))
    if count > len(values) or (count and last >= len(values)):
        raise ValueError("a tensor reaches beyond its storage, or repeats its values")
    if steps == _dense(shape) or not count:
        return values[first : first + count].reshape(shape)
    found: npt.NDArray[Any] = np.lib.stride_tricks.as_strided(
        values[first:], shape, [step * values.itemsize for step in steps], writeable=False
    )
    return found


def rebuild_parameter(tensor: Any, *_: object) -> Any:
    """A parameter of a module is its tensor."""
    return tensor


def _whole(numbers: Any) -> tuple[int, ...]:
    if not isinstance(numbers, Sequence) or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"sizes of a tensor must be whole numbers from 0, but are {numbers!r}")
    return tuple(numbers)


def _dense(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


@dataclass(frozen=True)
class _Typed:
    """The type of a storage, and the key under which its values follow."""

    dtype: str
    key: str


class _HeaderUnpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> _Typed:
        match pid:
            case ("storage", str(dtype), str(key), str(), int(), None):
                return _Typed(dtype, key)
        raise pickle.UnpicklingError(f"a storage must be a plain one, but is {pid!r:.80}")

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _TYPES:
            return _TYPES[name]
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"names {module}.{name}, which is no storage of numbers")
