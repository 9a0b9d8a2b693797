"""Views: how often, how far and by what a vector is replaced; partitions: who goes with whom."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from learning_data import SIZES, learning_features, learning_samples, write_learning
from sklearn.metrics import adjusted_rand_score
from torch import Tensor

from cmir.data import DevelopmentData, load_dataset
from cmir.errors import InputError
from cmir.learning.environments import (
    VIEWS,
    check_partition,
    erase_views,
    noise_views,
    partition,
    pooled_features,
    swap_views,
)

RATES = torch.tensor([[0.0, 0.3, 1.0], [0.9, 0.5, 0.1]])
COUNT = 4


def sources(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def samples(batch: int, size: int = 3) -> Tensor:
    """Features `(2, 3, batch, size)` that are all different and none of them zero."""
    return 1 + torch.arange(2 * 3 * batch * size, dtype=torch.float32).view(2, 3, batch, size)


def expected_rates() -> Tensor:
    """`(replica, modality, view)`: rate * e / K."""
    return RATES[..., None] * torch.tensor([0.25, 0.5, 0.75, 1.0])


def test_noise_has_the_standard_deviation_of_its_view_and_modality() -> None:
    features = torch.zeros(2, 3, 500, 40)
    noisy = noise_views(features, COUNT, RATES, sources(0, 1))
    assert noisy.shape == (2, 3, COUNT, 500, 40)
    wanted = RATES[..., None] * torch.tensor([1.0, 2.0, 3.0, 4.0])
    torch.testing.assert_close(noisy.std((-2, -1)), wanted, rtol=0.02, atol=0)
    torch.testing.assert_close(noisy.mean((-2, -1)), torch.zeros(2, 3, 4), rtol=0, atol=0.15)


def test_noise_is_added_to_the_features_and_is_new_in_every_place() -> None:
    features, rates = samples(5), torch.ones(2, 3)
    noise = noise_views(features, 2, rates, sources(0, 1)) - features[:, :, None]
    noise = (noise / torch.tensor([1.0, 2.0])[:, None, None]).flatten()
    assert len(set(noise.mul(1000).round().tolist())) > 0.9 * len(noise)


def test_a_modality_is_erased_whole_at_its_rate_and_otherwise_left_alone() -> None:
    features = samples(4000)
    erased = erase_views(features, COUNT, RATES, sources(0, 1))
    is_zero = (erased == 0).all(-1)
    kept = (erased == features[:, :, None]).all(-1)
    assert (is_zero ^ kept).all()
    torch.testing.assert_close(is_zero.float().mean(-1), expected_rates(), rtol=0, atol=0.03)


def test_a_modality_is_swapped_for_another_sample_of_its_own_at_its_rate() -> None:
    features = samples(300, size=2)
    swapped = swap_views(features, COUNT, RATES, sources(0, 1))
    for replica in range(2):
        for modality in range(3):
            mine = features[replica, modality]
            # Which sample of the same replica and modality stands here: there is always one.
            matches = (swapped[replica, modality][..., None, :] == mine).all(-1)
            assert (matches.sum(-1) == 1).all()
            source = matches.int().argmax(-1)
            moved = (source != torch.arange(300)).float().mean(-1)
            wanted = expected_rates()[replica, modality]
            torch.testing.assert_close(moved, wanted, rtol=0, atol=0.1)


def test_every_other_sample_may_be_the_source_of_a_swap() -> None:
    features = torch.arange(4.0).view(1, 1, 4, 1)
    found = torch.cat(
        [
            swap_views(features, 1, torch.ones(1, 1), sources(seed)).flatten()[None]
            for seed in range(200)
        ]
    )
    for own in range(4):
        counts = torch.bincount(found[:, own].long(), minlength=4).tolist()
        assert counts.pop(own) == 0
        assert min(counts) > 30


def test_the_gradient_of_a_swap_goes_to_the_sample_that_was_used() -> None:
    features = torch.arange(4.0).view(1, 1, 4, 1).requires_grad_()
    swapped = swap_views(features, 1, torch.ones(1, 1), sources(0))
    (gradient,) = torch.autograd.grad(swapped.sum(), features)
    used = torch.bincount(swapped.detach().flatten().long(), minlength=4)
    assert gradient.flatten().tolist() == used.tolist()


def test_modalities_are_swapped_apart() -> None:
    features = torch.arange(50.0).view(1, 1, 50, 1).expand(1, 2, 50, 1)
    first, second = swap_views(features, 1, torch.full((1, 2), 0.5), sources(0))[0].unbind(0)
    assert (first != second).any()


def test_one_sample_alone_is_swapped_for_itself() -> None:
    features = samples(1)
    swapped = swap_views(features, 2, torch.ones(2, 3), sources(0, 1))
    assert (swapped == features[:, :, None]).all()


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_the_views_of_a_replica_do_not_depend_on_the_other_replicas(name: str) -> None:
    features = samples(6)
    stacked = VIEWS[name](features, COUNT, RATES, sources(7, 8))
    for replica, seed in enumerate((7, 8)):
        alone = slice(replica, replica + 1)
        single = VIEWS[name](features[alone], COUNT, RATES[alone], sources(seed))
        assert torch.equal(stacked[alone], single)


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_a_rate_of_zero_leaves_every_view_as_the_clean_sample(name: str) -> None:
    features = samples(6)
    views = VIEWS[name](features, COUNT, torch.zeros(2, 3), sources(0, 1))
    assert torch.equal(views, features[:, :, None].expand_as(views))


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
    with pytest.raises(InputError, match=r"none, random, kmeans, speaker .*'learning'.*'film'"):
        check_partition(learning, "film", 2)


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
    for scheme in ("random", "kmeans", "speaker"):
        groups = partition(learning, scheme, 3)
        assert np.array_equal(groups, partition(without, scheme, 3))
