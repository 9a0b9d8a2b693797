"""Read a pickle from a stranger: arrays and plain containers are built, nothing is executed.

Large arrays are not read into memory: they are laid over the mapped file.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cmir.data.formats.inspection.file_kinds import named_kind
from cmir.data.formats.pickles.pickle_arrays import ArrayToBe, Settling, laid_over
from cmir.data.formats.pickles.pickle_payloads import Payload, SplitPickle, split_pickle
from cmir.data.formats.pickles.torch_tensors import (
    MAGIC,
    Storage,
    load_storage,
    rebuild_parameter,
    rebuild_tensor,
)
from cmir.errors import InputError

# Numbers, texts, times and Python objects: no structured types, whose state a file could forge.
_PLAIN_DTYPE = re.compile(r"[<>|=]?[?biufcOSUMm]\d*")
_LATIN_1 = ("latin1", "latin-1", "iso-8859-1")


def load(path: Path | str) -> object:
    """Load a pickle that holds numpy arrays in plain Python containers.

    A pickle is a program: it may name any function of any module and call it. Here only names
    of an allow-list may be looked up, and those that lead to array types are answered by small
    functions of our own, so that a file can neither call into another module nor change ours.
    Torch tensors become arrays, without torch.
    Files of Python 2 are read too; their byte strings become text, by UTF-8 where they can.

    In a file of 16 MB or more, arrays of 4 kB or more are read-only and stay in the file, mapped:
    what is touched is read. Such a file must not be shortened while they are in use.

    Raises:
        InputError: the file is missing, is no pickle, is truncated, or names anything outside
            the allow-list (as `module.name`); nothing was executed.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "features.pkl"
    >>> _ = file.write_bytes(pickle.dumps({"audio": np.zeros(2)}))
    >>> load(file)
    {'audio': array([0., 0.])}
    >>> _ = file.write_bytes(pickle.dumps(eval))
    >>> load(file)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    cmir.errors.InputError: ...features.pkl: names builtins.eval, ...
    """
    file = Path(path)
    try:
        try:
            return _load(file, "ASCII")
        except UnicodeDecodeError:
            # A file of Python 2: its byte strings, array contents among them, come as text.
            return Settling(decode=True).settled(_load(file, "latin1"))
    except InputError as error:
        # Line ends that were changed on the way make other names of those in the file.
        if named_kind(file, ""):
            raise _no_pickle(file, "it cannot be read as one", "") from None
        raise error from None
    except OSError as error:
        kind = named_kind(file, "")
        raise InputError(f"{file}: cannot be read: {error.strerror}.{kind}") from None
    except EOFError:
        raise _no_pickle(file, "it ends too early", " It may be a broken download.") from None
    # Whatever a broken byte stream makes the unpickler stumble over means one thing here.
    except Exception as error:
        fault = f"{type(error).__name__}: {error}".encode("unicode_escape").decode()[:200]
        raise _no_pickle(file, fault, " It may be truncated or of another format.") from None


def _no_pickle(file: Path, fault: str, guess: str) -> InputError:
    kind = named_kind(file, "") or guess
    return InputError(f"{file}: must be a whole pickle of arrays, but: {fault}.{kind}")


def _load(file: Path, encoding: str) -> object:
    split = split_pickle(file)
    unpickler = _ArrayUnpickler(split, encoding, str(file))
    content = unpickler.load()
    unpickler.check_dtypes()
    if type(content) is int and content == MAGIC:
        raise TypeError("only the first of several pickles is read")
    # Without payloads every array is final, and there may be millions of small objects.
    return Settling().settled(content) if split.payloads else content


class _ArrayMarker:
    """Stands for `numpy.ndarray` in a file, which passes it on but must not call it."""

    __slots__ = ()


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, split: SplitPickle, encoding: str, where: str) -> None:
        super().__init__(split.program, encoding=encoding)
        self._payloads = split.payloads
        self._where = where
        self._dtypes: list[np.dtype[Any]] = []
        self._allowed = self._allow_list()

    def persistent_load(self, pid: Any) -> object:
        return self._payloads[pid]

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise InputError(
                f"{self._where}: names {module}.{name}, which is no array and no plain container, "
                "so the file is refused and nothing in it was executed. If you trust it, convert "
                "it to .npz with the program that made it."
            ) from None

    def _allow_list(self) -> Mapping[tuple[str, str], Any]:
        # Bound methods, because a file may set attributes on what it is given: these have none.
        core: dict[str, Mapping[str, object]] = {
            "multiarray": {"_reconstruct": self._reconstruct, "scalar": self._scalar},
            "numeric": {"_frombuffer": self._frombuffer},
        }
        plain: dict[str, Callable[..., object]] = {
            **{kind.__name__: kind for kind in (list, dict, tuple, set, frozenset)},
            **{kind.__name__: kind for kind in (complex, slice, range)},
            "bytes": self._bytes,
            "bytearray": self._bytearray,
        }
        modules: dict[str, Mapping[str, object]] = {
            "numpy": {"ndarray": _ArrayMarker(), "dtype": self._dtype},
            "collections": {"OrderedDict": OrderedDict, "defaultdict": defaultdict},
            "_codecs": {"encode": self._encode},
            "torch._utils": {
                "_rebuild_tensor": self._tensor,
                "_rebuild_tensor_v2": self._tensor,
                "_rebuild_parameter": self._parameter,
            },
            "torch.storage": {"_load_from_bytes": self._storage},
            "builtins": plain,
            "__builtin__": plain,
            **{f"numpy.core.{part}": names for part, names in core.items()},
            **{f"numpy._core.{part}": names for part, names in core.items()},
        }
        return {
            (module, n): value for module, names in modules.items() for n, value in names.items()
        }

    def _reconstruct(self, kind: object, *_: object) -> npt.NDArray[Any]:
        if not isinstance(kind, _ArrayMarker):
            raise TypeError(f"an array must be a numpy.ndarray, but is {kind!r}")
        return ArrayToBe(0, np.int8) if self._payloads else np.empty(0, np.int8)

    def _frombuffer(
        self, buffer: Any, dtype: Any, shape: Any, order: Any, axes: Any = None
    ) -> npt.NDArray[Any]:
        array: npt.NDArray[Any] = (
            laid_over(buffer, dtype, (-1,))
            if isinstance(buffer, Payload)
            else np.frombuffer(buffer, dtype)
        )
        if axes is not None:
            return array.reshape(shape).transpose(axes)
        return array.reshape(shape, order=order)

    def _scalar(self, dtype: np.dtype[Any], content: Any = b"") -> object:
        found = content.value() if isinstance(content, Payload) else content
        raw = found.encode("latin1") if isinstance(found, str) else found
        value = np.zeros((), dtype)
        if dtype.itemsize:
            value[...] = np.frombuffer(raw, dtype, count=1)[0]
        return value[()]

    def _dtype(self, name: str, *_: object) -> np.dtype[Any]:
        if not isinstance(name, str) or not _PLAIN_DTYPE.fullmatch(name):
            raise TypeError(f"an array must hold numbers or text, but holds {name!r}")
        shared: np.dtype[Any] = np.dtype(name)
        if shared.hasobject:
            # This one ignores the state that a file sets: as a copy it could be told that its
            # pointers are numbers, and take them from the file.
            return shared
        # A copy: numpy's own instance is shared, and the file goes on to set the state of this.
        self._dtypes.append(np.dtype(name, False, True))
        return self._dtypes[-1]

    def _storage(self, raw: Any) -> Storage:
        if not isinstance(raw, Payload):
            return load_storage(raw)
        buffer, start = raw.buffer()
        stop = start + raw.size if buffer is raw.content else len(buffer)
        return load_storage(memoryview(buffer)[start:stop])

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *more: object) -> Any:
        return rebuild_tensor(storage, offset, size, stride, *more)

    def _parameter(self, tensor: Any, *more: object) -> Any:
        return rebuild_parameter(tensor, *more)

    def check_dtypes(self) -> None:
        """Refuse a type whose state makes numbers out to be Python objects."""
        if any(dtype.hasobject for dtype in self._dtypes):
            raise TypeError("an array of numbers says that it holds Python objects")

    def _encode(self, text: Any, encoding: str = "latin1") -> Any:
        if encoding not in _LATIN_1:
            raise ValueError(f"bytes must be encoded as latin1, but are as {encoding!r}")
        return text.as_bytes() if isinstance(text, Payload) else text.encode("latin1")

    def _bytes(self, content: Any = b"", encoding: str = "latin1") -> Any:
        is_text = isinstance(content, str | Payload)
        return self._encode(content, encoding) if is_text else b"" + content

    def _bytearray(self, content: Any = b"", encoding: str = "latin1") -> bytearray:
        found = self._bytes(content, encoding)
        value: Any = found.value() if isinstance(found, Payload) else found
        return bytearray(value)
