"""The command `prepare.py`: a dataset and a card, or one clear message and exit code 2."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from cmir.commands.prepare_command import main
from cmir.data import load_dataset, preparing
from cmir.data.preparing import prepare
from cmir.data.task import Task
from cmir.process.interruption import Interruption
from tests.support.made_data.small_data import mmsa_content, mmsa_split, write_npz, write_pickle
from tests.support.made_data.small_layouts import hkt_content, write_clue

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    content = {
        "train": mmsa_split("train", 120, 12),
        "valid": mmsa_split("valid", 30, 5),
        "test": mmsa_split("test", 30, 5),
    }
    return write_pickle(tmp_path / "features.pkl", content)


def given_ood(tmp_path: Path) -> Path:
    content = mmsa_content(train=20, valid=8, ood_valid=8, ood_test=8)
    return write_pickle(tmp_path / "ood.pkl", content)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def record(folder: Path) -> dict[str, Any]:
    return load_dataset(folder).manifest.shift


def test_the_command_runs_as_a_script_and_prints_the_card(source: Path, tmp_path: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "workflows/prepare.py", "mmsa", str(source), str(tmp_path / "out")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "\nout: regression, labels in [-3, 3], 180 samples\n" in finished.stdout
    assert f"checksum {load_dataset(tmp_path / 'out').checksum}" in finished.stdout


def test_the_card_can_be_printed_where_only_ascii_can(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, "ascii", write_through=True))
    assert run("mmsa", source, tmp_path / "out") == 0
    assert b"??????" in printed.getvalue()


def test_videos_are_held_out_where_the_source_has_no_shift(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("mmsa", source, out) == 0
    dataset = load_dataset(out)
    assert record(out)["column"] == "video"
    table = dataset.metadata
    for name in ("ood_val", "ood_test"):
        own = set(table.filter(pl.col("split") == name)["video"])
        assert own
        assert own & set(table.filter(pl.col("split") != name)["video"]) == set()
    assert dataset.manifest.source["file"] == "features.pkl"
    assert dataset.manifest.source["reader"] == "mmsa"


def test_features_and_labels_stay_with_their_sample(source: Path, tmp_path: Path) -> None:
    assert run("mmsa", source, tmp_path / "out") == 0
    dataset = load_dataset(tmp_path / "out")
    content = pickle.loads(source.read_bytes())
    rows = {i: (s, r) for s, split in content.items() for r, i in enumerate(split["id"])}
    for split in (*dataset.development().splits.values(), *dataset.heldout().splits.values()):
        for place, (row, sample) in enumerate(zip(split.rows, split.samples["id"], strict=True)):
            theirs, index = rows[sample]
            wanted = content[theirs]
            assert split.labels[place] == wanted["regression_labels"][index]
            for name in ("text", "audio", "vision"):
                found = dataset.modalities[name].array[row]
                value = wanted[name][index].astype(np.float32).reshape(found.shape)
                np.testing.assert_array_equal(found, value)


def test_npz_makes_the_same_dataset_as_mmsa(source: Path, tmp_path: Path) -> None:
    content = pickle.loads(source.read_bytes())
    assert run("mmsa", source, tmp_path / "a") == 0
    assert run("npz", write_npz(tmp_path / "features.npz", content), tmp_path / "b") == 0
    assert load_dataset(tmp_path / "a").checksum == load_dataset(tmp_path / "b").checksum


def test_the_files_of_clue_become_a_dataset_that_a_sweep_can_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_clue(tmp_path / "clue")
    assert run("mag", folder, tmp_path / "out") == 0
    dataset = load_dataset(tmp_path / "out")
    table = dataset.metadata
    given = {f"v{index % 24}$_${3000 + index}" for index in range(36)}
    assert set(table.filter(pl.col("split") == "ood_test")["id"]) == given
    own = set(table.filter(pl.col("split") == "ood_val")["video"])
    assert own == set(record(tmp_path / "out")["groups"]["ood_val"])
    assert not own & set(
        table.filter(pl.col("split").is_in(["train", "id_val", "id_test"]))["video"]
    )
    assert set(dataset.manifest.source["files"]) == {
        "train.pkl", "dev.pkl", "test_IID.pkl", "test_OOD.pkl"
    }  # fmt: skip
    files = [folder / f"{name}.pkl" for name in ("train", "dev", "test_IID", "test_OOD")]
    assert run("mag", *files, tmp_path / "again") == 0
    assert load_dataset(tmp_path / "again").checksum == dataset.checksum


def test_a_joke_file_becomes_a_binary_dataset_with_a_humour_stream(tmp_path: Path) -> None:
    file = tmp_path / "ur_funny.pkl"
    file.write_bytes(pickle.dumps(hkt_content()))
    assert run("funny", file, tmp_path / "out", "--steps", 4, "--shift", "held_out:cluster") == 0
    dataset = load_dataset(tmp_path / "out")
    assert dataset.task == Task("binary")
    assert dataset.modalities["humour"].array.shape[1:] == (4, 4)


def test_a_folder_made_elsewhere_becomes_a_dataset(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    rng = np.random.default_rng(0)
    samples = {
        "id": range(90),
        "split": ["train", "valid", "test"] * 30,
        "label": rng.uniform(-3, 3, 90),
        "room": [f"r{i // 3 % 10}" for i in range(90)],
    }
    pl.DataFrame(samples).write_parquet(made / "table.parquet")
    np.save(made / "audio.npy", rng.normal(size=(90, 5)))
    assert run("folder", made, tmp_path / "out", "--shift", "held_out:room") == 0
    dataset = load_dataset(tmp_path / "out")
    assert dataset.modalities["audio"].array.dtype == np.float32
    assert "room" in dataset.development().environment_columns


def test_further_labels_are_kept_from_sweeps_that_look_for_groups(tmp_path: Path) -> None:
    content = mmsa_content(train=20, valid=8, ood_valid=8, ood_test=8)
    for split in content.values():
        split["regression_labels_T"] = np.linspace(-1, 1, len(split["id"]))
    assert run("mmsa", write_pickle(tmp_path / "sims.pkl", content), tmp_path / "out") == 0
    dataset = load_dataset(tmp_path / "out")
    development = dataset.development()
    assert development.train.samples["label_text"].dtype == pl.Float32
    assert "label_text" not in development.environment_columns
    assert "label_text" not in dataset.metadata.columns


def test_a_file_of_a_published_name_is_compared_with_its_checksum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = mmsa_content(train=20, valid=8, ood_valid=8)
    assert run("mmsa", write_pickle(tmp_path / "aligned_50.pkl", content), tmp_path / "out") == 0
    assert "aligned_50.pkl: its sha256 differs from those" in capsys.readouterr().out


def test_progress_is_told_up_to_the_end(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    prepare(
        given_ood(tmp_path), tmp_path / "out", reader="mmsa", progress=lambda *of: told.append(of)
    )
    assert list(dict.fromkeys(what for what, *_ in told)) == [
        "checking the source", "writing audio", "writing text", "writing vision"
    ]  # fmt: skip
    assert told[0][1] == told[0][2] == (tmp_path / "ood.pkl").stat().st_size
    assert told[-1][1] == told[-1][2] == 44 * (8 * 3 + 5 * 6 + 4) * 4
    assert [done for _, done, _ in told[1:]] == sorted(done for _, done, _ in told[1:])


def test_a_given_shift_is_kept(tmp_path: Path) -> None:
    assert run("mmsa", given_ood(tmp_path), tmp_path / "out", "--shift", "none") == 0
    assert run("mmsa", given_ood(tmp_path), tmp_path / "out", "--overwrite") == 0
    assert record(tmp_path / "out") == {"scheme": "given"}
    assert load_dataset(tmp_path / "out").sizes == {
        "train": 20, "id_val": 8, "ood_val": 8, "ood_test": 8
    }  # fmt: skip


def test_clusters_are_held_out_where_there_are_few_videos(tmp_path: Path) -> None:
    file = write_pickle(tmp_path / "few.pkl", mmsa_content(train=80, valid=20))
    content = pickle.loads(file.read_bytes())
    for name, split in content.items():
        split["id"] = [f"one$_${name}{index}" for index in range(len(split["id"]))]
    write_pickle(file, content)
    assert run("mmsa", file, tmp_path / "out") == 0
    assert record(tmp_path / "out")["column"] == "cluster"
    table = load_dataset(tmp_path / "out").metadata
    own = set(table.filter(pl.col("split") == "ood_val")["cluster"])
    assert own == set(record(tmp_path / "out")["groups"]["ood_val"])


def test_the_options_reach_the_dataset(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--shift", "held_out:video", "--shift-seed", 7, "--shift-share", 0.2)
    more = ("--name", "mine", "--label-range", -5, 5, "--task", "regression")
    assert run("mmsa", source, out, *options, *more) == 0
    dataset = load_dataset(out)
    assert (dataset.name, dataset.task) == ("mine", Task("regression", (-5.0, 5.0)))
    assert {key: record(out)[key] for key in ("column", "seed", "share")} == {
        "column": "video", "seed": 7, "share": 0.2
    }  # fmt: skip
    assert run("mmsa", source, tmp_path / "sharp", "--label", "regression_labels") == 0


def test_nonfinite_features_become_zero_and_the_card_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = mmsa_content(train=20, valid=8, ood_valid=8)
    content["train"]["audio"][3, :2, 1] = -np.inf
    content["valid"]["audio"][0, 0, 0] = np.nan
    content["ood_valid"]["audio"][0, 0, 0] = 1e300
    assert run("mmsa", write_pickle(tmp_path / "inf.pkl", content), tmp_path / "out") == 0
    assert "4 in 2 of 3 features" in capsys.readouterr().out
    dataset = load_dataset(tmp_path / "out")
    assert dataset.manifest.nonfinite["audio"]["columns"] == {"0": 2, "1": 2}
    assert not np.asarray(dataset.modalities["audio"].array[3, :2, 1]).any()


def test_clusters_are_found_in_features_with_infinities(tmp_path: Path) -> None:
    content = mmsa_content(train=60, valid=20)
    content["train"]["audio"][3, :2, 1] = -np.inf
    file = write_pickle(tmp_path / "inf.pkl", content)
    assert run("mmsa", file, tmp_path / "out", "--shift", "held_out:cluster") == 0


class Touch:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def with_labels(path: Path, value: float) -> Path:
    content = mmsa_content(train=20, valid=8, ood_valid=8)
    content["valid"]["regression_labels"][2] = value
    return write_pickle(path, content)


def truncated(path: Path) -> Path:
    content = pickle.dumps(mmsa_content())
    path.write_bytes(content[: len(content) // 2])
    return path


def written(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def repeated_id(path: Path) -> Path:
    content = mmsa_content(train=20, valid=8, ood_valid=8)
    content["ood_valid"]["id"][0] = "train0$_$0"
    return write_pickle(path, content)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda p: p, (), "cannot be read: No such file"),
        (lambda p: p.parent, (), "cannot be read: Is a directory"),
        (lambda p: written(p, "id,label\n"), (), "must be a whole pickle"),
        (lambda p: written(p, ""), (), "ends too early"),
        (truncated, (), "must be a whole pickle"),
        (lambda p: write_pickle(p, [1]), (), "must hold a dict"),
        (lambda p: write_pickle(p, mmsa_content(train=8, valid=4, fold=4)), (), "but got fold"),
        (
            lambda p: with_labels(p, np.nan),
            ("--shift", "word_bias"),
            "features.pkl: a label must be a finite number, but it is missing, NaN or infinite "
            "for 1 sample: 'valid2$_$2'",
        ),
        (repeated_id, (), "'train0$_$0' occurs 2 times, in train and ood_val"),
        (lambda p: with_labels(p, 1.0), ("--label", "mood"), "must have the key 'mood'"),
        (lambda p: with_labels(p, 1.0), ("--task", "binary"), "must be 0 or 1"),
        (lambda p: with_labels(p, 9.0), ("--label-range", "-3", "3"), "but 1 labels lie outside"),
        (lambda p: with_labels(p, 1.0), ("--label-range", "3", "-3"), "LOW below HIGH, but got 3"),
        (lambda p: with_labels(p, 1.0), ("--label-range", "-3", "inf"), "LOW below HIGH, but got"),
        (
            lambda p: with_labels(p, 1.0),
            ("--split", "tset=ood_test"),
            "must have the split 'tset', but has only train, valid, ood_valid",
        ),
        (lambda p: with_labels(p, 1.0), ("--shift", "held_out:video"), "brings an out-of-distr"),
        (lambda p: write_pickle(p, mmsa_content()), ("--shift", "none"), "the source brings none"),
        (lambda p: write_pickle(p, mmsa_content()), ("--shift", "video"), "must be held_out:<col"),
        (lambda p: write_pickle(p, mmsa_content()), ("--shift", "held_out:"), "must be held_out:"),
        (
            lambda p: write_pickle(p, mmsa_content()),
            ("--shift", "held_out:film"),
            "must have the column 'film'",
        ),
        (lambda p: with_labels(p, 1.0), ("--split", "test"), "must be NAME=SPLIT"),
        (lambda p: with_labels(p, 1.0), ("--steps", "5"), "means nothing to the reader mmsa"),
        (lambda p: with_labels(p, 1.0), ("--steps", "0"), "--steps must be at least 1, but got 0"),
        (
            lambda p: write_pickle(p, mmsa_content()),
            ("--shift-share", "0.9"),
            "must be above 0 and below 0.5",
        ),
        (
            lambda p: write_pickle(p, mmsa_content()),
            ("--shift-seed", "-1"),
            "--shift-seed must be 0 to 4294967295, but got -1",
        ),
    ],
)
def test_input_that_cannot_be_used_ends_with_one_message_and_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], Path],
    options: tuple[str, ...],
    message: str,
) -> None:
    file = make(tmp_path / "features.pkl")
    before = sorted(tmp_path.iterdir())
    assert run("mmsa", file, tmp_path / "out", *options) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("prepare: ")
    assert printed.err.count("\n") == 1
    assert message in printed.err
    assert sorted(tmp_path.iterdir()) == before


def test_an_interrupted_command_leaves_nothing(
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(preparing, "write_index", interrupt)
    monkeypatch.setattr("cmir.commands.prepare_command.interruption.THIS", Interruption())
    before = sorted(tmp_path.iterdir())
    assert run("mmsa", source, tmp_path / "out") == 130
    assert "Nothing was written" in capfd.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_a_pickle_that_runs_code_is_refused_unexecuted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "executed"
    content: dict[str, Any] = mmsa_content()
    content["train"]["raw_text"] = np.array([Touch(mark)] * 40, dtype=object)
    assert run("mmsa", write_pickle(tmp_path / "evil.pkl", content), tmp_path / "out") == 2
    assert "names posix.system" in capsys.readouterr().err
    assert not mark.exists()


@pytest.mark.parametrize("out", ["features.pkl", "features.pkl/out", ".", "taken"])
def test_a_place_that_cannot_be_written_is_reported_before_reading(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").touch()
    assert run("mmsa", tmp_path / "absent.pkl", tmp_path / out, "--overwrite") == 2
    printed = capsys.readouterr().err
    assert "leads to a file" in printed or "is not a dataset" in printed
    assert source.is_file()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_reported(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    assert run("mmsa", source, tmp_path / "closed" / "out") == 2
    assert "cannot be made: Permission denied" in capsys.readouterr().err


def test_a_name_that_the_disk_refuses_is_reported(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in (tmp_path / ("x" * 300), tmp_path / ("x" * 250)):
        assert run("mmsa", source, out) == 2
        assert "File name too long" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [source]


def test_an_existing_dataset_is_kept_unless_told_otherwise(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("mmsa", source, tmp_path / "out") == 0
    assert run("mmsa", source, tmp_path / "out", "--name", "new") == 2
    assert "there is a dataset already" in capsys.readouterr().err
    assert load_dataset(tmp_path / "out").name == "out"
    assert run("mmsa", source, tmp_path / "out", "--name", "new", "--overwrite") == 0
    assert load_dataset(tmp_path / "out").name == "new"


def test_an_unknown_format_ends_with_code_2_and_names_the_nearest(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("mmsaa", source, tmp_path / "out") == 2
    assert "'mmsaa' is no file format. Did you mean 'mmsa'?" in capsys.readouterr().err


def test_the_real_mosi_file_becomes_a_dataset(
    mosi_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("mmsa", mosi_file, tmp_path / "mosi") == 0
    card = capsys.readouterr().out
    assert "train and id_val 58\n" in card
    # Its visual features were made with the labels of the training speakers, and no others.
    (warning,) = [line for line in card.splitlines() if line.startswith("WARNING")]
    assert warning.startswith("WARNING: vision: a linear model explains")
    development = load_dataset(tmp_path / "mosi").development()
    sizes = {name: len(split) for name, split in development.splits.items()}
    assert sizes == {"train": 1280, "id_val": 164, "ood_val": 201}
    vision = np.asarray(development.modalities["vision"].array[development.train.rows])
    fitted = vision.astype(np.float64)
    residual = np.linalg.lstsq(
        np.c_[fitted, np.ones(len(fitted))], development.train.labels, rcond=None
    )[1]
    assert residual.sum() / len(fitted) < 0.6 * development.train.labels.var()
