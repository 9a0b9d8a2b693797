"""Large strings of a pickle stay in the file; everything else comes as pickle would give it."""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmir.data.formats.pickles import pickle_payloads, safe_pickle
from cmir.data.formats.pickles.pickle_payloads import LARGE, split_pickle
from cmir.errors import InputError

COUNT = LARGE // 4 + 3


@pytest.fixture(autouse=True)
def _every_file_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_payloads, "SMALL_FILE", 0)


def large() -> dict[str, Any]:
    """Every kind of value that is too large to be kept in the program."""
    numbers = np.random.default_rng(0).normal(size=(COUNT, 2)).astype(np.float32)
    objects = np.empty(2, object)
    objects[:] = [numbers[:, 0].copy(), "é" * LARGE]
    return {
        "c": numbers,
        "fortran": np.asfortranarray(numbers),
        "again": numbers,
        "big_endian": numbers.astype(">f8"),
        "half": numbers.astype(np.float16),
        "texts": np.array(["word é", "x" * LARGE]),
        "bytes": np.arange(256, dtype=np.uint8).repeat(LARGE // 128),
        "objects": objects,
        "nested": [({"deep": numbers[1:]}, "plain"), "ü" * LARGE, b"\xff" * LARGE],
        "small": np.arange(3),
        "y" * LARGE: frozenset({"z" * LARGE}),
    }


def written(folder: Path, content: object, protocol: int) -> Path:
    file = folder / "large.pkl"
    file.write_bytes(pickle.dumps(content, protocol))
    return file


def assert_same(found: Any, wanted: Any) -> None:
    assert type(found) is type(wanted)
    if isinstance(wanted, np.ndarray):
        assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
        if wanted.dtype == object:
            assert_same(list(found), list(wanted))
        else:
            np.testing.assert_array_equal(found, wanted)
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        assert_same(list(found.values()), list(wanted.values()))
    elif isinstance(wanted, list | tuple):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert_same(one, other)
    else:
        assert found == wanted


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
def test_large_values_come_back_as_pickle_reads_them(tmp_path: Path, protocol: int) -> None:
    content = large()
    loaded = safe_pickle.load(written(tmp_path, content, protocol))
    assert_same(loaded, content)


@pytest.mark.parametrize("protocol", range(1, pickle.HIGHEST_PROTOCOL + 1))
def test_the_program_is_small_and_every_large_string_is_found(
    tmp_path: Path, protocol: int
) -> None:
    file = written(tmp_path, {name: np.ones((COUNT, 5)) for name in "abc"}, protocol)
    split = split_pickle(file)
    assert len(split.payloads) == 3
    assert len(split.program.read()) < 2000
    assert all(payload.size >= COUNT * 5 * 8 for payload in split.payloads)


def test_large_arrays_are_read_only_views_of_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, np.arange(COUNT, dtype=np.int64), 4)
    loaded: Any = safe_pickle.load(file)
    assert not loaded.flags.writeable
    assert not loaded.flags.owndata
    content = bytearray(file.read_bytes())
    place = content.index(struct.pack("<q", 7))
    with file.open("r+b") as stream:
        stream.seek(place)
        stream.write(struct.pack("<q", -7))
    assert loaded[7] == -7


def test_a_small_file_is_read_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_payloads, "SMALL_FILE", 1 << 24)
    file = written(tmp_path, large(), 4)
    assert not split_pickle(file).payloads
    assert_same(safe_pickle.load(file), pickle.loads(file.read_bytes()))


def test_bytes_that_older_protocols_write_as_text_are_undone_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickle_payloads, "LARGE_TEXT", LARGE)
    monkeypatch.setattr(pickle_payloads, "CHUNK", 1001)
    content = large()
    assert_same(safe_pickle.load(written(tmp_path, content, 2)), content)


def test_python_2_files_keep_large_arrays_in_the_file_and_read_texts_as_utf_8(
    tmp_path: Path,
) -> None:
    raw = np.arange(COUNT, dtype="<f8").tobytes()
    text = "schön".encode()
    file = tmp_path / "python2.pkl"
    file.write_bytes(
        b"\x80\x02}(U\x05audiocnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01M" + struct.pack("<H", COUNT) + b"\x85cnumpy\ndtype\nU\x02f8"
        b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + struct.pack("<i", len(raw)) + raw + b"tb"
        b"U\x04textU" + bytes([len(text)]) + text + b"u."
    )
    loaded: Any = safe_pickle.load(file)
    assert loaded["text"] == "schön"
    np.testing.assert_array_equal(loaded["audio"], np.arange(COUNT, dtype=np.float64))
    assert not loaded["audio"].flags.owndata


def test_a_list_that_holds_itself_is_read(tmp_path: Path) -> None:
    content: list[Any] = [np.ones(COUNT)]
    content.append(content)
    loaded: Any = safe_pickle.load(written(tmp_path, content, 4))
    assert loaded[1] is loaded
    assert loaded[0].sum() == COUNT


def test_oversized_frames_of_old_writers_are_read(tmp_path: Path) -> None:
    program = pickle.dumps(np.arange(COUNT, dtype=np.float64), 4)
    # Everything in one frame, as Python 3.4 to 3.6 wrote it.
    inside = program[2:].replace(b"\x95" + program[3:11], b"", 1)
    inside = b"".join(_without_frames(inside))
    file = tmp_path / "framed.pkl"
    file.write_bytes(b"\x80\x04\x95" + struct.pack("<Q", len(inside)) + inside)
    assert_same(pickle.loads(file.read_bytes()), np.arange(COUNT, dtype=np.float64))
    assert_same(safe_pickle.load(file), np.arange(COUNT, dtype=np.float64))


def _without_frames(program: bytes) -> list[bytes]:
    pieces, start = [], 0
    while (place := program.find(b"\x95", start)) >= 0 and program[place + 3 : place + 9] == bytes(
        6
    ):
        pieces.append(program[start:place])
        start = place + 9
    return [*pieces, program[start:]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[: len(raw) // 2], "ends too early"),
        (lambda raw: raw.replace(b"f8", b"f4"), r"are no float32 array of shape"),
        (lambda raw: raw.replace(b"f8", b"O8"), "an array of object cannot be a string of bytes"),
        (lambda raw: b"\x80\x04K\x01Q.", "persistent id at byte 4"),
        (lambda raw: b"\x80\x04T\xff\xff\xff\xff.", "negative size -1 at byte 3"),
        (lambda raw: b"\x80\x04\xff.", "unknown instruction 0xff at byte 2"),
        (lambda raw: b"\x80\x04X\xff\xff", "ends too early"),
        (lambda raw: b"I12", "ends too early"),
    ],
)
def test_a_broken_program_is_refused(tmp_path: Path, change: Any, message: str) -> None:
    file = tmp_path / "broken.pkl"
    file.write_bytes(change(pickle.dumps(np.arange(COUNT, dtype=np.float64), 4)))
    with pytest.raises(InputError, match=rf"broken\.pkl: must be a whole pickle.*{message}"):
        safe_pickle.load(file)


def test_a_large_string_cannot_name_a_function(tmp_path: Path) -> None:
    stream = io.BytesIO()
    stream.write(b"\x80\x04")
    for text in (b"m" * LARGE, b"system"):
        stream.write(b"X" + struct.pack("<I", len(text)) + text)
    stream.write(b"\x93.")
    file = tmp_path / "named.pkl"
    file.write_bytes(stream.getvalue())
    with pytest.raises(InputError, match="STACK_GLOBAL requires str"):
        safe_pickle.load(file)


def test_the_tables_of_instructions_are_those_of_pickletools() -> None:
    by_kind: dict[str, Mapping[int, object]] = {
        "fixed": pickle_payloads._FIXED,
        "lines": pickle_payloads._LINES,
        "counted": pickle_payloads._COUNTED,
    }
    for opcode in pickletools.opcodes:
        code, size = ord(opcode.code), 0 if opcode.arg is None else opcode.arg.n
        kind = "fixed" if size > 0 else "lines" if size == -1 else "counted" if size else "plain"
        if code in pickle_payloads._PERSISTENT:
            continue
        assert (code in pickle_payloads._PLAIN) == (kind == "plain"), opcode.name
        for name, table in by_kind.items():
            assert (code in table) == (name == kind), opcode.name
        if kind == "fixed":
            assert pickle_payloads._FIXED[code] == size
        whole = bytes([code]) + bytes(max(size, 0))
        run = pickle_payloads._RUN.fullmatch(whole)
        taken_in_runs = kind in ("plain", "fixed") and opcode.name not in ("STOP", "FRAME")
        assert (run is not None) == taken_in_runs, opcode.name


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_many_small_values_are_read(tmp_path: Path, protocol: int) -> None:
    rng = np.random.default_rng(1)
    content = {
        str(name): [rng.normal(size=40).tolist(), list(range(300)), [None, True, ()], 2**40]
        for name in range(50)
    }
    content["large"] = [np.ones(COUNT)]
    assert_same(safe_pickle.load(written(tmp_path, content, protocol)), content)
