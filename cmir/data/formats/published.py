"""Feature files whose checksum their authors have published."""

from __future__ import annotations

from collections.abc import Mapping

# README of github.com/thuiar/MMSA, section "Datasets".
PUBLISHED: Mapping[str, Mapping[str, str]] = {
    "aligned_50.pkl": {
        "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9": "MOSI",
        "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791": "MOSEI",
    },
    "unaligned_50.pkl": {
        "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524": "MOSI",
        "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f": "MOSEI",
    },
    "unaligned_39.pkl": {
        "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f": "SIMS",
    },
}


def recognise(name: str, sha256: str) -> str | None:
    """What is known of a file of this name and checksum; None where nothing is published.

    >>> recognise("mine.pkl", "0" * 64)
    >>> recognise("unaligned_39.pkl", "0" * 64)
    'unaligned_39.pkl: its sha256 differs from the one that MMSA published (SIMS)'
    """
    for files in PUBLISHED.values():
        if sha256 in files:
            return f"{name}: the {files[sha256]} file of MMSA, its sha256 is the published one"
    known = sorted(PUBLISHED.get(name, {}).values())
    if not known:
        return None
    one = "the one" if len(known) == 1 else "those"
    return f"{name}: its sha256 differs from {one} that MMSA published ({', '.join(known)})"
