"""The command that scores a dataset folder, an .npz or a JSON file with a registered version."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from mlflow import MlflowClient

from cmir.commands.predict_command import main
from cmir.data import DevelopmentData, load_dataset
from cmir.promotion.heldout_scores import heldout_scores
from cmir.registry.heldout_access import ledger_lines
from cmir.registry.model_registry import Registry
from cmir.runner.paths import Paths
from cmir.serving.predictor import Ensemble
from tests.support.small_promotion import open_store
from tests.support.small_version import (
    ERASING_VISION,
    NAME,
    register_version,
    request_of,
    small_development,
)


@dataclass(frozen=True)
class Registered:
    """Two versions of one model; the second is the champion and may lack vision."""

    first: Ensemble
    champion: Ensemble
    data: DevelopmentData
    folder: Path


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registered]:
    folder = tmp_path_factory.mktemp("predict")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        client = open_store(folder, patch)
        data = small_development(folder / "data")
        first = register_version(client, data)
        champion = register_version(client, data, **ERASING_VISION)
        yield Registered(first, champion, data, folder)


def as_lists(request: dict[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(value).tolist() for name, value in request.items()}


def scored(registered: Registered, *words: str) -> pl.DataFrame:
    out = registered.folder / "scored.parquet"
    source = str(registered.folder / "data")
    assert main([source, "--model", NAME, "--out", str(out), *words]) == 0
    return pl.read_parquet(out)


def test_a_folder_is_scored_row_by_row_with_distances(registered: Registered) -> None:
    table = scored(registered)
    samples = load_dataset(registered.folder / "data").metadata
    visible = np.flatnonzero(samples["split"].is_in(["train", "id_val", "ood_val"]).to_numpy())
    assert table.columns[:7] == ["id", "split", "prediction", "label", "error", "std", "outside"]
    assert table["id"].to_list() == samples["id"][visible].to_list()
    request = request_of(registered.data, visible)
    for name, values in registered.champion.predict(request, distances=True).items():
        np.testing.assert_allclose(table[name].to_numpy(), values, rtol=1e-5)


def test_predictions_stand_beside_the_labels_of_the_splits_that_a_sweep_may_see(
    registered: Registered, capsys: pytest.CaptureFixture[str]
) -> None:
    table = scored(registered)
    splits = registered.data.splits
    assert set(table["split"]) == set(splits)
    for name, split in splits.items():
        rows = table.filter(pl.col("split") == name)
        np.testing.assert_allclose(rows["label"].to_numpy(), split.labels, rtol=1e-6)
    np.testing.assert_allclose(table["error"], table["prediction"] - table["label"], atol=1e-6)
    printed = capsys.readouterr().out
    of_one = np.abs(table.filter(pl.col("split") == "ood_val")["error"].to_numpy()).mean()
    assert re.search(rf"mae .* {of_one:.4f} *\n", printed)
    assert "id_test and ood_test (held out) were left alone" in printed


def test_a_heldout_split_is_predicted_on_request_without_its_labels(
    registered: Registered, capsys: pytest.CaptureFixture[str]
) -> None:
    accesses = Registry(MlflowClient(), NAME).accesses()
    table = scored(registered, "--split", "ood_test")
    assert set(table["split"]) == {"ood_test"}
    assert "label" not in table.columns
    assert "ood_test (held out) was not compared with its labels" in capsys.readouterr().out
    assert Registry(MlflowClient(), NAME).accesses() == accesses


def test_comparing_with_heldout_labels_is_one_counted_access(registered: Registered) -> None:
    accesses = Registry(MlflowClient(), NAME).accesses()
    table = scored(registered, "--test-set", "--why", "a test", "--split", "ood_test")
    heldout = load_dataset(registered.folder / "data").heldout()
    np.testing.assert_allclose(table["label"], heldout.splits["ood_test"].labels, rtol=1e-6)
    assert Registry(MlflowClient(), NAME).accesses() == accesses + 1
    *_, line = ledger_lines(Paths(registered.folder))
    assert (line["purpose"], line["result"]["ood_test/samples"]) == ("predict: a test", 10)
    served = heldout_scores(registered.champion, heldout)
    assert line["result"]["ood_test/mae"] == pytest.approx(served["ood_test/ensemble_mae"])


@pytest.mark.parametrize("label", ["label", "labels"])
def test_labels_in_a_file_are_compared_with_too(registered: Registered, label: str) -> None:
    file, out = registered.folder / "labelled.npz", registered.folder / "labelled.parquet"
    truth: dict[str, Any] = {label: registered.data.train.labels[:3]}
    np.savez(file, **truth, **request_of(registered.data, registered.data.train.rows[:3]))
    assert main([str(file), "--model", NAME, "--out", str(out)]) == 0
    np.testing.assert_allclose(pl.read_parquet(out)["label"], truth[label])


def test_a_version_and_a_split_can_be_named(registered: Registered) -> None:
    out = registered.folder / "some.csv"
    source = str(registered.folder / "data")
    chosen = ("--version", "1", "--split", "ood_val", "--out", str(out))
    assert main([source, "--model", NAME, *chosen]) == 0
    table = pl.read_csv(out)
    assert set(table["split"]) == {"ood_val"}
    request = request_of(registered.data, registered.data.ood_val.rows)
    expected = registered.first.predict(request)["prediction"]
    np.testing.assert_allclose(table["prediction"].to_numpy(), expected, rtol=1e-5)


def test_large_folders_are_scored_in_blocks(
    registered: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmir.data.row_blocks.BLOCK_VALUES", 400)
    out = registered.folder / "blocks.json"
    assert main([str(registered.folder / "data"), "--model", NAME, "--out", str(out)]) == 0
    table = pl.read_json(out)
    samples = load_dataset(registered.folder / "data").metadata
    rows = np.flatnonzero(samples["split"].is_in(table["split"].unique()).to_numpy())
    request = request_of(registered.data, rows)
    expected = registered.champion.predict(request)["prediction"]
    np.testing.assert_allclose(table["prediction"].to_numpy(), expected, rtol=1e-4, atol=1e-6)


def test_an_npz_without_a_modality_names_what_it_erased(
    registered: Registered, capsys: pytest.CaptureFixture[str]
) -> None:
    request = request_of(registered.data, slice(0, 3), "vision")
    request["text"][1] += 1000.0
    np.savez(registered.folder / "some.npz", id=np.array(["a", "b", "c"]), **request)
    assert main([str(registered.folder / "some.npz"), "--model", NAME]) == 0
    printed = capsys.readouterr().out
    assert "cmir-test version 2: 2 seeds, trained on learning" in printed
    assert "vision: did not come; erased as in the views it was trained with" in printed
    assert "1 of 3 samples have an out-of-distribution score beyond the .99 quantile" in printed
    assert "of training (text 1)" in printed
    assert all(f"│ {name} " in printed for name in "abc")


@pytest.mark.parametrize("form", ["bare", "as for a server"])
def test_one_json_sample_is_scored(
    registered: Registered, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = as_lists(request_of(registered.data, 2))
    file = registered.folder / "one.json"
    file.write_text(json.dumps(sample if form == "bare" else {"inputs": sample}))
    assert main([str(file), "--model", NAME]) == 0
    expected = registered.champion.predict(sample)["prediction"][0]
    assert f"{expected:.4g}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere", "--model", NAME), "nowhere: must be a dataset folder.*there is nothing"),
        (
            ("one.json", "--model", "cmir-tset"),
            "no such registered model. Did you mean 'cmir-test'",
        ),
        (
            ("one.json", "--model", NAME, "--version", "7"),
            r"cmir-test has no version '7'; it has: 1, 2 \(champion\)",
        ),
        (("one.json", "--model", NAME, "--alias", "best"), "has no alias 'best'"),
        (("one.json", "--model", NAME, "--split", "train"), "only a dataset folder has splits"),
        (("data", "--model", NAME, "--split", "tset"), "--split tset: is no split.*id_val"),
        (("one.json", "--model", NAME, "--out", "a.txt"), "must end in .csv, .json, .parquet"),
        (("one.json", "--model", NAME, "--out", "no/a.csv"), "there is no folder no"),
        (("list.json", "--model", NAME), "list.json: must hold an object .* but holds list"),
        (("broken.json", "--model", NAME), "broken.json: must be a JSON file"),
        (("wrong.json", "--model", NAME), "wrong.json: vision: must hold numbers"),
        (("data", "--model", NAME, "--test-set"), "--test-set needs a reason"),
        (
            ("data", "--model", NAME, "--test-set", "--why", "x", "--split", "train"),
            "held-out split, but data has id_test and ood_test, not train. Leave it out",
        ),
        (("one.json", "--model", NAME, "--test-set", "--why", "x"), "but one.json has none"),
        (("told.npz", "--model", NAME), r"label must hold numbers of shape \(3,\).*float64 of"),
        (("mmsa.npz", "--model", NAME), "holds splits.*prepare.py npz"),
        (("names.npz", "--model", NAME), "id must name each of the 3 samples"),
    ],
)
def test_bad_input_is_refused_with_what_to_do(
    registered: Registered,
    words: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    sample, folder = as_lists(request_of(registered.data, 2)), registered.folder
    (folder / "one.json").write_text(json.dumps(sample))
    (folder / "list.json").write_text("[1]")
    (folder / "broken.json").write_text("{")
    (folder / "wrong.json").write_text(json.dumps(sample | {"vision": ["a", "b", "c"]}))
    splits: dict[str, Any] = {"train/text": np.zeros((2, 4, 5))}
    np.savez(folder / "mmsa.npz", **splits)
    three = request_of(registered.data, slice(0, 3))
    np.savez(folder / "told.npz", label=np.zeros(2), **three)
    np.savez(folder / "names.npz", id=["a", "b"], **request_of(registered.data, slice(0, 3)))
    assert main(list(words)) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert re.search(message, told.replace("\n", " ")), told
