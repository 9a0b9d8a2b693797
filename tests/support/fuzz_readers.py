"""Broken files for the readers: nothing but an `InputError` may come of one, and nothing may run.

Long run: `python -m tests.support.fuzz_readers --minutes 30`. A case that fails is shrunk and
printed; it is to become a test in `tests/data/formats/test_fuzzing.py`.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import pickle
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from cmir.data.formats.readers import read_source
from cmir.data.preparing import prepare
from cmir.errors import InputError
from cmir.serving.requests import Accepted, Expected, read_request
from cmir.serving.score_files import _read_json
from cmir.serving.sentences import SENTENCES, sentences_of
from cmir.space.space_file import read_sweep_file
from tests.support.made_data.small_data import mmsa_content
from tests.support.made_data.small_layouts import hkt_content, mag_content

SIZES = {"train": 6, "valid": 4, "test": 4}
FORBIDDEN = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "socket.connect")
EXPECTED = {"text": Expected(3, True), "vision": Expected(2, False)}
SPACE = Path(__file__).resolve().parents[2] / "search_spaces"
# What a forged pickle would like to call.
CALLS = (b"cos\nsystem\n(S'true'\ntR.", b"cbuiltins\neval\n(S'1'\ntR.", b"cnumpy\nload\n(S'x'\ntR.")

_watched: list[str] = []
_is_watching = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _is_watching and event in FORBIDDEN:
        _watched.append(event)


sys.addaudithook(_hook)


@contextlib.contextmanager
def nothing_runs() -> Iterator[None]:
    """Refuses every failure but an `InputError`, and every call into the system."""
    global _is_watching
    _watched.clear()
    _is_watching = True
    try:
        with contextlib.suppress(InputError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _is_watching = False
    assert not _watched, f"a file made the reader call {_watched}"


@st.composite
def values(draw: Any) -> Any:
    """Something that may lie under a key of a split, in the place of what should."""
    count = draw(st.integers(0, 7))
    kind = draw(st.integers(0, 13))
    shape = (count, *draw(st.lists(st.integers(0, 4), max_size=3)))
    dtype = draw(st.sampled_from(["f4", "f8", ">f2", "i8", "u1", "?", "U3", "S2", "c8", "M8[s]"]))
    filled = np.ones(shape, "f4") * draw(st.sampled_from([0.0, 1.0, -1.0, np.nan, np.inf, 1e38]))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = filled.astype("i8").astype(dtype) if dtype == "M8[s]" else filled.astype(dtype)
    item = draw(st.sampled_from([None, "a", b"\xff", "\ud800", 1, 2.5, [], {}, (1, "b"), array]))
    objects = [item] * 3 if not isinstance(item, np.ndarray) else [0]
    made: list[Any] = [
        array,
        [array] * count,
        list(array),
        [item] * count,
        item,
        dict.fromkeys(range(count), item),
        (item, array) * 3,
        np.array(objects, object),
        [f"v{i % 2}[{i}]" for i in range(count)],
        [f"v_{i}" for i in range(count)],
        np.arange(count),
        [None] * count,
        [[1.0] * i for i in range(count)],
        {1, 2},
    ]
    return made[kind]


@st.composite
def contents(draw: Any) -> Any:
    """The content of a pickle: a layout that is known, with some values replaced."""
    kind = draw(st.sampled_from(["mmsa", "mmsa", "mmsa", "mag", "hkt", "value"]))
    if kind == "value":
        return draw(values())
    content: dict[Any, Any] = _known(kind)
    for _ in range(draw(st.integers(0, 3))):
        split = draw(st.sampled_from(sorted(content, key=str)))
        if isinstance(content[split], dict):
            key = draw(st.sampled_from([*content[split], "face", "speaker", "labels", b"id", 3]))
            content[split][key] = draw(values())
        elif isinstance(content[split], list) and content[split]:
            place = draw(st.integers(0, len(content[split]) - 1))
            content[split][place] = _replaced(draw, content[split][place])
        if draw(st.integers(0, 9)) == 0:
            content[draw(st.sampled_from(["more", b"dev", 1, split]))] = content.pop(split)
            break
    return content


def _known(kind: str) -> dict[str, Any]:
    if kind == "mmsa":
        return dict(mmsa_content(**SIZES))
    lists = mag_content() if kind == "mag" else hkt_content()
    return {name: own[:4] for name, own in lists.items()}


def _replaced(draw: Any, value: Any) -> Any:
    """A tuple or list with one value of it, at some depth, replaced."""
    if not isinstance(value, list | tuple) or not value or draw(st.integers(0, 3)) == 0:
        return draw(values())
    place = draw(st.integers(0, len(value) - 1))
    changed = list(value)
    changed[place] = _replaced(draw, changed[place])
    return tuple(changed) if isinstance(value, tuple) else changed


@st.composite
def damaged(draw: Any, raw: bytes) -> bytes:
    """Bytes with some cut out, put in, changed or repeated."""
    found = bytearray(raw)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(0, len(found) - 1)))
        size = draw(st.integers(0, 12))
        new = draw(st.binary(max_size=6) | st.sampled_from([*CALLS, b"\r\n", b"R", b"b", b"Q"]))
        if draw(st.booleans()):
            found[place : place + size] = new
        else:
            found[place : place + len(new)] = new
    return bytes(found)


def _read(reader: str, name: str, raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(raw)
        with nothing_runs():
            source = read_source(reader, [file])
            for modality in source.parts:
                list(source.blocks(modality))


def pickles(data: Any) -> None:
    """Known layouts with odd values, whole or damaged."""
    raw = pickle.dumps(data.draw(contents()), data.draw(st.integers(0, 5)))
    if data.draw(st.booleans()):
        raw = data.draw(damaged(raw))
    _read(data.draw(st.sampled_from(["mmsa", "mmsa", "mag", "funny"])), "a.pkl", raw)


def prepared(data: Any) -> None:
    """A whole preparation of odd values."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.pkl"
        file.write_bytes(pickle.dumps(data.draw(contents())))
        with nothing_runs():
            prepare(file, Path(folder) / "out", reader="mmsa")


def archives(data: Any) -> None:
    """`.npz` files of odd values, damaged."""
    content = mmsa_content(**SIZES)
    split = data.draw(st.sampled_from(sorted(content)))
    content[split][data.draw(st.sampled_from([*content[split], "face"]))] = data.draw(values())
    stream = io.BytesIO()
    arrays = {f"{s}/{k}": v for s, own in content.items() for k, v in own.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.savez(stream, **arrays)
    except (ValueError, TypeError, UnicodeError):
        return
    raw = stream.getvalue()
    _read("npz", "a.npz", data.draw(damaged(raw)) if data.draw(st.booleans()) else raw)


def folders(data: Any) -> None:
    """A Parquet table and arrays, with odd columns or damaged."""
    count = data.draw(st.integers(1, 8))
    cells: dict[str, Any] = {
        "id": [f"v[{i}]" for i in range(count)],
        "split": (["train", "valid"] * count)[:count],
        "label": [0.5] * count,
        "audio_length": [1] * count,
    }
    odd: list[Any] = [None, "a", 1, 2.5, [1, 2], b"\xff", {"a": 1}, float("nan"), True]
    for _ in range(data.draw(st.integers(0, 3))):
        name = data.draw(st.sampled_from([*cells, "speaker", "raw_text"]))
        cells[name] = [data.draw(st.sampled_from(odd))] * count
    raw = io.BytesIO()
    pl.DataFrame(cells, strict=False).write_parquet(raw)
    table = raw.getvalue()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "a.parquet").write_bytes(
            data.draw(damaged(table)) if data.draw(st.booleans()) else table
        )
        array = io.BytesIO()
        np.save(array, np.ones((count, 3, 2), data.draw(st.sampled_from(["f4", "i4", "U1"]))))
        array_raw = array.getvalue()
        (folder / "audio.npy").write_bytes(
            data.draw(damaged(array_raw)) if data.draw(st.booleans()) else array_raw
        )
        with nothing_runs():
            source = read_source("folder", [folder])
            for modality in source.parts:
                list(source.blocks(modality))


def _json() -> Any:
    leaves = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=3)
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=12,
    )


def requests(data: Any) -> None:
    """Requests to a served model, as values and as JSON text."""
    vectors = st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), max_size=3)
    keys = st.sampled_from(["text", "vision", "text_lengths", "audio", "text_length"])
    asked = data.draw(st.dictionaries(keys, _json() | vectors, max_size=4) | _json())
    with nothing_runs():
        optional = data.draw(st.sampled_from([(), ("vision",)]))
        read_request(asked, Accepted(EXPECTED, optional=optional))
    sentences = st.text(max_size=3) | st.lists(_json() | vectors, max_size=3) | _json()
    with nothing_runs():
        sentences_of({data.draw(st.sampled_from(SENTENCES)): data.draw(sentences)})
    raw = json.dumps(asked).encode()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.json"
        file.write_bytes(data.draw(damaged(raw)))
        with nothing_runs():
            read_request(_read_json(file), Accepted(EXPECTED))


def spaces(data: Any) -> None:
    """Sweep files with odd values, damaged."""
    text = data.draw(st.sampled_from(sorted(SPACE.glob("*.yaml")))).read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    for _ in range(data.draw(st.integers(0, 2))):
        where = content
        key = data.draw(st.sampled_from([*content, "more"]))
        while isinstance(where.get(key), dict) and where[key] and data.draw(st.booleans()):
            where = where[key]
            key = data.draw(st.sampled_from(sorted(where, key=str)))
        where[key] = data.draw(_json())
    raw = yaml.safe_dump(content).encode()
    tags = st.sampled_from(
        [b"!!python/object/apply:os.system ['true']", b"*a", b"&a ", b"- ", b": "]
    )
    if data.draw(st.booleans()):
        raw = data.draw(damaged(raw))
    if data.draw(st.booleans()):
        raw += b"\nmore: " + data.draw(tags)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.yaml"
        file.write_bytes(raw)
        with nothing_runs():
            read_sweep_file(file)


TARGETS: dict[str, Callable[..., None]] = {
    one.__name__: one for one in (pickles, prepared, archives, folders, requests, spaces)
}


def run(name: str, examples: int, *, repeatable: bool) -> None:
    """Tries a target with so many files; a repeatable run draws the same ones every time."""
    chosen = settings(
        max_examples=examples,
        derandomize=repeatable,
        database=None,
        deadline=None,
        print_blob=True,
        phases=(Phase.generate,) if repeatable else (Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    chosen(given(st.data())(TARGETS[name]))()


def main() -> int:
    """Tries all targets in turn until the time is up; 1 as soon as one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="default: 30")
    parser.add_argument("--only", choices=TARGETS, action="append", help="these targets alone")
    chosen = parser.parse_args()
    end, counts = time.monotonic() + 60 * chosen.minutes, dict.fromkeys(TARGETS, 0)
    while time.monotonic() < end:
        for name in chosen.only or TARGETS:
            run(name, 200, repeatable=False)
            counts[name] += 200
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
