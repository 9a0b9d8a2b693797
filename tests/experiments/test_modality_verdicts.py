"""The worlds of the calibration of verdicts, its record and its table."""

from pathlib import Path

import pytest

from cmir.data import load_dataset
from experiments.modality_verdicts import Line, add, read, table
from experiments.verdicts.worlds import KINDS, MODALITIES, Kind, world


@pytest.mark.parametrize(("kind", "count"), [("none", 0), ("one", 1), ("two", 2)])
def test_a_world_has_as_many_spurious_modalities_as_its_kind_says(kind: Kind, count: int) -> None:
    for seed in range(20):
        drawn = world(kind, seed)
        assert len(drawn.spurious) == count
        for name in drawn.spurious:
            assert drawn.specs[name].spurious > 0
            assert drawn.ood <= 0 < min(drawn.correlations)
        assert not drawn.steady or drawn.correlations == (drawn.ood,) * 3
        silent = set(MODALITIES) - {*drawn.spurious, *drawn.steady}
        assert all(drawn.specs[name].spurious == 0 for name in silent)


def test_no_two_worlds_are_alike_and_each_can_be_drawn_again() -> None:
    worlds = [world(kind, seed) for kind in KINDS for seed in range(20)]
    assert worlds == [world(kind, seed) for kind in KINDS for seed in range(20)]
    assert len({(one.ood, tuple(one.samples.values()), one.speakers) for one in worlds}) > 50
    assert any(one.steady for one in worlds)


def test_a_world_has_no_held_out_data(tmp_path: Path) -> None:
    dataset = load_dataset(world("two", 3).write(tmp_path / "world"))
    assert set(dataset.sizes) == {"train", "id_val", "ood_val"}


def line(kind: Kind, seed: int, spurious: list[str], named: list[str]) -> Line:
    words = {
        name: {"verdict": "spurious" if name in named else "cannot be told"} for name in MODALITIES
    }
    ways = dict.fromkeys(("sweep", "promotion", "rates"), words)
    return {"kind": kind, "seed": seed, "spurious": spurious, **ways}


def test_the_table_counts_who_is_named_and_who_is_accused() -> None:
    lines = [
        line("one", 0, ["text"], ["text"]),
        line("one", 1, ["text"], []),
        line("one", 2, ["text"], ["text", "audio"]),
        line("none", 0, [], []),
    ]
    rows = {row["spurious"]: row for row in table(lines) if "id_val" in row["verdict by"]}
    assert rows["one"]["exactly the right ones"].startswith("1/3 ")
    assert rows["one"]["nobody else accused"].startswith("2/3 ")
    assert rows["none"]["exactly the right ones"].startswith("1/1 ")
    assert set(rows) == {"one", "none"}


def test_a_record_goes_on_after_a_line_that_was_cut_off(tmp_path: Path) -> None:
    record = tmp_path / "folder" / "lines.jsonl"
    assert read(record) == []
    add(record, line("one", 0, ["text"], []))
    with record.open("a") as file:
        file.write('{"kind": "one", "se')
    assert [one["seed"] for one in read(record)] == [0]
    add(record, line("one", 1, ["text"], []))
    assert [one["seed"] for one in read(record)] == [0, 1]
