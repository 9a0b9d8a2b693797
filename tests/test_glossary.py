"""The words that `docs/glossary.md` replaces stand nowhere in the code and the documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project_files import project_files

ROOT = Path(__file__).resolve().parent.parent

# What is replaced, as a pattern -> the word of the glossary.
REPLACED = {
    r"plain training": "baseline, or ERM",
    r"readings|\b(a|the|one|each|every|this|same|other|another|no) reading\b": "test-set access",
    # A file may be damaged; the inputs of a model are corrupted.
    r"\b(under|same|every|each) damage\b|\bundamaged\b|\bdamaged? (input|feature|sample|to )": (
        "corruption"
    ),
    r"\bexhibits?\b": "artifact",
    r"\bconduct(s|ed|ing|or)?\b": "runner, to run",
    r"(what|that) training (saw|has seen)": "out-of-distribution score",
    r"\bPlaces\b": "path",
    r"\bdomains?\b": "environment",
    r"\baugment(s|ed|ation|ations)?\b": "view",
    r"\bregulari[sz]ers?\b": "penalty",
    r"\bvariants?\b": "arm",
    r"\bmock(s|ed)?\b": "stand-in",
    r"\bthe full('s|,|\.| has\b)": "the full configuration",
    r"\bin place of the (file|configuration)'s": "instead of",
}

# What stays although it matches, each with its reason.
KEPT = {
    "heldout_readings": "a tag of registered models that other programs read",
    "training-domain validation": "the name of a rule in DomainBed",
    "In Search of Lost Domain": "the title of a paper",
}


def checked_files() -> list[Path]:
    wanted = [
        name
        for name in project_files()
        if name.startswith(("cmir/", "workflows/", "benchmarks/", "experiments/", "search_spaces/"))
        or (name.endswith(".md") and name != "docs/glossary.md")
    ]
    return [
        ROOT / name for name in wanted if name.endswith((".py", ".md", ".j2", ".yaml", ".json"))
    ]


def replaced_words(text: str) -> Iterator[tuple[int, str, str]]:
    """Number of the line, what stands there, and the word of the glossary."""
    for number, line in enumerate(text.splitlines(), 1):
        for kept in KEPT:
            line = line.replace(kept, "")
        for pattern, word in REPLACED.items():
            # A class is told from a verb by its capital.
            flags = 0 if "Places" in pattern else re.IGNORECASE
            for found in re.finditer(pattern, line, flags):
                yield number, found[0], word


def test_the_words_that_the_glossary_replaces_stand_nowhere() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: '{said}' should be '{word}'"
        for path in checked_files()
        if path.is_file()
        for number, said, word in replaced_words(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_every_exception_still_stands_somewhere() -> None:
    everything = "\n".join(path.read_text(encoding="utf-8") for path in checked_files())
    assert [kept for kept in KEPT if kept not in everything] == []


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("judged against plain training", "baseline, or ERM"),
        ("Each reading is counted.", "test-set access"),
        ("the same damage for all models", "corruption"),
        ("one variant of the model", "arm"),
    ],
)
def test_a_replaced_word_is_found(line: str, word: str) -> None:
    assert [found[2] for found in replaced_words(line)] == [word]


@pytest.mark.parametrize("line", ["the invariant part", "heldout_readings", "without reading it"])
def test_other_words_pass(line: str) -> None:
    assert list(replaced_words(line)) == []
