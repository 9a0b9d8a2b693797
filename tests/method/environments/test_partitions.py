"""Partitions: who goes with whom, computed once, shared through a folder, refused if too small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score

from cmir.data import DevelopmentData, load_dataset
from cmir.data.synthetic.generation import generate
from cmir.errors import InputError
from cmir.method.environments.diagnosis import diagnose
from cmir.method.environments.inferred_environments import eiil_environments, error_environments
from cmir.method.environments.partitions import Partitions, check_partition, partition
from cmir.method.environments.reference import train_reference
from cmir.method.networks.features import pooled_features
from tests.support.made_data.learning_data import (
    SIZES,
    learning_features,
    learning_samples,
    write_learning,
)
from tests.support.made_data.small_data import small_samples, write_small

SCHEMES = (
    *[(scheme, 3) for scheme in ("random", "kmeans", "label_kmeans", "speaker")],
    ("error", None),
    ("eiil", None),
)


def test_without_a_partition_all_samples_are_one_environment(learning: DevelopmentData) -> None:
    assert partition(learning, "none", 1).tolist() == [0] * SIZES["train"]


def test_random_groups_are_of_equal_size_and_repeatable(learning: DevelopmentData) -> None:
    groups = partition(learning, "random", 5)
    assert sorted(np.bincount(groups)) == [9, 9, 10, 10, 10]
    assert np.array_equal(groups, partition(learning, "random", 5))
    assert not np.array_equal(groups, partition(learning, "random", 5, seed=1))
    assert abs(np.corrcoef(groups, learning.train.labels)[0, 1]) < 0.5


def test_the_values_of_a_column_are_merged_and_never_divided(learning: DevelopmentData) -> None:
    groups = partition(learning, "speaker", 2)
    pairs = set(zip(learning.train.samples["speaker"], groups.tolist(), strict=True))
    assert len(pairs) == 5
    assert sorted(np.bincount(groups)) == [20, 28]


def test_as_many_groups_as_values_are_the_values(learning: DevelopmentData) -> None:
    groups = partition(learning, "speaker", 5)
    assert adjusted_rand_score(learning.train.samples["speaker"].to_list(), groups) == 1


def separated(folder: Path, kinds: int) -> tuple[DevelopmentData, np.ndarray]:
    """A dataset whose samples lie in `kinds` far places, and the place of each training sample."""
    table = learning_samples()
    kind = np.arange(table.height) % kinds
    vision = (100.0 * kind[:, None] + np.zeros((1, 3))).astype(np.float32)
    features = {name: np.zeros_like(x) for name, x in learning_features(table).items()}
    write_learning(folder, samples=table, features=features | {"vision": vision})
    data = load_dataset(folder).development()
    return data, kind[data.train.rows]


def test_k_means_finds_groups_that_lie_apart(tmp_path: Path) -> None:
    data, kinds = separated(tmp_path / "apart", 3)
    assert adjusted_rand_score(kinds, partition(data, "kmeans", 3)) == 1


def test_k_means_refuses_more_groups_than_places(tmp_path: Path) -> None:
    data, _ = separated(tmp_path / "apart", 3)
    with pytest.raises(InputError, match=r"environments\.groups must be at most 3.*but got 4"):
        partition(data, "kmeans", 4)


def test_pooled_features_of_the_training_split_are_standardised(learning: DevelopmentData) -> None:
    pooled = pooled_features(learning, learning.train.rows)
    assert pooled.shape == (SIZES["train"], 5 + 4 + 3)
    vision = pooled[:, -3:]  # modalities in the order of their names
    np.testing.assert_allclose(vision.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(vision.std(0), 1, rtol=1e-5)


def test_an_unknown_partition_names_the_ones_there_are(learning: DevelopmentData) -> None:
    with pytest.raises(
        InputError, match=r"none, random, kmeans, .*oracle, speaker .*'learning'.*'film'"
    ):
        check_partition(learning, "film", 2)


def test_a_column_that_cannot_be_a_partition_says_why(tmp_path: Path) -> None:
    samples = small_samples().with_columns(
        film=pl.when(pl.col("id") == "s3").then(None).otherwise(pl.lit("a")),
        room=pl.lit("one"),
        label_text=pl.col("label"),
    )
    data = load_dataset(write_small(tmp_path / "a", samples=samples)).development()
    assert data.environment_columns == ("speaker",)
    for column, reason in (
        ("film", "1 of 12 training samples have no film"),
        ("room", "every training sample has the same"),
        ("text_length", "it does not tell groups of samples apart"),
        ("label_text", "it does not tell groups of samples apart"),
    ):
        with pytest.raises(InputError, match=f"'{column}' .* cannot be a partition: {reason}"):
            check_partition(data, column, None)


@pytest.mark.parametrize(
    ("scheme", "most", "what"),
    [("speaker", 5, "values of 'speaker'"), ("random", 48, "samples"), ("kmeans", 48, "samples")],
)
def test_more_groups_than_there_can_be_are_refused(
    learning: DevelopmentData, scheme: str, most: int, what: str
) -> None:
    check_partition(learning, scheme, most)
    with pytest.raises(InputError, match=f"at most {most}, the number of {what}.*got {most + 1}"):
        check_partition(learning, scheme, most + 1)


def test_a_partition_reads_the_training_split_alone(learning: DevelopmentData) -> None:
    empty = replace(learning.ood_val, samples=pl.DataFrame(), rows=np.array([], dtype=np.int64))
    without = replace(learning, ood_val=empty, id_val=empty)
    for scheme, count in SCHEMES:
        groups = partition(learning, scheme, count)
        assert np.array_equal(groups, partition(without, scheme, count))


def test_without_a_number_there_are_four_groups(learning: DevelopmentData) -> None:
    groups = partition(learning, "random")
    assert np.array_equal(groups, partition(learning, "random", 4))


@pytest.mark.parametrize("scheme", ["error", "eiil", "oracle"])
def test_a_scheme_with_its_own_number_of_groups_takes_no_other(
    learning: DevelopmentData, scheme: str
) -> None:
    with pytest.raises(InputError, match=rf"groups must be left out .*'{scheme}'.*but got 2"):
        check_partition(learning, scheme, 2)


def test_inferred_partitions_are_those_of_the_reference(learning: DevelopmentData) -> None:
    reference = train_reference(learning)
    assert partition(learning, "error").tolist() == error_environments(reference).tolist()
    assert Partitions(learning).groups("eiil").tolist() == eiil_environments(reference).tolist()


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    """Synthetic data, whose samples' environments are in its column and in its ground truth."""
    folder = generate(
        tmp_path_factory.mktemp("known") / "data", modalities={"text": 6, "vision": 5}
    )
    return load_dataset(folder).development()


def test_the_oracle_knows_the_environments_of_synthetic_data(known: DevelopmentData) -> None:
    groups = partition(known, "oracle")
    assert sorted(set(groups.tolist())) == [0, 1, 2]
    names = [f"train_{group}" for group in groups]
    assert names == known.train.samples["environment"].to_list()


def test_the_oracle_is_refused_where_the_truth_is_not_known(learning: DevelopmentData) -> None:
    with pytest.raises(InputError, match=r"'oracle' needs .*'learning' has no ground_truth\.npz"):
        check_partition(learning, "oracle")


def test_a_ground_truth_of_other_data_is_refused(known: DevelopmentData, tmp_path: Path) -> None:
    elsewhere = replace(known, path=tmp_path)
    np.savez(tmp_path / "ground_truth.npz", environment=np.zeros(3))
    with pytest.raises(InputError, match=r"must have shape \(2800,\).*but has \(3,\)"):
        partition(elsewhere, "oracle")
    (tmp_path / "ground_truth.npz").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"ground_truth\.npz: cannot be read"):
        partition(elsewhere, "oracle")


@pytest.mark.parametrize(("scheme", "count"), SCHEMES)
def test_a_partition_is_the_same_with_a_cache_and_without(
    learning: DevelopmentData, tmp_path: Path, scheme: str, count: int | None
) -> None:
    wanted = partition(learning, scheme, count).tolist()
    for _ in range(2):
        found = Partitions(learning, tmp_path).groups(scheme, count)
        assert found.tolist() == wanted
        assert found.dtype == np.int64


def test_what_is_kept_is_what_another_instance_uses(
    learning: DevelopmentData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Partitions(learning, tmp_path)
    wanted = first.reference.scores, first.groups("kmeans", 3), first.diagnosis("eiil")

    def no_training(*arguments: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("cmir.method.environments.partitions.train_reference", no_training)
    monkeypatch.setattr(
        "cmir.method.environments.partition_schemes.kmeans_environments", no_training
    )
    second = Partitions(learning, tmp_path)
    assert np.array_equal(second.reference.scores, wanted[0])
    assert np.array_equal(second.groups("kmeans", 3), wanted[1])
    assert second.diagnosis("eiil") == wanted[2]
    with pytest.raises(AssertionError, match="computed again"):
        second.groups("kmeans", 4)


def test_other_data_and_another_task_share_nothing(
    learning: DevelopmentData, learning_binary: DevelopmentData, tmp_path: Path
) -> None:
    other = replace(learning, checksum="another")
    for data in (learning, other, learning_binary):
        Partitions(data, tmp_path).groups("kmeans", 3)
    assert len(list(tmp_path.iterdir())) == 3


def test_the_groups_handed_out_may_be_changed_without_harm(learning: DevelopmentData) -> None:
    partitions = Partitions(learning)
    partitions.groups("random", 3)[:] = 9
    assert partitions.groups("random", 3).max() == 2


def test_a_tiny_environment_is_refused_when_it_shall_be_used(learning: DevelopmentData) -> None:
    with pytest.raises(InputError, match=r"at least 8 training samples, .*of 'random' has 6"):
        Partitions(learning).groups("random", 8)


def test_a_reference_without_mistakes_makes_no_environments(tmp_path: Path) -> None:
    table = learning_samples("binary")
    features = {name: values * 0 for name, values in learning_features(table).items()}
    features["vision"] = features["vision"] + table["label"].to_numpy()[:, None]
    write_learning(tmp_path / "easy", task="binary", samples=table, features=features)
    partitions = Partitions(load_dataset(tmp_path / "easy").development())
    with pytest.raises(InputError, match=r"environment 1 of 'error' has 0 .*too few mistakes"):
        partitions.diagnosis("error")


def test_a_diagnosis_is_that_of_groups_and_reference(learning: DevelopmentData) -> None:
    partitions = Partitions(learning)
    wanted = diagnose("speaker", partition(learning, "speaker", 3), train_reference(learning))
    assert partitions.diagnosis("speaker", 3) == wanted
    assert partitions.diagnosis("none", 1) is None


def test_the_true_environments_of_synthetic_data_differ_in_risk(known: DevelopmentData) -> None:
    found = Partitions(known).diagnosis("oracle")
    assert found is not None
    losses = [row.reference_loss for row in found.environments]
    assert losses == sorted(losses)
    assert found.risk_variance.p == pytest.approx(1 / 21)
    assert found.mutual_information.p > 0.05
