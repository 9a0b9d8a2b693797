"""Ids of every form go through one function: unique, and clips of one video stay together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cmir.data import load_dataset
from cmir.data.formats.inspection.sample_ids import SampleIds, sample_ids
from cmir.data.formats.readers import mag, mmsa, read_source
from cmir.data.preparing import prepare
from tests.support.made_data.small_data import mmsa_content, mmsa_split, write_npz, write_pickle

VIDEOS = {"train": 12, "valid": 5, "test": 5}


def of(form: Callable[[str, int], Any]) -> dict[str, list[Any]]:
    """Ids of 12, 5 and 5 videos with three clips each."""
    return {
        name: [form(f"{name[:2]}V-{video}x", clip) for video in range(count) for clip in range(3)]
        for name, count in VIDEOS.items()
    }


def videos_of(found: SampleIds) -> set[str]:
    return {video for own in found.videos.values() for video in own}


@pytest.mark.parametrize(
    "form",
    [
        "{}$_${}",
        "{}[{}]",
        "{}_{}",
        "{}-{}",
        "{}/{}",
        "{}/{}.mp4",
        "{}_utt{}",
        "{}_F00{}",
        "{}#{}",
        "{}:{}",
    ],
)
def test_clips_of_a_video_are_known(form: str) -> None:
    found = sample_ids(of(form.format))
    assert videos_of(found) == {
        f"{name[:2]}V-{video}x" for name, count in VIDEOS.items() for video in range(count)
    }
    every = [value for own in found.ids.values() for value in own]
    assert len(set(every)) == len(every) == 66


def test_brackets_are_written_as_the_field_writes_them() -> None:
    found = sample_ids({"train": ["a[0]", "b$_$7"], "id_val": ["a[1][2]"]})
    assert found.ids == {"train": ["a$_$0", "b$_$7"], "id_val": ["a[1]$_$2"]}
    assert found.videos == {"train": ["a", "b"], "id_val": ["a[1]"]}


def test_one_odd_id_is_a_video_of_its_own() -> None:
    found = sample_ids({"train": ["a[0]", "a[1]", "intro"], "id_val": ["b[0]"]})
    assert found.videos["train"] == ["a", "a", "intro"]
    assert found.notes == ("1 of 4 ids name no clip: each counts as a video of its own",)


def test_repeated_ids_are_videos_in_every_reader(tmp_path: Path) -> None:
    content = mmsa_content()
    for name, split in content.items():
        split["id"] = [f"{name}{i % 4}" for i in range(len(split["id"]))]
    source = mmsa(write_pickle(tmp_path / "a.pkl", content))
    assert source.samples["id"][:5].to_list() == [
        "train0$_$0", "train1$_$0", "train2$_$0", "train3$_$0", "train0$_$1"
    ]  # fmt: skip
    assert source.samples["video"].n_unique() == 12
    sample = ((["a"], np.ones((1, 2)), np.ones((1, 3))), 1.0, "clip")
    lists = {"train": [sample] * 2, "dev": [sample]}
    words = mag(write_pickle(tmp_path / "b.pkl", lists))
    assert words.samples["id"].to_list() == ["clip$_$0", "clip$_$1", "clip$_$2"]


@pytest.mark.parametrize("form", ["{}", "row{}", "{}.0"])
def test_row_numbers_that_restart_are_told_apart_by_their_split(form: str) -> None:
    found = sample_ids({n: [form.format(i) for i in range(5)] for n in ("train", "id_val")})
    assert found.ids["id_val"][0] == f"id_val_{form.format(0)}"
    assert not found.videos
    assert "restart in every split" in found.notes[0]


def test_dialogues_that_restart_keep_their_utterances_together() -> None:
    ids = [f"dia{i // 4}_utt{i % 4}" for i in range(16)]
    found = sample_ids({"train": ids, "id_val": ids})
    assert found.videos["train"][:5] == [*["train_dia0"] * 4, "train_dia1"]
    assert set(found.videos["train"]).isdisjoint(found.videos["id_val"])


@pytest.mark.parametrize(
    "ids",
    [
        {n: [f"{n}_{i}" for i in range(9)] for n in ("train", "valid", "test", "ood", "more")},
        {"train": [f"s{i}" for i in range(9)]},
        {"train": [f"{i:x}_{i}" for i in range(9)]},
        {"train": ["a_1", "a_2", "b"]},
    ],
)
def test_ids_that_only_look_like_clips_tell_no_video(ids: dict[str, list[str]]) -> None:
    assert sample_ids(ids) == SampleIds(ids)


def test_tuples_numbers_and_bytes_of_latin_1_are_ids(tmp_path: Path) -> None:
    content = mmsa_content()
    for name, split in content.items():
        rows = range(len(split["id"]))
        split["id"] = [(f"{name}é{i % 4}".encode("latin-1"), np.int64(i)) for i in rows]
    samples = mmsa(write_pickle(tmp_path / "a.pkl", content)).samples
    assert samples.row(0, named=True)["id"] == "trainé0$_$0"
    assert set(samples["video"]) == {f"{n}é{i}" for n in content for i in range(4)}


def test_a_file_without_ids_is_numbered_and_says_so(tmp_path: Path) -> None:
    content = mmsa_content()
    for split in content.values():
        del split["id"]
    source = mmsa(write_pickle(tmp_path / "a.pkl", content))
    assert source.samples["id"][40] == "id_val_0"
    assert any("rows were numbered" in note for note in source.notes)


@pytest.mark.parametrize("form", ["{}[{}]", "{}_{}"])
@pytest.mark.parametrize("reader", ["mmsa", "npz"])
def test_no_video_lies_in_two_splits_after_a_shift(tmp_path: Path, form: str, reader: str) -> None:
    content = {name: mmsa_split(name, count * 8, count) for name, count in VIDEOS.items()}
    for split in content.values():
        split["id"] = [form.format(*value.split("$_$")) for value in split["id"]]
    write = write_pickle if reader == "mmsa" else write_npz
    prepare(write(tmp_path / f"a.{reader}", content), tmp_path / "out", reader=reader)
    table = load_dataset(tmp_path / "out").metadata
    held = set(table.filter(pl.col("split") == "ood_val")["video"])
    assert held
    assert held.isdisjoint(table.filter(pl.col("split") != "ood_val")["video"])


def test_texts_with_half_a_character_are_read(tmp_path: Path) -> None:
    content = mmsa_content()
    halves = ["caf\udce9", "\ud83d\ude00", "\ud83d?", "\udcff\udcfe", b"na\xefve", "plain"]
    content["train"]["raw_text"] = [*halves, *["words"] * 34]
    content["train"]["id"][0] = "vid\udce9o$_$1"
    file = write_pickle(tmp_path / "a.pkl", content)
    prepare(file, tmp_path / "out", reader="mmsa")
    table = load_dataset(tmp_path / "out").metadata
    texts = read_source("mmsa", [file]).samples["raw_text"].to_list()
    assert texts[:6] == ["café", "😀", "�?", "ÿþ", "naïve", "plain"]
    assert "vidéo$_$1" in table["id"].to_list()
