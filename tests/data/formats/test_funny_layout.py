"""UR-FUNNY and MUStARD in their three published layouts."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmir.data.formats.readers import funny
from cmir.data.formats.source import Source
from cmir.data.task import Task
from cmir.errors import InputError
from tests.support.made_data.small_layouts import (
    hkt_content,
    hkt_sample,
    multibench_content,
    write_ur_funny,
)


def written(file: Path, content: object, protocol: int = 4) -> Path:
    file.write_bytes(pickle.dumps(content, protocol))
    return file


def rows(source: Source, name: str) -> np.ndarray:
    return np.concatenate(list(source.blocks(name)))


def test_hkt_joins_context_and_punchline_and_keeps_its_features(tmp_path: Path) -> None:
    content = hkt_content()
    source = funny(written(tmp_path / "ur_funny.pkl", content))
    assert source.task == Task("binary")
    assert {name: source.parts[name][0].shape[-1] for name in source.parts} == {
        "vision": 36, "audio": 60, "humour": 4
    }  # fmt: skip
    samples = [sample for split in content.values() for sample in split]
    found = {name: rows(source, name) for name in source.parts}
    for place, (punchline, context, name, label) in enumerate(samples):
        own = source.samples.row(place, named=True)
        assert (own["id"], own["label"]) == (name, label)
        assert own["raw_text"] == " ".join([*context[0], punchline[0]])
        for stream, key, kept in ((1, "vision", slice(55, 91)), (2, "audio", slice(0, 60)),
                                  (3, "humour", slice(0, 4))):  # fmt: skip
            whole = np.concatenate([context[stream], punchline[stream]])[:, kept]
            assert own[f"{key}_length"] == len(whole)
            np.testing.assert_array_equal(found[key][place, : len(whole)], whole.astype(np.float32))
            assert not found[key][place, len(whole) :].any()


def test_features_of_other_sizes_are_all_kept(tmp_path: Path) -> None:
    content = {name: [hkt_sample(name, i, (36, 60)) for i in range(8)] for name in ("train", "dev")}
    source = funny(written(tmp_path / "mustard.pkl", content))
    assert source.parts["vision"][0].shape[-1] == 36
    assert source.parts["audio"][0].shape[-1] == 60


def test_long_samples_lose_the_beginning_of_their_context(tmp_path: Path) -> None:
    file = written(tmp_path / "ur_funny.pkl", hkt_content())
    whole, cut = funny(file), funny(file, steps=3)
    assert cut.parts["humour"][0].shape[1] == 3
    before, after = rows(whole, "humour"), rows(cut, "humour")
    for place, length in enumerate(whole.samples["humour_length"]):
        kept = before[place, max(0, length - 3) : length]
        np.testing.assert_array_equal(after[place, : len(kept)], kept)
    assert cut.samples["humour_length"].max() == 3


def test_the_features_of_ur_funny_are_looked_up_by_word(tmp_path: Path) -> None:
    folder = write_ur_funny(tmp_path / "urfunny")
    source = funny(folder)
    assert {name: source.parts[name][0].shape[-1] for name in source.parts} == {
        "text": 300, "audio": 81, "vision": 371
    }  # fmt: skip
    language = pickle.loads((folder / "language_sdk.pkl").read_bytes())
    vectors = pickle.loads((folder / "word_embedding_list.pkl").read_bytes())
    audio = pickle.loads((folder / "covarep_features_sdk.pkl").read_bytes())
    text, sound = rows(source, "text"), rows(source, "audio")
    for place, name in enumerate(source.samples["id"]):
        own = language[int(name)]
        places = [*own["context_embedding_indexes"], own["punchline_embedding_indexes"]]
        wanted = np.array([vectors[n] for part in places for n in part], np.float32)
        np.testing.assert_array_equal(text[place, : len(wanted)], wanted)
        heard = audio[int(name)]
        parts = [*heard["context_features"], heard["punchline_features"]]
        wanted = np.concatenate([np.asarray(part) for part in parts]).astype(np.float32)
        np.testing.assert_array_equal(sound[place, : len(wanted)], wanted)
        assert source.samples["audio_length"][place] == len(wanted)
        assert source.samples["raw_text"][place].endswith(f"punchline {name}")
        assert source.samples["label"][place] == int(name) % 2


def test_the_first_version_of_ur_funny_has_another_name_for_its_words(tmp_path: Path) -> None:
    folder = write_ur_funny(tmp_path / "urfunny")
    expected = funny(folder).samples
    (folder / "language_sdk.pkl").rename(folder / "word_embedding_indexes_sdk.pkl")
    assert funny(folder).samples.equals(expected)


def test_without_word_vectors_there_is_no_language(tmp_path: Path) -> None:
    folder = write_ur_funny(tmp_path / "urfunny")
    (folder / "word_embedding_list.pkl").unlink()
    assert set(funny(folder).parts) == {"audio", "vision"}


@pytest.mark.parametrize("low", [0, -1])
def test_multibench_samples_move_to_the_front(tmp_path: Path, low: int) -> None:
    content = multibench_content(low)
    source = funny(written(tmp_path / "humor.pkl", content))
    assert set(source.samples["label"]) == {0.0, 1.0}
    for name in ("text", "audio", "vision"):
        found = rows(source, name)
        given = np.concatenate([split[name] for split in content.values()])
        for place, length in enumerate(source.samples[f"{name}_length"]):
            np.testing.assert_array_equal(found[place, :length], given[place, 6 - length :])
            assert not given[place, : 6 - length].any()
            assert not found[place, length:].any()
    assert source.samples["id"][0] == "train0"


def test_multibench_without_ids_numbers_its_samples(tmp_path: Path) -> None:
    content = multibench_content()
    for split in content.values():
        del split["id"]
    assert funny(written(tmp_path / "humor.pkl", content)).samples["id"][61] == "valid1"


def test_an_empty_multibench_sample_is_one_step_of_zeros(tmp_path: Path) -> None:
    content = multibench_content()
    content["train"]["text"][4] = 0
    source = funny(written(tmp_path / "sarcasm.pkl", content))
    assert source.samples["text_length"][4] == 1


def changed(change: Callable[[Any], Any]) -> dict[str, list[Any]]:
    content: dict[str, list[Any]] = hkt_content()
    content["dev"][2] = change(content["dev"][2])
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "must hold a dict of splits, train, dev and test, but holds list"),
        ({}, "must hold a dict of splits"),
        ({"train": 3}, "train: must be a list of samples, but is int"),
        (changed(lambda s: s[:3]), r"dev: sample 2: must be \(\(words, visual, acoustic, hcf\)"),
        (changed(lambda s: (s[0][:3], *s[1:])), "dev: sample 2: must be"),
        (changed(lambda s: (*s[:3], 2)), "dev: sample 2: label must be 0 or 1, or -1 for 0, but "),
        (changed(lambda s: (*s[:3], "yes")), "sample 2: label must be 0 or 1, .* is 'yes'"),
        (
            changed(lambda s: ((s[0][0], ["a"], *s[0][2:]), *s[1:])),
            r"sample 2: vision: must be an array \(words, features\)",
        ),
        (
            changed(lambda s: (s[0], (*s[0][:3], np.ones((2, 5))), *s[2:])),
            "sample 2: humour: context and punchline must have the same number .* 5 and 4",
        ),
        (
            {
                "train": [hkt_sample("a", 1), hkt_sample("a", 2, (35, 60))],
                "dev": [hkt_sample("b", 1)],
            },
            "train: vision: every sample must have the same number of features, .* 35, 36",
        ),
        ({"train": {"labels": [1]}, "dev": {}}, "train: must have labels and text"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(InputError, match=rf"funny\.pkl: .*{message}"):
        funny(written(tmp_path / "funny.pkl", content))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("humor_label_sdk", lambda c: c.pop(70), "70: must have 70, but has not. Complete it"),
        ("language_sdk", lambda c: c[70].pop("context_embedding_indexes"), "'context_embedding"),
        ("openface_features_sdk", lambda c: c[70].pop("punchline_features"), "'punchline_feat"),
        ("word_embedding_list", lambda c: c.pop(), "word numbers must be below 49"),
        ("humor_label_sdk", lambda c: c.update({70: 5}), "label must be 0 or 1"),
    ],
)
def test_ur_funny_features_that_do_not_fit_together_are_refused(
    tmp_path: Path, name: str, change: Callable[[Any], Any], message: str
) -> None:
    folder = write_ur_funny(tmp_path / "urfunny")
    content = pickle.loads((folder / f"{name}.pkl").read_bytes())
    change(content)
    written(folder / f"{name}.pkl", content)
    with pytest.raises(InputError, match=rf"urfunny: .*{message}"):
        funny(folder)


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    folder = write_ur_funny(tmp_path / "urfunny")
    (folder / "language_sdk.pkl").unlink()
    (folder / "data_folds.pkl").unlink()
    with pytest.raises(InputError, match=r"there is no data_folds\.pkl, language_sdk\.pkl"):
        funny(folder)
    written(folder / "language_sdk.pkl", {})
    written(folder / "data_folds.pkl", [])
    with pytest.raises(InputError, match=r"data_folds\.pkl: must hold a dict by id, but holds li"):
        funny(folder)


@pytest.mark.parametrize("labels", [np.zeros((0,)), 3.0, [1, [2, 3]], np.ones(1)])
def test_labels_that_are_not_one_a_sample_are_refused(tmp_path: Path, labels: Any) -> None:
    content = multibench_content()
    next(iter(content.values()))["labels"] = labels
    with pytest.raises(InputError, match=r"labels must have \d+ rows, as text has, but has"):
        funny(written(tmp_path / "humour.pkl", content))
