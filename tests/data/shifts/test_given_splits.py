"""Splits named by the user: whole, shared by groups or by label, or left out."""

from __future__ import annotations

import polars as pl
import pytest

from cmir.data.shifts.given_splits import given, read_given
from cmir.data.shifts.word_bias import label_bins
from cmir.errors import InputError
from tests.support.made_data.biased_texts import biased_samples

SAMPLES = biased_samples()
LIMITS = (-3.0, 3.0)


def moved(text: str, samples: pl.DataFrame = SAMPLES, seed: int = 0) -> pl.DataFrame:
    return given(samples, read_given(text), limits=LIMITS, seed=seed)[0]


def came_from(samples: pl.DataFrame, split: str) -> set[str]:
    return set(SAMPLES.filter(samples["split"] == split)["split"])


def test_whole_splits_get_the_names_that_were_chosen() -> None:
    found = moved("train=train,ood_val=valid,ood_test=test")
    assert came_from(found, "ood_val") == {"id_val"}
    assert came_from(found, "ood_test") == {"id_test"}
    assert found["split"].null_count() == 0


def test_names_are_those_of_the_file_in_any_case() -> None:
    assert moved("train=train,id_val=DEV").equals(moved("train=train,id_val=id_val"))


def test_splits_that_are_not_named_are_left_out_and_counted() -> None:
    found, record = given(SAMPLES, read_given("train=train,id_val=valid"), limits=LIMITS, seed=0)
    left_out = (SAMPLES["split"] == "id_test").sum()
    assert found["split"].null_count() == left_out
    assert record["left_out"] == {"id_test": left_out}


def test_two_splits_can_become_one() -> None:
    assert came_from(moved("train=train+valid,id_test=test"), "train") == {"train", "id_val"}


def test_a_share_takes_whole_videos_and_leaves_the_rest() -> None:
    found = moved("train=train,id_val=valid,ood_val=train:0.2")
    own = set(found.filter(pl.col("split") == "ood_val")["video"])
    assert own & set(found.filter(pl.col("split") == "train")["video"]) == set()
    sizes = dict(found["split"].value_counts().iter_rows())
    assert sizes["ood_val"] / (sizes["ood_val"] + sizes["train"]) == pytest.approx(0.2, abs=0.03)


def test_without_groups_a_share_takes_the_same_part_of_every_label_bin() -> None:
    found, record = given(
        SAMPLES.drop("video"), read_given("train=train,ood_val=train:0.2"), limits=LIMITS, seed=0
    )
    train = found.filter(SAMPLES["split"] == "train")
    bins = pl.Series(label_bins(train["label"].to_numpy(), LIMITS))
    shares = train.group_by(bins).agg((pl.col("split") == "ood_val").mean())["split"]
    assert shares.to_numpy() == pytest.approx(0.2, abs=0.03)
    assert record["shared_by"] == {"ood_val": "label"}


def test_two_shares_of_a_split_do_not_overlap() -> None:
    found = moved("train=train,ood_val=train:0.2,ood_test=train:0.2")
    assert dict(found["split"].value_counts().iter_rows())["ood_test"] > 40


def test_a_seed_decides_the_shares() -> None:
    text = "train=train,ood_val=train:0.2"
    assert moved(text, seed=1).equals(moved(text, seed=1))
    assert not moved(text, seed=1).equals(moved(text, seed=2))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train", "name each of train, id_val, .* but got 'train'"),
        ("test=test", "but got 'test=test'"),
        ("train=train,train=valid", "at most once"),
        ("train=train,id_val=train", "must go to one place, but train goes to several"),
        ("train=train:1.5", r"above 0 and below 1, .* got 'train:1\.5'"),
        ("train=train:half", "got 'train:half'"),
        ("train=fold3", r"must have the split 'fold3', but has only .* train, valid, dev"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        moved(text)
