"""Where the large byte strings of a pickle lie, and the same pickle without them.

A pickle of arrays is a short program around long byte strings. Only the program has to be run:
each long string is taken out of it and named by a persistent id, and its bytes stay in the file.
"""

from __future__ import annotations

import codecs
import io
import mmap
import pickle
import re
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from cmir.data.row_blocks import forget_map

SMALL_FILE = 1 << 24
LARGE = 1 << 12
LARGE_TEXT = 1 << 24
CHUNK = 1 << 22

Span: TypeAlias = tuple[int, int]

# Opcodes by what follows them (pickletools.opcodes); all others have no argument.
_FIXED = {
    **dict.fromkeys(b"Khq\x80\x82", 1),
    **dict.fromkeys(b"M\x83", 2),
    **dict.fromkeys(b"Jjr\x84", 4),
    **dict.fromkeys(b"G\x95", 8),
}
_LINES = {**dict.fromkeys(b"ILSVFgp", 1), **dict.fromkeys(b"ci", 2)}
_COUNTED = {
    **dict.fromkeys(b"UC\x8a\x8c", "<B"),
    **dict.fromkeys(b"T\x8b", "<i"),
    **dict.fromkeys(b"BX", "<I"),
    **dict.fromkeys(b"\x8d\x8e\x96", "<Q"),
}
_PLAIN = frozenset(b"(.012RNab}dlestu]\x85\x86\x87\x81\x88\x89)\x8f\x90\x91\x92\x93\x94o\x97\x98")
# Most of a program: instructions of a fixed size, without frames and the end. One match takes many
# of them, which a loop in Python would take at a hundredth of the speed.
_RUN = re.compile(
    rb"(?:[(012RNab}dlestu\]\x81\x85-\x89)\x8f-\x94o\x97\x98]"
    rb"|G.{8}|[Khq\x80\x82].|[Jjr\x84].{4}|[M\x83]..){1,65536}+",
    re.DOTALL,
)
_TEXT = frozenset(b"X\x8c\x8d")
_BYTES = frozenset(b"BTUC\x8e\x96")
_PERSISTENT = frozenset(b"PQ")
_FRAME, _STOP = 0x95, ord(".")


@dataclass(frozen=True, eq=False)
class Payload:
    """One large string of a pickle, still in the file.

    Attributes:
        content: the mapped file.
        start: where the string begins.
        size: its bytes in the file.
        is_text: whether it is text, which lies there in UTF-8.
        stands_for_bytes: whether the text means the bytes it encodes to in Latin-1, as protocols
            0 to 2 write bytes.
    """

    content: mmap.mmap
    start: int
    size: int
    is_text: bool
    stands_for_bytes: bool = False

    def as_bytes(self) -> Payload:
        """The same, for text that stands for the bytes it encodes to in Latin-1."""
        return replace(self, stands_for_bytes=self.is_text)

    def value(self) -> bytes | str:
        """The string as the pickle means it, in memory."""
        raw = self.content[self.start : self.start + self.size]
        if not self.is_text:
            return raw
        text = raw.decode("utf-8", "surrogatepass")
        return text.encode("latin1") if self.stands_for_bytes else text

    def buffer(self) -> tuple[bytes | mmap.mmap, int]:
        """Bytes to lay an array over and where it begins in them; text stands for Latin-1 bytes.

        Text doubles every byte above 127 in the file, so it is undone: in memory, or, if it is
        longer than 16 MB, in a nameless file of the temporary folder.
        """
        if not self.is_text:
            return self.content, self.start
        if self.size < LARGE_TEXT:
            return b"".join(self._as_latin_1()), 0
        with tempfile.TemporaryFile() as scratch:
            scratch.writelines(self._as_latin_1())
            scratch.flush()
            return mmap.mmap(scratch.fileno(), 0, access=mmap.ACCESS_READ), 0

    def _as_latin_1(self) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder("utf-8")()
        end = self.start + self.size
        for start in range(self.start, end, CHUNK):
            stop = min(start + CHUNK, end)
            yield decoder.decode(self.content[start:stop], stop == end).encode("latin1")
            forget_map(self.content)


@dataclass(frozen=True)
class SplitPickle:
    """A pickle cut in two: `program` is a pickle whose persistent ids number `payloads`."""

    program: io.BufferedReader
    payloads: list[Payload]


def split_pickle(file: Path) -> SplitPickle:
    """Find the large strings of a pickle without running it; in a small file none is large.

    Raises:
        OSError: the file cannot be read.
        EOFError: it ends within the pickle.
        pickle.UnpicklingError: it is no pickle, or has persistent ids of its own.
    """
    with file.open("rb") as stream:
        if not stream.seek(0, io.SEEK_END):
            raise EOFError
        content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    pieces: list[Span | bytes] = []
    payloads: list[Payload] = []
    kept = 0
    large = LARGE if len(content) >= SMALL_FILE else len(content)
    for opcode, start, first, stop in _large_arguments(content, large):
        pieces.append((kept, start))
        kept = stop
        if opcode != _FRAME:
            # BININT and BINPERSID: what `persistent_load` is asked for.
            pieces.append(b"J" + struct.pack("<i", len(payloads)) + b"Q")
            payloads.append(Payload(content, first, stop - first, opcode in _TEXT))
    pieces.append((kept, len(content)))
    return SplitPickle(io.BufferedReader(_Pieces(content, pieces), CHUNK), payloads)


def _large_arguments(content: mmap.mmap, large: int) -> Iterator[tuple[int, int, int, int]]:
    """Opcode, its place, and the span of its argument, for frames and for strings that are large.

    Frames are listed because they count the bytes that are going to be taken out of them; a
    pickle is as good without.
    """
    place, end, forgotten = 0, len(content), 0
    while place < end:
        run = _RUN.match(content, place)
        place = run.end() if run else place
        if place - forgotten > CHUNK:
            forget_map(content)
            forgotten = place
        if place >= end:
            break
        opcode = content[place]
        if opcode in _COUNTED:
            form = _COUNTED[opcode]
            first = place + 1 + struct.calcsize(form)
            stop = first + _count(content, place + 1, form)
            if stop > end:
                raise EOFError
            if stop - first >= large and (opcode in _TEXT or opcode in _BYTES):
                yield opcode, place, first, stop
        else:
            stop = _end_of_small(content, opcode, place)
            if opcode == _FRAME:
                yield opcode, place, stop, stop
            if opcode == _STOP:
                return
        place = stop
    raise EOFError


def _count(content: mmap.mmap, place: int, form: str) -> int:
    try:
        (count,) = struct.unpack_from(form, content, place)
    except struct.error:
        raise EOFError from None
    if count < 0:
        raise pickle.UnpicklingError(f"negative size {count} at byte {place}")
    return int(count)


def _end_of_small(content: mmap.mmap, opcode: int, place: int) -> int:
    if opcode in _PERSISTENT:
        raise pickle.UnpicklingError(f"persistent id at byte {place}: it means something elsewhere")
    if opcode in _FIXED:
        return place + 1 + _FIXED[opcode]
    if opcode in _LINES:
        for _ in range(_LINES[opcode]):
            place = content.find(b"\n", place + 1)
            if place < 0:
                raise EOFError
        return place + 1
    if opcode not in _PLAIN:
        raise pickle.UnpicklingError(f"unknown instruction {opcode:#04x} at byte {place}")
    return place + 1


class _Pieces(io.RawIOBase):
    """Spans of a mapped file and bytes between them, read as one stream."""

    def __init__(self, content: mmap.mmap, pieces: list[Span | bytes]) -> None:
        self._content = content
        self._pieces = iter(pieces)
        self._view: Span | bytes = b""

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any, /) -> int:
        wanted = memoryview(target).cast("B")
        while True:
            part = self._next(len(wanted))
            if part is None:
                return 0
            if part:
                wanted[: len(part)] = part
                return len(part)

    def _next(self, size: int) -> bytes | None:
        if isinstance(self._view, bytes):
            part, self._view = self._view[:size], self._view[size:]
            if part:
                return part
        else:
            start, stop = self._view
            part = self._content[start : min(stop, start + size)]
            self._view = (start + len(part), stop) if part else b""
            forget_map(self._content)
            if part:
                return part
        following = next(self._pieces, None)
        if following is None:
            return None
        self._view = following
        return b""
