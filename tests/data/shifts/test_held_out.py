"""Held-out groups: whole, seeded, of the size asked for, and never in two splits."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from cmir.data.shifts.held_out import cluster_column, default_column, held_out
from cmir.errors import InputError


def table(
    train: int = 300, id_val: int = 60, id_test: int = 60, speakers: int = 30
) -> pl.DataFrame:
    """Samples whose speakers occur in every split."""
    count = train + id_val + id_test
    rng = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "id": [f"s{index}" for index in range(count)],
            "split": ["train"] * train + ["id_val"] * id_val + ["id_test"] * id_test,
            "speaker": [f"p{index:02d}" for index in rng.integers(speakers, size=count)],
        }
    )


def groups_of(samples: pl.DataFrame, split: str) -> set[str]:
    return set(samples.filter(pl.col("split") == split)["speaker"])


@pytest.mark.parametrize("seed", range(5))
def test_a_held_out_group_lies_in_one_split_and_nowhere_else(seed: int) -> None:
    moved, record = held_out(table(), "speaker", seed=seed, share=0.15)
    for name in ("ood_val", "ood_test"):
        own = groups_of(moved, name)
        assert own == set(record["groups"][name])
        others = moved.filter(pl.col("split") != name)
        assert own & set(others["speaker"]) == set()
        assert len(own) > 1


@pytest.mark.parametrize("seed", range(5))
def test_the_other_samples_stay_where_they_were_and_none_is_lost(seed: int) -> None:
    before = table()
    moved, _ = held_out(before, "speaker", seed=seed, share=0.15)
    assert moved.drop("split").equals(before.drop("split"))
    stayed = ~moved["split"].str.starts_with("ood")
    assert moved.filter(stayed).equals(before.filter(stayed))
    assert set(moved["split"]) == {"train", "id_val", "id_test", "ood_val", "ood_test"}


@pytest.mark.parametrize("share", [0.05, 0.15, 0.3])
def test_each_new_split_is_within_one_group_of_the_share(share: float) -> None:
    samples = table(train=360, id_test=0)
    largest = samples.group_by("speaker").len()["len"].to_numpy().max()
    moved, _ = held_out(samples, "speaker", seed=0, share=share)
    for name in ("ood_val", "ood_test"):
        size = moved.filter(pl.col("split") == name).height
        assert abs(size - share * samples.height) <= largest


def test_one_seed_gives_one_split_whatever_the_order_of_samples() -> None:
    samples = table()
    first = held_out(samples, "speaker", seed=3, share=0.15)
    again = held_out(
        samples.sample(fraction=1.0, shuffle=True, seed=0), "speaker", seed=3, share=0.15
    )
    other = held_out(samples, "speaker", seed=4, share=0.15)
    assert again[1] == first[1]
    assert again[0].sort("id").equals(first[0].sort("id"))
    assert other[1]["groups"] != first[1]["groups"]


def test_the_record_tells_scheme_and_origin_of_every_sample() -> None:
    samples = table()
    moved, record = held_out(samples, "speaker", seed=1, share=0.2)
    assert {key: record[key] for key in ("scheme", "column", "seed", "share")} == {
        "scheme": "held_out",
        "column": "speaker",
        "seed": 1,
        "share": 0.2,
    }
    for name, origins in record["taken_from"].items():
        came = samples.filter(moved["split"] == name)["split"].to_list()
        assert origins == {split: came.count(split) for split in sorted(set(came))}


@pytest.mark.parametrize("seed", range(5))
def test_the_sweep_is_given_no_held_out_sample_while_other_groups_are_left(seed: int) -> None:
    samples = table().with_columns(
        speaker=pl.when(pl.col("split") == "id_test")
        .then(pl.lit("test-") + pl.col("speaker"))
        .otherwise("speaker")
    )
    _, record = held_out(samples, "speaker", seed=seed, share=0.15)
    assert "id_test" not in record["taken_from"]["ood_val"]


def test_a_given_ood_test_split_is_kept_and_only_validation_is_made() -> None:
    samples = table()
    samples = samples.with_columns(split=pl.col("split").replace("id_test", "ood_test"))
    late = pl.col("split") == "ood_test"
    samples = samples.with_columns(speaker=pl.when(late).then(pl.lit("new")).otherwise("speaker"))
    moved, record = held_out(samples, "speaker", seed=0, share=0.15)
    assert list(record["groups"]) == ["ood_val"]
    assert moved.filter(late).equals(samples.filter(late))
    assert "new" not in record["groups"]["ood_val"]


FOUR_GROUPS = pl.DataFrame(
    {
        "id": [f"s{index}" for index in range(80)],
        "split": (["train"] * 4 + ["id_val"] * 4) * 10,
        "speaker": ["a", "b", "c", "d"] * 20,
    }
)
ONE_UNTESTED_GROUP = FOUR_GROUPS.with_columns(
    split=pl.when(pl.col("speaker") == "a")
    .then(pl.lit("id_val"))
    .otherwise(pl.col("split").replace("id_val", "id_test"))
)


@pytest.mark.parametrize(
    ("samples", "column", "share", "message"),
    [
        (table(), "film", 0.15, r"must have the column 'film', but has only id, split, speaker"),
        (table(speakers=3), "speaker", 0.15, r"at least 4 groups, but there are 3\. .*cluster"),
        (table(), "speaker", 0.0, r"--shift-share must be above 0 and below 0\.5, but got 0"),
        (table(), "speaker", 0.5, r"above 0 and below 0\.5, but got 0\.5"),
        (table(), "speaker", float("nan"), "but got nan"),
        (table().with_columns(speaker=pl.lit(None, pl.String)), "speaker", 0.15, "have no speaker"),
        (table(), "id", 0.15, "must tell groups of samples apart, .* but 'id' does not"),
        (table().with_columns(label=pl.lit(1.0)), "label", 0.15, "but 'label' does not"),
        (FOUR_GROUPS, "speaker", 0.49, r"a share of 0\.49 leaves train and id_val without enough"),
        (ONE_UNTESTED_GROUP, "speaker", 0.25, r"leaves id_val without enough .* --shift-seed"),
    ],
)
def test_a_shift_that_cannot_be_made_is_refused(
    samples: pl.DataFrame, column: str, share: float, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        held_out(samples, column, seed=0, share=share)


def test_speakers_come_before_videos_and_clusters_stand_in_for_few_groups() -> None:
    samples = table(speakers=30)
    videos = samples.with_columns(video=pl.col("id"))
    assert default_column(videos) == "speaker"
    assert default_column(videos.drop("speaker")) == "video"
    assert default_column(table(speakers=5)) == "cluster"
    assert default_column(samples.drop("speaker")) == "cluster"


def planted(scale: float) -> tuple[Any, Any]:
    """Twenty far-apart groups in five features, beside another modality that is noise."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(20), 10)
    centres = rng.normal(size=(20, 5)) * 100
    vectors = (centres[truth] + rng.normal(size=(200, 5)) * 0.01).astype(np.float32)
    return truth, [vectors, np.full((200, 1), scale, np.float32)]


def test_groups_that_some_samples_lack_are_not_held_out_by_default() -> None:
    samples = table().with_columns(
        speaker=pl.when(pl.int_range(pl.len()) > 0).then("speaker"), video="speaker"
    )
    assert default_column(samples) == "video"


@pytest.mark.parametrize("scale", [0.0, 1e6])
def test_clusters_are_the_groups_that_were_planted(scale: float) -> None:
    truth, vectors = planted(scale)
    found = cluster_column(vectors, seed=0)
    assert found.name == "cluster"
    assert found.n_unique() == 20
    pairs = set(zip(truth.tolist(), found.to_list(), strict=True))
    assert len(pairs) <= 22
    assert cluster_column(vectors, seed=0).equals(found)


def test_standardising_lets_a_feature_in_small_units_count() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(80) % 4
    small = (np.repeat(truth[:, None], 20, axis=1) * 1e-3).astype(np.float32)
    large = rng.normal(size=(80, 1)).astype(np.float32) * 1e3
    found = cluster_column([small, large], seed=0)
    for group in set(found):
        assert len(set(truth[(found == group).to_numpy()])) == 1


def test_too_few_samples_form_no_clusters() -> None:
    with pytest.raises(InputError, match="3 samples are too few to form 4 clusters"):
        cluster_column([np.zeros((3, 2), np.float32)], seed=0)


def test_a_test_set_cut_across_the_groups_is_left_as_it_is() -> None:
    before = table().with_columns(
        split=pl.when(pl.int_range(pl.len()) % 7 == 0)
        .then(pl.lit("ood_test"))
        .otherwise(pl.col("split"))
    )
    moved, record = held_out(before, "speaker", seed=0, share=0.15)
    given = before["split"] == "ood_test"
    assert (moved["split"] == "ood_test").equals(given)
    own = set(record["groups"]["ood_val"])
    assert own == groups_of(moved, "ood_val")
    assert own & set(moved.filter(~given & (pl.col("split") != "ood_val"))["speaker"]) == set()
    assert abs(moved.filter(pl.col("split") == "ood_val").height - 63) <= 20


def test_groups_without_a_sample_in_the_given_test_set_come_first() -> None:
    before = table().with_columns(
        split=pl.when(pl.col("speaker") < "p10").then(pl.lit("ood_test")).otherwise(pl.col("split"))
    )
    moved, _ = held_out(before, "speaker", seed=0, share=0.15)
    assert groups_of(moved, "ood_val") & groups_of(moved, "ood_test") == set()
