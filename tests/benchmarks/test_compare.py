"""The stacks that are compared get the same work, and the table says what they took."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import polars as pl
import pytest

from benchmarks import compare
from benchmarks.stacks.configurations import (
    SPACE,
    draw,
    read_space,
    shared_settings,
    sweep_of,
    write_sweep,
)
from benchmarks.stacks.job import read_job, suggest
from cmir.data.synthetic.generation import generate
from cmir.runner.paths import Paths
from cmir.runner.studies.storage import journal_storage
from cmir.runner.studies.study import open_study
from cmir.space.space_source import SpaceSource
from cmir.sweep.preparation import prepare_sweep
from tests.support.small_sweep import write_data, write_space


def test_configurations_repeat_with_their_seed_and_take_the_views_in_turns() -> None:
    space = read_space(SPACE)
    drawn = draw(space, 8, 1)
    assert drawn == draw(space, 8, 1) != draw(space, 8, 2)
    views = [values["environments.view"] for values in drawn]
    assert sorted(views) == sorted(2 * ["none", "noise", "erase", "swap"])


def test_neighbours_that_shall_be_alike_share_their_structure_and_nothing_else() -> None:
    space = read_space(SPACE)
    drawn = draw(space, 7, 1, alike=3)
    trials = [space.trial(values) for values in drawn]
    assert [t.structure == trials[i // 3 * 3].structure for i, t in enumerate(trials)] == [True] * 7
    assert trials[0].structure != trials[3].structure
    assert len({trial.training.learning_rate for trial in trials}) == 7


def test_the_generated_sweep_asks_for_exactly_the_configurations(tmp_path: Path) -> None:
    space = read_space(SPACE)
    drawn = draw(space, 5, 1)
    # Large enough for eight environments of eight samples.
    samples = dict.fromkeys(("train", "id_val", "ood_val"), 96)
    small = generate(
        tmp_path / "small",
        modalities={"text": (6, 3), "audio": 4, "vision": 5},
        samples=samples,
    )
    content = sweep_of(space.file, drawn, small, 2, 7)
    prepared = prepare_sweep(write_sweep(content, tmp_path), {}, Paths(tmp_path))
    storage = journal_storage(tmp_path / "journal")
    study = open_study(storage, "compare", SpaceSource(prepared.space), {"data_checksum": ""})
    asked = [study.ask().config for _ in drawn]
    shared = shared_settings(space.file)
    for config, values in zip(asked, drawn, strict=True):
        assert config.training.epochs == config.training.patience == 7
        assert config.seeds == (0, 1)
        wanted = {**shared, **values, "training.patience": 7}
        assert {key: config.flat()[key] for key in wanted} == wanted


def test_the_other_stacks_get_the_same_configurations(tmp_path: Path) -> None:
    work = compare.work_of(SPACE, tmp_path, 6, 2, 3)
    work.job.write(tmp_path)
    job = read_job(tmp_path)
    assert job == work.job
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for point in job.configurations:
        study.enqueue_trial(point)
    found = [suggest(study.ask(), job.search) for _ in job.configurations]
    assert found == work.sweep["start_from"] == list(job.configurations)


def test_the_table_compares_medians_with_ours() -> None:
    lines = compare.table(
        [
            *(timed_row("cmir", wall, 5.0) for wall in (9.0, 10.0, 50.0)),
            *(timed_row("optuna", wall, 20.0) for wall in (31.0, 30.0, 29.0)),
        ]
    )
    assert [line["x ours"] for line in lines] == [1.0, 3.0]
    assert [line["CPU x ours"] for line in lines] == [1.0, 4.0]
    assert lines[0]["s/config/seed"] == pytest.approx(10 / 6)


def timed_row(stack: str, wall: float, cpu: float) -> dict[str, Any]:
    rest = {"configurations": 2, "seeds": 3, "objective": 1.0, "load_before": 0.0}
    return {"stack": stack, "wall_seconds": wall, "cpu_seconds": cpu, **rest}


def test_a_missing_data_set_is_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["--data", "/nowhere"]) == 2
    assert "there is no such dataset folder" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_stacks_do_the_same_work(tmp_path: Path) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "out.parquet"
    sizes = ["--configurations", "3", "--seeds", "2", "--epochs", "2"]
    space = ["--space", str(write_space(tmp_path)), "--data", str(data)]
    assert compare.main([*sizes, *space, "--out", str(out)]) == 0
    rows = pl.read_parquet(out)
    assert rows["stack"].to_list() == list(compare.STACKS)
    objectives = rows["objective"].to_list()
    assert max(objectives) < 1.2 * min(objectives)
