"""Strangers' pickles: what is read, and that nothing in them is ever executed."""

from __future__ import annotations

import builtins
import collections
import gc
import os
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmir.data.formats.pickles import safe_pickle
from cmir.errors import InputError

HARMLESS = {
    "numbers": np.arange(6.0).reshape(2, 3),
    "half": np.asfortranarray(np.ones((2, 3), np.float16)),
    "big_endian": np.arange(3, dtype=">i4"),
    "texts": np.array(["a", "longer"]),
    "objects": np.array(["a", 1, None, np.arange(2)], dtype=object),
    "scalars": [np.float32(1.5), np.str_("x"), np.str_(""), np.bool_(True), np.int64(-3)],
    "empty": np.zeros((0, 3), np.float32),
    "containers": ({1, 2}, frozenset({3}), (4, [5]), slice(1, 2), 1j, b"bytes", bytearray(b"b")),
    "ordered": collections.OrderedDict(a=1),
}


class Attack:
    """Pickles to a call of `function` with `arguments`."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


def written(folder: Path, content: object, protocol: int = 4) -> Path:
    file = folder / "features.pkl"
    file.write_bytes(pickle.dumps(content, protocol))
    return file


def assert_same(found: Any, wanted: Any) -> None:
    assert type(found) is type(wanted)
    if isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype
        assert found.shape == wanted.shape
        found, wanted = found.tolist(), wanted.tolist()
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        found, wanted = list(found.values()), list(wanted.values())
    if isinstance(wanted, list | tuple):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    else:
        assert found == wanted


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_containers_come_back_as_pickle_reads_them(
    tmp_path: Path, protocol: int
) -> None:
    file = written(tmp_path, HARMLESS, protocol)
    assert_same(safe_pickle.load(file), pickle.loads(file.read_bytes()))


def test_the_old_module_names_of_numpy_are_read(tmp_path: Path) -> None:
    file = tmp_path / "old.pkl"
    content = pickle.dumps(np.arange(3.0), 2)
    file.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert_same(safe_pickle.load(file), np.arange(3.0))


def test_an_array_written_by_python_2_is_read(tmp_path: Path) -> None:
    # What Python 2.7 writes: array contents and text are byte strings (opcodes T and U).
    raw = struct.pack("<2d", 1.5, -0.1)
    file = tmp_path / "python2.pkl"
    file.write_bytes(
        b"\x80\x02}U\x05audiocnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R"
        b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + struct.pack("<i", len(raw)) + raw + b"tbs."
    )
    assert_same(safe_pickle.load(file), {"audio": np.array([1.5, -0.1])})


ATTACKS: list[tuple[str, Callable[[str], Attack]]] = [
    ("posix.system", lambda mark: Attack(os.system, f"touch {mark}")),
    ("builtins.eval", lambda mark: Attack(eval, f"open({mark!r}, 'w').close()")),
    ("builtins.exec", lambda mark: Attack(exec, f"open({mark!r}, 'w').close()")),
    ("io.open", lambda mark: Attack(builtins.open, mark, "w")),
    ("builtins.getattr", lambda mark: Attack(getattr, mark, "upper")),
    ("posix.mkdir", lambda mark: Attack(os.mkdir, mark)),
    ("numpy.load", lambda mark: Attack(np.load, mark, None, True)),
    ("numpy.fromfile", lambda mark: Attack(np.fromfile, mark)),
]


def nested_in_objects(attack: Attack) -> object:
    array = np.empty(2, dtype=object)
    array[1] = {"train": [attack]}
    return array


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("nest", [lambda attack: attack, nested_in_objects], ids=["bare", "nested"])
@pytest.mark.parametrize(("name", "make"), ATTACKS, ids=[name for name, _ in ATTACKS])
def test_a_file_that_calls_anything_else_is_refused_and_nothing_runs(
    tmp_path: Path,
    name: str,
    make: Callable[[str], Attack],
    nest: Callable[[Attack], object],
    protocol: int,
) -> None:
    mark = tmp_path / "executed"
    file = written(tmp_path, nest(make(str(mark))), protocol)
    if protocol < 3:
        name = name.replace("builtins.", "__builtin__.")
    with pytest.raises(InputError, match=rf"names {name}\b.* nothing in it was executed"):
        safe_pickle.load(file)
    assert not mark.exists()


def test_the_attacks_do_run_under_plain_pickle(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    pickle.loads(written(tmp_path, ATTACKS[0][1](str(mark))).read_bytes())
    assert mark.exists()


HEAD = b"\x80\x02"


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (b"cnumpy\nndarray\n(K\x03tR.", "'_ArrayMarker' object is not callable"),
        (
            b"cnumpy.core.multiarray\n_reconstruct\n(c__builtin__\nlist\nK\x00\x85X\x01\0\0\0btR.",
            "must be a numpy.ndarray, but is <class 'list'>",
        ),
        (
            b"c_codecs\nencode\n(X\x01\0\0\0xX\x03\0\0\0ziptR.",
            "encoded as latin1, but are as 'zip'",
        ),
        (b"c__builtin__\nbytearray\n(X\x01\0\0\0xX\x03\0\0\0ziptR.", "but are as 'zip'"),
        (b"cnumpy\ndtype\n(X\x02\0\0\0V8tR.", "must hold numbers or text, but holds 'V8'"),
        (b"cnumpy\ndtype\n(c__builtin__\nlist\ntR.", "but holds <class 'list'>"),
        (b"cnumpy\ndtype\n(N}X\x08\0\0\0__func__Nstb.", "AttributeError"),
        (b"c__builtin__\nlist\n(N}X\x06\0\0\0appendNstb.", "cannot set 'append' attribute"),
        (b"\x82\x01.", "unregistered extension code 1"),
        (b"X\x01\0\0\0xQ.", "persistent"),
    ],
)
def test_the_allowed_names_cannot_be_bent(tmp_path: Path, program: bytes, reason: str) -> None:
    file = tmp_path / "bent.pkl"
    file.write_bytes(HEAD + program)
    with pytest.raises(InputError, match=rf"bent\.pkl: .*{re.escape(reason)}"):
        safe_pickle.load(file)
    untouched = written(tmp_path, HARMLESS)
    assert_same(safe_pickle.load(untouched), pickle.loads(untouched.read_bytes()))


def test_a_dtype_of_a_file_is_never_the_shared_one_of_numpy(tmp_path: Path) -> None:
    file = tmp_path / "dtype.pkl"
    file.write_bytes(HEAD + b"cnumpy\ndtype\n(X\x02\0\0\0f4I00\nI00\ntR.")
    loaded = safe_pickle.load(file)
    assert loaded == np.dtype("f4")
    assert loaded is not np.dtype("f4")


FORGED = (
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85X\x01\0\0\0btR"
    b"(K\x01K\x01\x85cnumpy\ndtype\n(X\x02\0\0\0%sI00\nI01\ntR"
    b"(K\x03X\x01\0\0\0|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK%ctb"
    b"\x89C\x08%stb."
)


def test_a_file_cannot_pass_numbers_off_as_pointers(tmp_path: Path) -> None:
    file = tmp_path / "forged.pkl"
    # Under plain pickle the state makes an array of objects at the addresses that the file names.
    file.write_bytes(b"\x80\x03" + FORGED % (b"O8", 0, b"\x41" * 8))
    with pytest.raises(InputError, match=r"forged\.pkl: must be a whole pickle"):
        safe_pickle.load(file)
    file.write_bytes(b"\x80\x03" + FORGED % (b"f8", 0, struct.pack("<d", 2.5)))
    assert_same(safe_pickle.load(file), np.array([2.5]))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_file_cannot_pass_pointers_off_as_numbers(tmp_path: Path) -> None:
    file = tmp_path / "forged.pkl"
    program = FORGED.replace(b"C\x08%s", b"](G%se") % (b"f8", 63, struct.pack(">d", 2.5))
    file.write_bytes(b"\x80\x03" + program)
    with pytest.raises(InputError, match="says that it holds Python objects"):
        safe_pickle.load(file)
    # numpy complains when such an array is freed, and frees nothing.
    gc.collect()


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.pkl: cannot be read: No such file"):
        safe_pickle.load(tmp_path / "absent.pkl")


def test_a_folder_is_no_pickle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        safe_pickle.load(tmp_path)


def test_an_empty_file_ends_too_early(tmp_path: Path) -> None:
    file = tmp_path / "empty.pkl"
    file.touch()
    with pytest.raises(InputError, match="ends too early"):
        safe_pickle.load(file)


@pytest.mark.parametrize("kept", [1, 2, 20, 100, 300, -1])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int, protocol: int) -> None:
    file = written(tmp_path, HARMLESS, protocol)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(InputError, match=r"features\.pkl: must be a whole pickle"):
        safe_pickle.load(file)


@pytest.mark.parametrize("content", [b"PK\x03\x04 an archive", b"id,label\n1,2\n", bytes(64)])
def test_another_format_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "table.csv"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"table\.csv: must be a whole pickle"):
        safe_pickle.load(file)
