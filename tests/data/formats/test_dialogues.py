"""Conversations as the field publishes them: speakers and dialogues, and no dialogue is cut."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from cmir.data import load_dataset
from cmir.data.formats.readers import dialogues, mintrec
from cmir.data.preparing import prepare
from cmir.data.task import Task
from cmir.errors import InputError
from tests.support.made_data.small_data import write_pickle

MELD = ("neutral", "surprise", "fear", "sadness", "joy", "disgust", "anger")
M3ED = ("happy", "neutral", "sad", "disgust", "anger", "fear", "surprise")
IEMOCAP = ("happy", "sad", "neutral", "angry", "excited", "frustrated")
TURNS = 6
FIVE = {"text", "text2", "text3", "text4", "audio"}


def parts(keys: list[Any], classes: int, one_hot: bool = False) -> dict[str, Any]:
    """By name of the part; dialogue d has six turns, whose labels go round the classes."""
    rng = np.random.default_rng(0)
    rows = np.eye(9, dtype=int)[[0, 2]].tolist()
    speakers: list[Any] = rows if one_hot else ["M", "F"]
    return {
        "ids": {key: [f"{key}_{turn}" for turn in range(TURNS)] for key in keys},
        "speakers": {key: [speakers[turn % 2] for turn in range(TURNS)] for key in keys},
        "labels": {
            key: [(place + turn) % classes for turn in range(TURNS)]
            for place, key in enumerate(keys)
        },
        "text": {key: list(rng.normal(size=(TURNS, 5))) for key in keys},
        "audio": {key: rng.normal(size=(TURNS, 4)).tolist() for key in keys},
        "visual": {key: rng.normal(size=(TURNS, 3)).astype(np.float32) for key in keys},
        "sentences": {key: [f"turn {turn}" for turn in range(TURNS)] for key in keys},
    }


def iemocap(order: str = "ids speakers labels text audio visual sentences") -> tuple[Any, ...]:
    keys = [f"Ses0{1 + place % 5}F_impro{place:02d}" for place in range(40)]
    own = parts(keys, 6)
    return (*(own[name] for name in order.split()), set(keys[:32]), set(keys[32:]))


def meld() -> tuple[Any, ...]:
    keys = list(range(40))
    own = parts(keys, 7, one_hot=True)
    names = "ids speakers labels text audio sentences"
    sentiment = {key: [turn % 3 for turn in range(TURNS)] for key in keys}
    return (*(own[name] for name in names.split()), keys[:32], keys[32:], sentiment)


def m3ed() -> list[Any]:
    """Roles A and B, series in the names of dialogues, and validation before the test."""
    keys = [f"{series}_{number}" for series in ("anjia", "diedie") for number in range(10)]
    own = parts(keys, 7)
    own["speakers"] = {key: ["A", "B"] * (TURNS // 2) for key in keys}
    own["sentences"] = {key: np.array(texts) for key, texts in own["sentences"].items()}
    names = "ids speakers labels text audio visual sentences"
    return [*(own[name] for name in names.split()), keys[:12], keys[12:15], keys[15:]]


def test_iemocap_has_sessions_speakers_of_sessions_and_names_of_emotions(tmp_path: Path) -> None:
    source = dialogues(write_pickle(tmp_path / "a.pkl", iemocap()))
    assert source.task == Task("classes", names=IEMOCAP)
    assert set(source.parts) == {"text", "audio", "vision"}
    row = source.samples.row(0, named=True)
    assert row["session"] == row["dialogue"][:5]
    assert row["speaker"] == f"{row['session']}_M"
    assert source.samples["split"].value_counts().height == 3
    assert source.samples.filter(split="id_val")["dialogue"].n_unique() == 3
    assert any("every tenth dialogue of training, 3, is it" in note for note in source.notes)


def test_meld_has_speakers_in_rows_with_a_single_1_and_labels_that_are_left_out(
    tmp_path: Path,
) -> None:
    content = meld()
    source = dialogues(write_pickle(tmp_path / "a.pkl", content))
    assert source.task == Task("classes", names=MELD)
    assert set(source.parts) == {"text", "audio"}
    first = source.samples.filter(dialogue="0")
    assert first["speaker"].to_list() == ["0", "2"] * 3
    assert first["label"].to_list() == [0, 1, 2, 3, 4, 5]
    assert first["raw_text"][1] == "turn 1"
    row = source.samples["id"].to_list().index("3_3_2")
    texts = np.concatenate(list(source.blocks("text")))
    np.testing.assert_allclose(texts[row], np.float32(content[3][3][2]))


def test_m3ed_has_its_validation_before_its_test_and_speakers_of_dialogues(tmp_path: Path) -> None:
    source = dialogues(write_pickle(tmp_path / "a.pkl", m3ed()))
    assert source.task == Task("classes", names=M3ED)
    counts = dict(source.samples.group_by("split").agg(pl.col("dialogue").n_unique()).rows())
    assert counts == {"train": 12, "id_val": 3, "id_test": 5}
    row = source.samples.row(1, named=True)
    assert (row["speaker"], row["video"]) == ("anjia_0_B", "anjia")


def test_seven_classes_of_an_unknown_collection_keep_their_numbers(tmp_path: Path) -> None:
    """EmoryNLP and DailyDialog have seven as well, in orders of their own."""
    keys = [f"dialogue-{number}" for number in range(40)]
    own = parts(keys, 7)
    own["speakers"] = {key: ["0", "1"] * (TURNS // 2) for key in keys}
    content = (*own.values(), keys[:24], keys[32:], keys[24:32])
    source = dialogues(write_pickle(tmp_path / "a.pkl", content))
    assert source.task == Task("classes", names=tuple("0123456"))
    assert source.samples["speaker"][1] == "dialogue-0_1"
    assert any("keep their numbers: name them by --names" in note for note in source.notes)


def test_meld_keeps_its_own_validation_dialogues(tmp_path: Path) -> None:
    keys = [*range(1000, 1160)]
    own = parts(keys, 7, one_hot=True)
    file = write_pickle(tmp_path / "a.pkl", (*own.values(), keys[:153], keys[153:]))
    source = dialogues(file)
    validation = source.samples.filter(split="id_val")["dialogue"].unique().cast(int)
    assert sorted(validation) == [*range(1039, 1153)]


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("speakers labels text text text text sentences", {"text", "text2", "text3", "text4"}),
        (
            "ids speakers labels text text text text audio visual sentences",
            {"text", "text2", "text3", "text4", "audio", "vision"},
        ),
        (
            "ids speakers labels text text text text audio",
            {*["text", "text2", "text3", "text4", "audio"]},
        ),
    ],
)
def test_further_vectors_of_the_text_are_modalities(
    tmp_path: Path, order: str, names: set[str]
) -> None:
    assert set(dialogues(write_pickle(tmp_path / "a.pkl", iemocap(order))).parts) == names


def test_validation_dialogues_of_the_source_stay(tmp_path: Path) -> None:
    *content, train, test = iemocap()
    kept = sorted(train)
    layout = (*content, kept[:20], sorted(test), kept[20:])
    source = dialogues(write_pickle(tmp_path / "a.pkl", layout))
    assert source.samples.filter(split="id_val")["dialogue"].n_unique() == 12


def test_no_split_cuts_a_dialogue(tmp_path: Path) -> None:
    file = write_pickle(tmp_path / "a.pkl", iemocap())
    for shift in (None, "held_out:session"):
        folder = prepare(file, tmp_path / "out", reader="dialogues", shift=shift, overwrite=True)
        table = pl.read_parquet(folder / "samples.parquet")
        splits = table.group_by("dialogue").agg(pl.col("split").n_unique())
        assert splits["split"].max() == 1
    assert load_dataset(folder).task == Task("classes", names=IEMOCAP)
    with pytest.raises(InputError, match=r"no split may cut a dialogue, but .* such as 'Ses0"):
        prepare(file, tmp_path / "cut", reader="dialogues", shift="held_out:speaker")


def test_held_out_groups_have_all_classes_where_they_can(tmp_path: Path) -> None:
    """One dialogue in eight has the rare class; a single draw misses it at times."""
    content = meld()
    for key, labels in content[2].items():
        labels[:] = [turn % 2 for turn in range(TURNS)]
        if key % 8 == 0:
            labels[5] = 2
    file = write_pickle(tmp_path / "a.pkl", content)
    for seed in range(6):
        folder = prepare(
            file, tmp_path / "out", reader="dialogues", shift_seed=seed, overwrite=True
        )
        table = pl.read_parquet(folder / "samples.parquet")
        for split in ("train", "ood_val", "ood_test"):
            assert table.filter(split=split)["label"].n_unique() == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"train": {}}, "must hold a tuple of dicts by dialogue .* but holds dict"),
        ((1, 2), "but holds a tuple of int, int"),
        (iemocap("ids speakers labels sentences"), "1 to 6 dicts of vectors .* but holds 0"),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        dialogues(write_pickle(tmp_path / "a.pkl", content))


def test_a_part_that_lacks_an_utterance_is_named(tmp_path: Path) -> None:
    content = meld()
    content[4][7].pop()
    with pytest.raises(InputError, match="audio of dialogue 7 must hold one value for each of"):
        dialogues(write_pickle(tmp_path / "a.pkl", content))


def write_mintrec(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    features: dict[str, Any] = {}
    for name, count in (("train", 24), ("dev", 8), ("test", 8)):
        rows = [f"S0{1 + i % 3}\tE0{i % 4}\t{name}{i}\tHello there\t{i % 2}" for i in range(count)]
        intents = [row[:-1] + ("Ask for help" if row[-1] == "1" else "Greet") for row in rows]
        (folder / f"{name}.tsv").write_text(
            "\n".join(["season\tepisode\tclip\ttext\tlabel", *intents])
        )
        for i in range(count):
            key = f"S0{1 + i % 3}_E0{i % 4}_{name}{i}"
            features[key] = rng.normal(size=(2 + i % 3, 1, 4)).astype(np.float32)
    (folder / "video_data").mkdir()
    write_pickle(folder / "video_data" / "video_feats.pkl", features)
    return folder


def test_mintrec_is_tables_of_clips_and_features_by_clip(tmp_path: Path) -> None:
    source = mintrec(write_mintrec(tmp_path))
    assert source.task == Task("classes", names=("Ask for help", "Greet"))
    assert source.parts["vision"][0].shape == (24, 4, 4)
    row = source.samples.row(1, named=True)
    assert (row["id"], row["source"], row["video"]) == ("S02_E01_train1", "S02", "S02_E01")
    assert row["vision_length"] == 3
    (tmp_path / "dev.tsv").unlink()
    with pytest.raises(InputError, match=r"dev\.tsv: must be there, as in the folder of MIntRec"):
        mintrec(tmp_path)


def test_features_of_clips_may_be_tensors(tmp_path: Path) -> None:
    """As MIntRec's own script writes those of wav2vec: one tensor `(steps, D)` for each clip."""
    folder = write_mintrec(tmp_path)
    steps = {name: torch.full((3, 2), float(place)) for place, name in enumerate(ids_of(folder))}
    (folder / "audio_feats.pkl").write_bytes(pickle.dumps(steps))
    source = mintrec(folder)
    audio = source.parts["audio"][0]
    assert audio.shape == (24, 3, 2)
    np.testing.assert_array_equal(audio[5:6], 5.0)


def ids_of(folder: Path) -> list[str]:
    tables = [
        pl.read_csv(folder / f"{name}.tsv", separator="\t") for name in ("train", "dev", "test")
    ]
    return (
        pl.concat(tables)
        .select(pl.concat_str("season", "episode", "clip", separator="_"))
        .to_series()
        .to_list()
    )


def test_a_clip_without_features_is_named(tmp_path: Path) -> None:
    folder = write_mintrec(tmp_path)
    write_pickle(folder / "video_data" / "video_feats.pkl", {"S01_E00_train0": np.zeros((2, 1, 4))})
    with pytest.raises(
        InputError, match="vision: must hold every clip, but lacks 23: S02_E01_train1"
    ):
        mintrec(folder)
