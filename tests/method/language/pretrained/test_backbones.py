from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import torch

from cmir.checksums import file_sha256
from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.method.language.data_tokens import text_column
from cmir.method.language.pretrained.backbones import find_backbone
from cmir.method.language.pretrained.packaged_weights import PACKAGED
from tests.support.made_data.learning_data import small_config, trained
from tests.support.tiny_backbones import (
    EVERY_FAMILY,
    LAYERS,
    LONGEST,
    SPECIAL,
    WIDTH,
    WORDS,
    write_backbone,
)


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_a_folder_is_read_as_it_was_saved(family: str, backbones: dict[str, Path]) -> None:
    from transformers import AutoModel

    found = find_backbone(str(backbones[family]))
    assert (found.family, found.width, found.layers) == (family, WIDTH, LAYERS)
    assert (found.longest, found.vocabulary) == (LONGEST, len(SPECIAL) + len(WORDS))
    state = AutoModel.from_pretrained(backbones[family], local_files_only=True).state_dict()
    loaded = found.load().state_dict()
    assert {k for k in state if not k.startswith("pooler")} == set(loaded)
    assert all(torch.equal(state[name], value) for name, value in loaded.items())


@pytest.mark.parametrize("family", EVERY_FAMILY)
def test_its_tokenizer_closes_a_text_with_special_tokens(
    family: str, backbones: dict[str, Path]
) -> None:
    ids = find_backbone(str(backbones[family])).tokenizer("very good")["input_ids"]
    every = (*SPECIAL, *WORDS)
    assert [every[i] for i in ids] == ["[CLS]", "very", "good", "[SEP]"]


def test_the_hash_is_that_of_the_weight_file(backbones: dict[str, Path]) -> None:
    folder = backbones["bert"]
    assert find_backbone(str(folder)).sha256 == file_sha256(folder / "model.safetensors")


def test_a_pickle_is_refused_unopened_with_what_to_do(
    backbones: dict[str, Path], tmp_path: Path
) -> None:
    folder, mark = shutil.copytree(backbones["bert"], tmp_path / "evil"), tmp_path / "mark"
    (folder / "model.safetensors").unlink()
    torch.save({"weights": _Touch(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pytorch_model\.bin is a pickle, .*save_pretrained"):
        find_backbone(str(folder))
    assert not mark.exists()


class _Touch:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def test_a_model_that_lacks_a_part_is_refused_rather_than_left_random(
    backbones: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(backbones["bert"], tmp_path / "partial")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 3}))
    with pytest.raises(InputError, match=r"lack 16, such as encoder\.layer\.2\."):
        find_backbone(str(folder)).load()


def test_weights_of_another_size_are_said_to_be_so(
    backbones: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(backbones["bert"], tmp_path / "mixed")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"hidden_size": 2 * WIDTH}))
    with pytest.raises(InputError, match=r"the weights have other sizes than config\.json says"):
        find_backbone(str(folder)).load()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./nowhere", r"\./nowhere: there is no such folder\. .* with config\.json, model\*\.safe"),
        ("one/two/three", "there is no such folder"),
        ("google-bert/bert-base-uncased", r"in the local cache .*`hf download google-bert/bert-"),
        ("no such name", "no such model in the local cache .* put config.json, model.safetensors"),
    ],
)
def test_what_is_not_on_disk_is_said_with_what_to_put_where(
    name: str, message: str, backbones: dict[str, Path]
) -> None:
    with pytest.raises(InputError, match=message):
        find_backbone(name)


def test_offline_a_download_ends_in_the_same_words(backbones: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="on the hub, or the hub cannot be reached"):
        find_backbone("google-bert/bert-base-uncased", download=True)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", r"must hold config\.json, but there is model\.safetensors, tokenizer"),
        ("model.safetensors", r"must hold the model's weights, .* but there is config\.json"),
    ],
)
def test_a_folder_with_a_file_missing_is_named_with_what_it_has(
    missing: str, message: str, backbones: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(backbones["bert"], tmp_path / "model")
    (folder / missing).unlink()
    with pytest.raises(InputError, match=message):
        find_backbone(str(folder))


def test_a_missing_tokenizer_is_missed_when_text_is_read(
    backbones: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(backbones["bert"], tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    backbone, samples = find_backbone(str(folder)), pl.DataFrame({"raw_text": ["good"]})
    for read in (lambda: backbone.tokenizer, lambda: text_column(samples, None, backbone, "here")):
        with pytest.raises(InputError, match="must be a tokenizer beside the model, one of token"):
            read()


def test_a_tokenizer_of_another_model_is_missed_before_its_ids_are_out_of_reach(
    backbones: dict[str, Path], tmp_path: Path
) -> None:
    folder = shutil.copytree(backbones["bert"], tmp_path / "model")
    for file in find_backbone("minilm").folder.glob("tokenizer*.json"):
        shutil.copyfile(file, folder / file.name)
    with pytest.raises(InputError, match=r"be the model's own, which has 163 token ids, but it ha"):
        _ = find_backbone(str(folder)).tokenizer


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model_type": "gpt2"},
            "model_type must be that of an encoder, such as .*, but got 'gpt2'",
        ),
        ({"model_type": "bart"}, "must be that of an encoder, such as .*, but got 'bart'"),
        ({}, "must be that of an encoder, such as .*, but got None"),
        ({"model_type": "bert", "hidden_size": "x"}, "the model cannot be read: "),
        ([1], "must be a JSON object, but got list"),
    ],
)
def test_settings_of_another_kind_are_refused(
    settings: object, message: str, backbones: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=message):
        find_backbone(str(tmp_path))


def test_code_beside_a_model_is_not_run(tmp_path: Path) -> None:
    folder, mark = write_backbone(tmp_path / "model"), tmp_path / "mark"
    (folder / "own.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Own: pass\n")
    settings = json.loads((folder / "config.json").read_text())
    remote = {"AutoModel": "own.Own", "AutoConfig": "own.Own"}
    (folder / "config.json").write_text(json.dumps(settings | {"auto_map": remote}))
    assert find_backbone(str(folder)).load()(torch.tensor([[2, 5, 3]])).last_hidden_state.any()
    assert not mark.exists()


def test_minilm_is_found_in_its_package_and_never_imported() -> None:
    found = find_backbone("minilm")
    assert found.sha256 == PACKAGED["minilm"].sha256
    assert (found.family, found.layers, found.width, found.longest) == ("bert", 6, 384, 512)
    assert PACKAGED["minilm"].module not in sys.modules


def test_weights_of_another_hash_are_not_minilm(
    backbones: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "cmir.method.language.pretrained.backbones.packaged_folder", lambda name: backbones["bert"]
    )
    with pytest.raises(InputError, match=r"weights of 'minilm' must have the SHA-256 53aa.* Inst"):
        find_backbone("minilm")


def test_without_its_package_minilm_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", _spec_of(without=PACKAGED["minilm"].module))
    with pytest.raises(InputError, match=r"minilm: these weights come with the package gt-all-"):
        find_backbone("minilm")


def _spec_of(without: str) -> Callable[[str], object]:
    known = importlib.util.find_spec
    return lambda name: None if name == without else known(name)


def test_without_transformers_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"pip install 'cmir-sweep\[text\]'"):
        find_backbone(str(tmp_path))


def test_all_else_works_without_transformers(
    monkeypatch: pytest.MonkeyPatch, learning: DevelopmentData
) -> None:
    for library in ("transformers", "tokenizers", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, library, None)
    assert trained(learning, small_config(training__epochs=1)).best_epochs == (1,)
