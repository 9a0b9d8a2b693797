"""A second place for the weights of the best trials, which any host can read: a URL or a folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from cmir.data.transport.data_url import check_url, explained
from cmir.errors import InputError, PlaceError
from cmir.shared_files import written_whole

OPTION = "--artifacts"


class WeightsMirror:
    """Copies of the weights of a study's best trials, below a URL that all its drivers name."""

    def __init__(self, url: str, study: str) -> None:
        """Sees to it that files can be kept there.

        Args:
            url: of a folder; or the path of one that hosts share.
            study: what no other study is known by.

        Raises:
            InputError: nothing can be written there, or the URL holds a password.
        """
        check_url(url, OPTION)
        self._url = url
        with explained(url, OPTION):
            self._system, root = url_to_fs(url)
            self._folder = f"{root.rstrip('/')}/{study}.weights"
            probe = f"{self._folder}/probe"
            self._write(probe, b"may be deleted")
            self._system.rm_file(probe)

    def put(self, number: int, path: Path) -> None:
        """Keeps the weights of a trial; raises PlaceError where that fails."""
        with self._working():
            self._write(self._place(number), path)

    def fetch(self, number: int, path: Path) -> None:
        """Brings the weights of a trial to where they are not; nothing where none are kept."""
        with self._working(), written_whole(path) as draft:
            try:
                self._system.get_file(self._place(number), str(draft))
            except FileNotFoundError:
                draft.touch()
        if not path.stat().st_size:
            path.unlink()

    def remove(self, number: int) -> None:
        """Forgets the weights of a trial."""
        with self._working():
            if self._system.exists(self._place(number)):
                self._system.rm_file(self._place(number))

    def _place(self, number: int) -> str:
        return f"{self._folder}/{number:05d}.safetensors"

    def _write(self, place: str, content: Path | bytes) -> None:
        """Writes a file, whole or not at all: object stores do that by themselves."""
        if isinstance(self._system, LocalFileSystem):
            with written_whole(Path(place)) as draft:
                if isinstance(content, bytes):
                    draft.write_bytes(content)
                else:
                    shutil.copyfile(content, draft)
        elif isinstance(content, bytes):
            self._system.pipe_file(place, content)
        else:
            self._system.put_file(str(content), place)

    @contextmanager
    def _working(self) -> Iterator[None]:
        try:
            with explained(self._url, OPTION):
                yield
        except InputError as error:
            raise PlaceError(
                f"{error} Trials in training are kept: run the same command again."
            ) from error
