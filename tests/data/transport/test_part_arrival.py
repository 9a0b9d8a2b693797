"""A file arrives right from whichever source has it right, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cmir.data.transport.development_part import PartFile, PartListing
from cmir.data.transport.part_arrival import SourceError, write_part
from cmir.errors import PlaceError

CONTENT = {"a": b"first", "b": b"second", "c": b""}


@dataclass
class Source:
    """Gives some files, in pieces of two bytes."""

    name: str
    files: dict[str, bytes]
    fault: str = ""

    def gives(self, file: PartFile) -> bool:
        return file.name in self.files

    def pieces(self, file: PartFile) -> Iterator[bytes]:
        content = self.files[file.name]
        yield from (content[start : start + 2] for start in range(0, len(content), 2))
        if self.fault:
            raise SourceError(self.fault)


def listing() -> PartListing:
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    files = tuple(PartFile(name, len(CONTENT[name]), sha) for name, sha in hashes.items())
    return PartListing(files, ())


def test_the_first_source_that_has_a_file_gives_it(tmp_path: Path) -> None:
    some, all_of_them = Source("near", {"a": b"first"}), Source("far", CONTENT)
    assert write_part(listing(), [some, all_of_them], tmp_path) == []
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == CONTENT


@pytest.mark.parametrize(
    ("files", "fault", "told"),
    [
        (CONTENT, "it is down", "near: it is down"),
        ({**CONTENT, "a": b"other"}, "", "near: a must have the sha256 .* but came with"),
    ],
)
def test_a_source_that_fails_is_passed_over_and_named(
    tmp_path: Path, files: dict[str, bytes], fault: str, told: str
) -> None:
    near, far = Source("near", files, fault), Source("far", CONTENT)
    (passed,) = write_part(listing(), [near, far], tmp_path)
    assert passed.startswith(told.split(" .*")[0])
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == CONTENT
    with pytest.raises(PlaceError, match=f"a: cannot be brought here: {told}"):
        write_part(listing(), [near], tmp_path)
