"""Known files are recognised by their checksum, and told when they differ."""

from __future__ import annotations

import re

import pytest

from cmir.data.formats.origin import PUBLISHED, recognise


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_file_is_recognised_under_any_name(name: str) -> None:
    for digest, data in PUBLISHED[name].items():
        assert re.fullmatch("[0-9a-f]{64}", digest)
        expected = f"copy.pkl: the {data} file of MMSA, its sha256 is the published one"
        assert recognise("copy.pkl", digest) == expected


def test_a_file_of_a_published_name_that_differs_is_told() -> None:
    told = recognise("aligned_50.pkl", "0" * 64)
    assert told == (
        "aligned_50.pkl: its sha256 differs from those that MMSA published (MOSEI, MOSI)"
    )


def test_nothing_is_said_of_other_files() -> None:
    assert recognise("mosi_speakers.pkl", "0" * 64) is None
