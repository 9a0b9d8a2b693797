"""Lists of samples by word: every part arrives at its sample, and each odd one is told."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmir.data.formats.readers import mag
from cmir.data.formats.source import Source
from cmir.data.task import SENTIMENT
from cmir.errors import InputError
from tests.support.made_data.small_layouts import mag_content, mag_sample, write_clue


def written(file: Path, content: object, protocol: int = 4) -> Path:
    file.write_bytes(pickle.dumps(content, protocol))
    return file


def rows(source: Source, name: str) -> np.ndarray:
    return np.concatenate(list(source.blocks(name)))


@pytest.mark.parametrize("word_numbers", [False, True])
def test_every_part_of_a_sample_is_kept(tmp_path: Path, word_numbers: bool) -> None:
    content = mag_content(word_numbers=word_numbers)
    source = mag(written(tmp_path / "mosi.pkl", content))
    samples = [sample for split in content.values() for sample in split]
    vision, audio = rows(source, "vision"), rows(source, "audio")
    assert (vision.shape[1:], audio.shape[1:]) == ((8, 4), (8, 6))
    assert source.task == SENTIMENT
    for place, (parts, label, segment) in enumerate(samples):
        own = source.samples.row(place, named=True)
        video, _, clip = segment.rstrip("]").partition("[")
        assert (own["id"], own["video"]) == (f"{video}$_${clip}", video)
        assert own["label"] == label[0, 0]
        assert own["raw_text"] == " ".join(parts[3] if word_numbers else parts[0])
        assert own["vision_length"] == own["audio_length"] == len(parts[1])
        for found, wanted in ((vision, parts[1]), (audio, parts[2])):
            np.testing.assert_array_equal(found[place, : len(wanted)], wanted.astype(np.float32))
            assert not found[place, len(wanted) :].any()
    assert source.samples["split"].value_counts().sort("split").rows() == [
        ("id_test", 20), ("id_val", 20), ("train", 60)
    ]  # fmt: skip
    assert "no language vectors" in source.notes[-1]


def test_of_several_labels_the_first_is_the_sentiment(tmp_path: Path) -> None:
    content = mag_content()
    for split in content.values():
        split[:] = [(parts, np.array([[y[0, 0], 9, 9]]), name) for parts, y, name in split]
    labels = mag(written(tmp_path / "mosei.pkl", content)).samples["label"].to_numpy()
    assert np.abs(labels).max() <= 3.0


def test_python_2_files_with_bytes_are_read(tmp_path: Path) -> None:
    content = {
        key.encode(): [
            (([word.encode() for word in words], v, a), y, name.encode())
            for (words, v, a), y, name in samples
        ]
        for key, samples in mag_content().items()
    }
    source = mag(written(tmp_path / "mosi.pkl", content, 2))
    expected = mag(written(tmp_path / "text.pkl", mag_content()))
    assert source.samples.equals(expected.samples)


@pytest.mark.parametrize("as_folder", [True, False])
def test_the_four_files_of_clue_become_our_splits(tmp_path: Path, as_folder: bool) -> None:
    folder = write_clue(tmp_path / "split_dataset_2")
    names = ("train", "dev", "test_IID", "test_OOD")
    paths = [folder] if as_folder else [folder / f"{name}.pkl" for name in names]
    source = mag(*paths)
    counts = dict(source.samples["split"].value_counts().iter_rows())
    assert counts == {"train": 120, "id_val": 24, "id_test": 24, "ood_test": 36}
    assert source.left_out == (("embedding_and_mapping.pt",) if as_folder else ())


def test_repeated_segments_are_videos_and_their_clips_are_numbered(tmp_path: Path) -> None:
    content = mag_content()
    for samples in content.values():
        samples[:] = [(parts, y, name.partition("[")[0]) for parts, y, name in samples]
    source = mag(written(tmp_path / "mosi.pkl", content))
    assert source.samples["id"].n_unique() == 100
    assert source.samples.row(12, named=True)["id"] == "trainv0$_$1"
    assert source.samples["video"].n_unique() == 36


def test_words_that_are_numbers_alone_give_no_text(tmp_path: Path) -> None:
    content = mag_content(word_numbers=True)
    for samples in content.values():
        samples[:] = [(parts[:3], y, name) for parts, y, name in samples]
    source = mag(written(tmp_path / "mosi.pkl", content))
    assert "raw_text" not in source.samples.columns


def broken(change: Callable[[Any], Any]) -> dict[str, list[Any]]:
    content: dict[str, list[Any]] = mag_content()
    content["dev"][3] = change(content["dev"][3])
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (broken(lambda s: s[:2]), "dev: sample 3: must be .*, label, segment.*is a tuple of 2"),
        (broken(lambda s: (s[0][:2], *s[1:])), "dev: sample 3: must be .*visual, acoustic"),
        (broken(lambda s: (s[0], "good", s[2])), "sample 3: label must be a number, .* 'good'"),
        (broken(lambda s: (s[0], [], s[2])), "sample 3: label must be a number, but is a list of"),
        (
            broken(lambda s: ((s[0][0], s[0][1][0], s[0][2]), *s[1:])),
            r"visual must be an array \(words, features\), but is an array float64 \(4,\)",
        ),
        (
            broken(lambda s: ((s[0][0], np.ones((99, 4)), s[0][2]), *s[1:])),
            "visual and acoustic must have one row for each word, but have 99 and",
        ),
        ({"train": {}, "dev": []}, "train: must be a list of samples .* but is dict"),
        ({"train": [mag_sample("a", 1)]}, "split named valid or dev, but there are only train"),
        ([1, 2], "must hold a dict of splits, or be one of several files"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(InputError, match=rf"mosi\.pkl: .*{message}"):
        mag(written(tmp_path / "mosi.pkl", content))


def test_one_odd_sample_is_absent_and_named(tmp_path: Path) -> None:
    values: list[Any] = [np.ones((6, 3)), np.empty((0, 4)), None, []]
    for odd in values:
        content: dict[str, list[Any]] = mag_content()
        (words, _, acoustic), label, _ = content["dev"][3]
        content["dev"][3] = ((words, odd, np.resize(acoustic, (6, 3))), label, "odd[3]")
        source = mag(written(tmp_path / "mosi.pkl", content))
        row = source.samples["id"].to_list().index("odd$_$3")
        vision = np.concatenate(list(source.blocks("vision")))
        assert not vision[row].any()
        assert any("vision: 1 sample is absent" in n and "odd$_$3" in n for n in source.notes)


def test_files_not_named_by_a_split_are_refused(tmp_path: Path) -> None:
    folder = write_clue(tmp_path / "clue")
    other = written(tmp_path / "more.pkl", [])
    with pytest.raises(InputError, match=r"more\.pkl: a file must be named by its split"):
        mag(folder / "train.pkl", other)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: a file must be named by its split"):
        mag(tmp_path / "empty")


def test_steps_of_several_lengths_are_refused_with_the_sample(tmp_path: Path) -> None:
    content: dict[str, list[Any]] = mag_content()
    (words, _, acoustic), label, name = content["dev"][3]
    content["dev"][3] = ((words, [1, [2, 3], "a"], acoustic), label, name)
    with pytest.raises(InputError, match="dev: sample 3: visual must be an array"):
        mag(written(tmp_path / "mosi.pkl", content))
