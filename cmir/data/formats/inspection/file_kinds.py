"""What a file is, in words, told from its first bytes: for who has another file than they think."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from pathlib import Path

HEAD = 1 << 12
LOOKED_AT = 1 << 20

_UNPACK = "Unpack it first: {} {{file}}"
_TORCH = (
    'a file of torch.save. Write it again as a pickle: python -c "import pickle, torch; '
    "pickle.dump(torch.load('{file}', map_location='cpu'), open('features.pkl', 'wb'))\""
)
_TABLE = (
    "{}. A table has no features: write an .npz file, or a folder with one .parquet table and "
    "one .npy file for each modality (reader folder)"
)

# What a file begins with, and what it then is and what to do.
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (
        b"version https://git-lfs",
        "the pointer of Git LFS in place of the file. Fetch the file itself: git lfs pull",
    ),
    (b"\x1f\x8b", f"compressed by gzip. {_UNPACK.format('gunzip')}"),
    (b"BZh", f"compressed by bzip2. {_UNPACK.format('bunzip2')}"),
    (b"\xfd7zXZ\x00", f"compressed by xz. {_UNPACK.format('unxz')}"),
    (b"\x28\xb5\x2f\xfd", f"compressed by zstd. {_UNPACK.format('zstd -d')}"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7z archive. {_UNPACK.format('7z x')}"),
    (b"Rar!", f"a RAR archive. {_UNPACK.format('unrar x')}"),
    (
        b"\x89HDF\r\n\x1a\n",
        "HDF5, such as a .csd file of CMU-MultimodalSDK. Align it there, then write an .npz file "
        "with the keys <split>/<key> (reader npz)",
    ),
    (b"\x93NUMPY", "a single .npy array. Save all arrays to one .npz file (reader npz)"),
    (b"PAR1", _TABLE.format("a Parquet table")),
    (b"ARROW1", _TABLE.format("an Arrow table")),
    (b"MATLAB 5.0", "a MATLAB file. Read it with scipy.io.loadmat and write an .npz file"),
    (b"SQLite format 3", _TABLE.format("an SQLite database")),
    (b"%PDF", "a PDF document, not the file itself. Fetch the file again"),
)
_WEB_PAGE = re.compile(
    rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|\?xml|script)", re.I | re.S
)
# The first pickle of torch's older format holds this number.
_OLD_TORCH = bytes.fromhex("8a0a6cfc9c46f920 6aa85019".replace(" ", ""))


def what_it_is(file: Path) -> str | None:
    """What a file is and what to do about it; None where its beginning says nothing of the kind.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "features.pkl"
    >>> _ = file.write_bytes(b"<!DOCTYPE html><title>Too many users have viewed this file</title>")
    >>> what_it_is(file)
    'a web page (html) in place of the file. Fetch the file again, from a browser where you can'
    """
    if file.is_dir():
        return "a folder. The readers of folders are folder, mag and funny"
    try:
        with file.open("rb") as stream:
            head = stream.read(LOOKED_AT)
    except OSError:
        return None
    found = next((kind for look in _LOOKS if (kind := look(file, head))), None)
    return None if found is None else found.replace("{file}", file.name)


def named_kind(file: Path, readable: str = "a pickle of arrays (reader mmsa, mag or funny)") -> str:
    """`what_it_is` as a sentence to end a message with; empty where nothing is known.

    Args:
        file: what could not be read.
        readable: what a sound pickle is called; empty where a pickle was wanted.
    """
    kind = what_it_is(file)
    if kind is None and readable and _begins_as_pickle(file):
        kind = readable
    return "" if kind is None else f" It is {kind}."


def _begins_as_pickle(file: Path) -> bool:
    with file.open("rb") as stream:
        start = stream.read(2)
    return len(start) == 2 and start[0] == 0x80 and 2 <= start[1] <= 5


def _beginning(file: Path, head: bytes) -> str | None:
    if not head:
        return "empty. Fetch it again"
    return next((kind for start, kind in _BEGINNINGS if head.startswith(start)), None)


def _archive(file: Path, head: bytes) -> str | None:
    if head[257:262] == b"ustar":
        return f"a tar archive. {_UNPACK.format('tar xf')}"
    if not head.startswith(b"PK"):
        return None
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return "a broken zip archive. Fetch it again"
    if any(name.endswith("data.pkl") for name in names):
        return _TORCH
    if names and all(name.endswith(".npy") for name in names):
        return "an .npz file. Use the reader npz"
    return f"a zip archive. {_UNPACK.format('unzip')}"


def _text(file: Path, head: bytes) -> str | None:
    start = head[:HEAD].removeprefix(b"\xef\xbb\xbf")
    if _WEB_PAGE.match(start):
        return (
            "a web page (html) in place of the file. Fetch the file again, from a browser where "
            "you can"
        )
    if not _is_printable(start):
        return None
    if re.match(rb"\s*[\[{]\s*[\"{\[\]}\d-]", start):
        return "JSON text. Write an .npz file with the keys <split>/<key> (reader npz)"
    lines = start.splitlines()[:2]
    mark = next((mark for mark in (b",", b"\t", b";") if lines and mark in lines[0]), None)
    if mark and len(lines) == 2 and lines[0].count(mark) == lines[1].count(mark):
        return _TABLE.format("a table as text (CSV)")
    if len(lines) == 1 and mark and len(start) < HEAD:
        return _TABLE.format("a table as text (CSV)")
    return None


def _is_printable(text: bytes) -> bool:
    return not any(byte < 9 or 13 < byte < 32 for byte in text)


def _pickle(file: Path, head: bytes) -> str | None:
    if _OLD_TORCH in head[:64]:
        return _TORCH
    ends = head.count(b"\n")
    # In a binary file line feeds stand alone at times; none does where a copy made two bytes of it.
    is_pickle = head[:1] == b"\x80" or head[:1] in b"(](dc}"
    if is_pickle and ends > 1 and ends == head.count(b"\r\n"):
        return (
            "a pickle whose line ends were changed on the way, LF to CRLF. Copy it again in binary "
            "mode (git: mark it binary in .gitattributes)"
        )
    return None


_LOOKS: tuple[Callable[[Path, bytes], str | None], ...] = (_beginning, _archive, _text, _pickle)
