from __future__ import annotations

from tests.support.code_map import FILE, code_map


def test_the_map_names_every_file_with_its_first_line() -> None:
    assert FILE.read_text(encoding="utf-8") == code_map(), "write it again: make map"
