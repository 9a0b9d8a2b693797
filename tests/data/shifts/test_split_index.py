"""An index of splits makes the same splits again, or is refused."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cmir.data.shifts.split_index import indexed, write_index
from cmir.errors import InputError
from tests.support.made_data.biased_texts import biased_samples

SAMPLES = biased_samples(60)


def test_an_index_makes_the_same_splits_again(tmp_path: Path) -> None:
    write_index(tmp_path / "splits.json", SAMPLES)
    others = SAMPLES.with_columns(split=pl.lit("train")).sample(fraction=1.0, shuffle=True, seed=0)
    found, record = indexed(others, tmp_path / "splits.json")
    assert found.sort("id").equals(SAMPLES.sort("id"))
    assert record == {"scheme": "index", "file": "splits.json", "left_out": 0}


def test_samples_that_it_does_not_name_are_left_out(tmp_path: Path) -> None:
    write_index(tmp_path / "splits.json", SAMPLES.head(50))
    found, record = indexed(SAMPLES, tmp_path / "splits.json")
    assert found["split"].null_count() == record["left_out"] == 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        ("{", "must be an index of splits"),
        ('{"train": ["a"]}', "must be an index of splits"),
        ('{"splits": {"valid": ["a"]}}', "but valid is none"),
        ('{"splits": {"train": ["a"], "id_val": ["a"]}}', "but some id stands in two"),
        (
            '{"splits": {"train": ["nobody"]}}',
            "but 1 are not: nobody. The index belongs to another",
        ),
    ],
)
def test_an_index_that_does_not_fit_is_refused(
    tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "splits.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InputError, match=message):
        indexed(SAMPLES, file)
