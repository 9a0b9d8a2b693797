from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from cmir.commands.embed_command import main
from cmir.data import load_dataset
from cmir.data.preparing import prepare
from cmir.data.task import SENTIMENT
from cmir.method.language import embedding as module
from cmir.method.language.embedded_dataset import embed
from cmir.method.language.embedding import Embedding, text_vectors
from cmir.method.language.pretrained.backbones import find_backbone
from tests.support.made_data.learning_data import small_config, trained
from tests.support.made_data.small_data import mmsa_content, write_npz, write_small
from tests.support.tiny_backbones import FAMILIES, LAYERS, SPECIAL, WIDTH, write_spoken


@pytest.mark.parametrize("family", FAMILIES)
def test_a_data_set_gets_the_last_hidden_states_of_its_texts(
    family: str, backbones: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WINDOW", 50)  # Several windows, the last one not full.
    source, backbone = write_spoken(tmp_path / "in"), find_backbone(str(backbones[family]))
    out = embed(source, tmp_path / "out", Embedding(backbone, batch_tokens=30))
    before, after = load_dataset(source), load_dataset(out)
    text, model = after.modalities["text"], backbone.load()
    assert text.array.dtype == np.float16
    assert text.lengths is not None
    assert text.array.shape[1:] == (text.lengths.max(), WIDTH)
    for row, raw in enumerate(after.metadata["raw_text"]):
        with torch.no_grad():
            wanted = model(**backbone.tokenizer(raw, return_tensors="pt")).last_hidden_state[0]
        assert text.lengths[row] == len(wanted)
        np.testing.assert_allclose(text.array[row, : len(wanted)], wanted, rtol=1e-2, atol=2e-3)
        assert not text.array[row, len(wanted) :].any()
    for name in ("audio", "vision"):
        np.testing.assert_array_equal(after.modalities[name].array, before.modalities[name].array)
    assert after.metadata.drop("text_length").equals(
        before.metadata.drop("text_length", strict=False)
    )
    assert (after.task, after.name) == (SENTIMENT, "learning")


def test_dataset_json_says_what_the_vectors_come_from(
    backbones: dict[str, Path], tmp_path: Path
) -> None:
    backbone = find_backbone(str(backbones["bert"]))
    source = write_small(tmp_path / "in")
    out = embed(source, tmp_path / "out", Embedding(backbone, layer=1, longest=4), modality="words")
    content = json.loads((out / "dataset.json").read_text())
    assert content["source"] == {
        "file": "small.pkl",
        "backbones": {
            "words": {
                "backbone": "bert",
                "folder": str(backbones["bert"].resolve()),
                "family": "bert",
                "sha256": backbone.sha256,
                "layer": 1,
                "from": "raw_text",
                "precision": "float32",
                "longest": 4,
                "texts_cut": 32,
            }
        },
    }
    assert set(load_dataset(out).modalities) == {"text", "audio", "words"}


def test_the_same_command_gives_the_same_bytes(backbones: dict[str, Path], tmp_path: Path) -> None:
    source, backbone = write_spoken(tmp_path / "in"), find_backbone(str(backbones["bert"]))
    folders = [embed(source, tmp_path / name, Embedding(backbone)) for name in ("one", "two")]
    assert load_dataset(folders[0]).checksum == load_dataset(folders[1]).checksum


def test_an_embedded_data_set_trains_like_any_other_and_its_model_takes_new_texts(
    backbones: dict[str, Path], tmp_path: Path
) -> None:
    source, backbone = write_spoken(tmp_path / "in"), find_backbone(str(backbones["bert"]))
    out = embed(source, tmp_path / "out", Embedding(backbone))
    data = load_dataset(out).development()
    result = trained(data, small_config((0, 1), training__epochs=2))
    assert result.weights.shape[0] == 2
    split = data.ood_val
    vectors, lengths = text_vectors(split.samples["raw_text"].to_list(), Embedding(backbone))
    text = data.modalities["text"]
    assert text.lengths is not None
    np.testing.assert_array_equal(lengths, text.lengths[split.rows])
    np.testing.assert_allclose(
        vectors, text.array[split.rows, : vectors.shape[1]], rtol=1e-2, atol=1e-3
    )


def test_token_ids_of_a_feature_file_give_the_vectors_of_its_words(
    backbones: dict[str, Path], tmp_path: Path
) -> None:
    content: dict[str, Any] = mmsa_content()
    cls, sep = SPECIAL.index("[CLS]"), SPECIAL.index("[SEP]")
    for split in content.values():
        count = len(split["id"])
        tokens = np.zeros((count, 3, 6), np.float32)
        tokens[:, 0, :4], tokens[:, 1, :4] = [cls, 7, 8, sep], 1
        split["text_bert"], split["raw_text"] = tokens, np.array(["very not"] * count)
    folder = prepare(write_npz(tmp_path / "f.npz", content), tmp_path / "in", reader="npz")
    table = pl.read_parquet(folder / "samples.parquet")
    assert table["text_bert"].unique().to_list() == [f"[[{cls},7,8,{sep}],[0,0,0,0]]"]
    assert "text_bert" not in load_dataset(folder).development().environment_columns
    backbone = find_backbone(str(backbones["bert"]))
    assert backbone.tokenizer("very not")["input_ids"] != [cls, 7, 8, sep]
    out = embed(folder, tmp_path / "ids", Embedding(backbone), column="text_bert")
    wanted, _ = text_vectors(["film very"], Embedding(backbone))
    np.testing.assert_array_equal(load_dataset(out).modalities["text"].array[5], wanted[0])


def test_the_index_of_the_splits_goes_with_the_data(
    backbones: dict[str, Path], tmp_path: Path
) -> None:
    folder = write_spoken(tmp_path / "in")
    for name in ("splits.json", "annealing.png"):
        (folder / name).write_text(name)
    embed(folder, folder, Embedding(find_backbone(str(backbones["bert"]))), overwrite=True)
    assert (folder / "splits.json").read_text() == "splits.json"
    assert (folder / "annealing.png").read_text() == "annealing.png"


def test_the_command_writes_a_folder_and_shows_how_far_it_is(
    backbones: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(write_small(tmp_path / "in"))
    arguments = [source, str(tmp_path / "out"), "--backbone", str(backbones["albert"])]
    assert main([*arguments, "--layer", "1", "--device", "cpu", "--batch-tokens", "16"]) == 0
    assert "100%" in capsys.readouterr().out
    record = load_dataset(tmp_path / "out").manifest.source["backbones"]["text"]
    assert (record["family"], record["layer"]) == ("albert", 1)
    assert main(arguments) == 2
    assert "there is a dataset already. Use --overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    assert load_dataset(tmp_path / "out").manifest.source["backbones"]["text"]["layer"] == LAYERS


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "3"], r"--layer must be 0 \(the embedding\) to 2, the last layer of"),
        (["--longest", "2"], "--longest must be at least 3"),
        (["--device", "tpu"], "--device must be cpu, cuda or cuda:<i>, but got 'tpu'"),
        (["--device", "cuda:9"], "--device cuda:9: there is no such device here"),
        (["--modality", "My text"], "--modality: a modality name must be"),
        (["--from", "text_bert"], "needs the column text_bert, but there are id, split, label, "),
        (["--backbone", "./none"], r"\./none: there is no such folder"),
    ],
)
def test_what_cannot_be_done_ends_with_code_2_and_nothing_written(
    arguments: list[str],
    message: str,
    backbones: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out = write_small(tmp_path / "in"), tmp_path / "out"
    given = [str(source), str(out), "--backbone", str(backbones["bert"]), *arguments]
    assert main(given) == 2
    said = capsys.readouterr()
    assert re.search(message, said.err)
    assert said.out == ""
    assert [file.name for file in tmp_path.iterdir()] == ["in"]
