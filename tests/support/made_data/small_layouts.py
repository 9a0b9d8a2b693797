"""Small files in the layouts of MAG-BERT, CLUE, HKT, UR-FUNNY and MultiBench."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {"train": 60, "dev": 20, "test": 20}


def vectors(rng: np.random.Generator, steps: int, size: int) -> np.ndarray:
    return rng.normal(size=(steps, size))


def mag_sample(name: str, index: int, *, word_numbers: bool = False) -> tuple[Any, ...]:
    """One sample of MAG-BERT; with word numbers one of MISA and CLUE."""
    rng = np.random.default_rng([len(name), index])
    steps = int(rng.integers(1, 9))
    words = [f"{name}{index}w{step}" for step in range(steps)]
    content: tuple[Any, ...] = (words, vectors(rng, steps, 4), vectors(rng, steps, 6))
    if word_numbers:
        content = (np.arange(steps), *content[1:], words)
    label = np.array([[rng.uniform(-3, 3)]], np.float32)
    return content, label, f"{name}v{index % 12}[{index}]"


def mag_content(**options: bool) -> dict[str, list[tuple[Any, ...]]]:
    return {name: [mag_sample(name, i, **options) for i in range(n)] for name, n in SIZES.items()}


def write_clue(folder: Path, sizes: dict[str, int] | None = None) -> Path:
    """CLUE's four files: every video has samples in each of them."""
    folder.mkdir()
    sizes = sizes or {"train": 120, "dev": 24, "test_IID": 24, "test_OOD": 36}
    for place, (name, count) in enumerate(sizes.items()):
        samples = []
        for index in range(count):
            content, label, _ = mag_sample(name, index, word_numbers=True)
            samples.append((content, label, f"v{index % 24}[{1000 * place + index}]"))
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(samples, 2))
    (folder / "embedding_and_mapping.pt").write_bytes(b"vectors of another program")
    return folder


def hkt_sample(name: str, index: int, sizes: tuple[int, int] = (91, 81)) -> tuple[Any, ...]:
    rng = np.random.default_rng([7, len(name), index])
    context, punchline = int(rng.integers(0, 6)), int(rng.integers(1, 5))

    def part(words: Any, steps: int) -> tuple[Any, ...]:
        streams = (vectors(rng, steps, sizes[0]), vectors(rng, steps, sizes[1]))
        return (words, *streams, vectors(rng, steps, 4))

    return (
        part("so that was it", punchline),
        part(["first a sentence", "then another"] if context else [], context),
        f"{name}_{index}",
        index % 2,
    )


def hkt_content() -> dict[str, list[tuple[Any, ...]]]:
    return {name: [hkt_sample(name, i) for i in range(n)] for name, n in SIZES.items()}


def write_ur_funny(folder: Path) -> Path:
    """The features of UR-FUNNY V2, one pickle for each kind."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    ids = list(range(sum(SIZES.values())))
    folds: dict[str, Any] = {}
    language: dict[int, Any] = {}
    audio: dict[int, Any] = {}
    vision: dict[int, Any] = {}
    start = 0
    for name, count in SIZES.items():
        folds[name] = ids[start : start + count]
        start += count
    for own in ids:
        lengths = [int(n) for n in rng.integers(1, 4, rng.integers(0, 3))]
        last = int(rng.integers(1, 4))
        language[own] = {
            "punchline_embedding_indexes": rng.integers(0, 50, last).tolist(),
            "context_embedding_indexes": [rng.integers(0, 50, n).tolist() for n in lengths],
            "punchline_sentence": f"punchline {own}",
            "context_sentences": [f"sentence {n}" for n in range(len(lengths))],
        }
        for content, size in ((audio, 81), (vision, 371)):
            content[own] = {
                "punchline_features": vectors(rng, last, size).tolist(),
                "context_features": [vectors(rng, n, size) for n in lengths],
            }
    content_of: dict[str, Any] = {
        "data_folds": folds,
        "language_sdk": language,
        "covarep_features_sdk": audio,
        "openface_features_sdk": vision,
        "humor_label_sdk": {own: own % 2 for own in ids},
        "word_embedding_list": [vectors(rng, 1, 300)[0] for _ in range(50)],
    }
    for name, own_content in content_of.items():
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(own_content, 2))
    return folder


def multibench_content(low: int = 0) -> dict[str, dict[str, Any]]:
    """Arrays of 6 steps that begin with zeros, labels `low` and 1 of shape (N, 1)."""
    content = {}
    for name, count in {"train": 60, "valid": 20, "test": 20}.items():
        rng = np.random.default_rng([len(name), 5])
        lengths = rng.integers(1, 7, count)
        split: dict[str, Any] = {}
        for key, size in (("text", 8), ("audio", 5), ("vision", 4)):
            array = rng.normal(size=(count, 6, size)).astype(np.float32)
            array[np.arange(6) < 6 - lengths[:, None]] = 0
            split[key] = array
        split["labels"] = np.where(np.arange(count)[:, None] % 2, 1, low)
        split["id"] = np.array([[f"{name}{index}"] for index in range(count)])
        content[name] = split
    return content
