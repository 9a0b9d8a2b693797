"""The arrays of an .npz file, mapped rather than read."""

from __future__ import annotations

import mmap
import shutil
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from cmir.data.formats.inspection.file_kinds import named_kind
from cmir.data.manifest import BROKEN_ARRAY
from cmir.errors import InputError

_LOCAL_HEADER = struct.Struct("<26xHH")


def mapped_arrays(file: Path) -> dict[str, npt.NDArray[Any]]:
    """Name to array, read-only. What `numpy.savez` wrote is mapped where it lies.

    What `numpy.savez_compressed` wrote is unpacked into nameless files of the temporary folder.
    Everything is read once to compare its checksum.

    Raises:
        InputError: the file cannot be read, is damaged, no .npz file, or holds Python objects.
    """
    try:
        with file.open("rb") as stream:
            if stream.read(len(npy.MAGIC_PREFIX)) == npy.MAGIC_PREFIX:
                raise InputError(f"{file}: must be an .npz file, but is a single .npy array.")
            with zipfile.ZipFile(stream) as archive:
                damaged = archive.testzip()
                if damaged is not None:
                    raise ValueError(f"the checksum of {damaged} is wrong")
                return {
                    member.filename.removesuffix(".npy"): _mapped(archive, member, stream)
                    for member in archive.infolist()
                }
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{file}: cannot be read: No such file or directory.") from None
    # RuntimeError: an archive with a password, or compressed in a way that is not known.
    except (*BROKEN_ARRAY, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        kind = "" if zipfile.is_zipfile(file) else named_kind(file)
        guess = " It may be truncated or of another format; save texts as unicode arrays."
        raise InputError(
            f"{file}: must be a whole .npz file without object arrays, but: {error}.{kind or guess}"
        ) from None


def _mapped(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, stream: IO[bytes]
) -> npt.NDArray[Any]:
    with archive.open(member) as content:
        shape, is_fortran, dtype = _read_header(content)
        header = content.tell()
        if dtype.hasobject:
            raise ValueError(
                f"{member.filename} is an array of Python objects. Object arrays are "
                "pickles and cannot be loaded when allow_pickle=False"
            )
        if member.compress_type != zipfile.ZIP_STORED:
            with tempfile.TemporaryFile() as unpacked:
                shutil.copyfileobj(content, unpacked, 1 << 20)
                unpacked.flush()
                return _laid_over(unpacked, 0, shape, dtype, is_fortran)
    stream.seek(member.header_offset)
    name, extra = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
    start = member.header_offset + _LOCAL_HEADER.size + name + extra + header
    return _laid_over(stream, start, shape, dtype, is_fortran)


def _read_header(content: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(content)
    if version == (1, 0):
        return npy.read_array_header_1_0(content)
    return npy.read_array_header_2_0(content)


def _laid_over(
    stream: IO[bytes], start: int, shape: tuple[int, ...], dtype: np.dtype[Any], is_fortran: bool
) -> npt.NDArray[Any]:
    if 0 in shape or not dtype.itemsize:
        return np.zeros(shape, dtype)
    content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    return np.ndarray(shape, dtype, content, start, order="F" if is_fortran else "C")
