"""Clusters find what was planted, and inside bins of the label they do not find the label."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, mutual_info_score

from cmir.data.task import SENTIMENT, Task
from cmir.errors import InputError
from cmir.method.environments.clusters import (
    kmeans_environments,
    label_bins,
    label_kmeans_environments,
)

SIZE = 600


def room_and_label(link: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features that hold the label more strongly than the room: features, labels, room.

    `link` is the share of the room's offset that goes with the label's sign.
    """
    rng = np.random.default_rng(seed)
    labels = rng.uniform(-3, 3, SIZE)
    room = rng.integers(0, 2, SIZE)
    offset = np.where(room == 1, 2.0, -2.0) * np.where(rng.random(SIZE) < link, np.sign(labels), 1)
    features = rng.normal(scale=0.3, size=(SIZE, 4))
    features[:, 0] += 2 * labels
    features[:, 1] += offset
    return features, labels, room


def test_k_means_takes_the_label_where_label_k_means_takes_the_room() -> None:
    features, labels, room = room_and_label(link=0)
    plain = kmeans_environments(features, 2, seed=0)
    inside = label_kmeans_environments(features, labels, SENTIMENT, 2, seed=0)
    assert adjusted_rand_score(labels > 0, plain) > 0.85
    assert adjusted_rand_score(room, inside) > 0.95
    bins, _ = label_bins(labels, SENTIMENT)
    assert mutual_info_score(bins, inside) < 0.02 < 0.5 < mutual_info_score(bins, plain)


def test_clusters_are_matched_however_each_bin_numbers_its_own() -> None:
    features, labels, room = room_and_label(link=0)
    binary = (labels > 0).astype(np.float64)
    for seed in range(6):
        found = label_kmeans_environments(features, binary, Task("binary"), 2, seed)
        assert adjusted_rand_score(room, found) > 0.95


def test_a_link_that_changes_its_sign_is_matched_by_value() -> None:
    """The pitfall in the docstring: the room is not found where its offset follows the label."""
    features, labels, room = room_and_label(link=1)
    found = label_kmeans_environments(features, labels, SENTIMENT, 2, seed=0)
    assert adjusted_rand_score(room, found) < 0.05
    assert adjusted_rand_score(features[:, 1] > 0, found) > 0.95


def test_clusters_are_the_same_when_the_samples_come_in_another_order() -> None:
    features, labels, _ = room_and_label(link=0)
    order = np.random.default_rng(1).permutation(SIZE)
    found = label_kmeans_environments(features, labels, SENTIMENT, 2, seed=0)
    other = label_kmeans_environments(features[order], labels[order], SENTIMENT, 2, seed=0)
    assert adjusted_rand_score(found[order], other) == 1


def test_one_far_sample_is_no_cluster() -> None:
    features = room_and_label(link=0)[0]
    features /= features.std(0)
    features[0, 2] = 40
    assert np.bincount(kmeans_environments(features, 3, seed=0)).min() > 1


def test_bins_of_a_regression_hold_about_a_fifth_each() -> None:
    labels = np.random.default_rng(0).uniform(-3, 3, 500)
    bins, edges = label_bins(labels, SENTIMENT)
    assert np.abs(np.bincount(bins) - 100).max() <= 1
    wanted = [sum(label >= edge for edge in edges) for label in labels]
    assert bins.tolist() == wanted


@pytest.mark.parametrize("frequent", [-3.0, 0.0, 3.0])
def test_no_bin_is_empty_where_one_label_is_frequent(frequent: float) -> None:
    labels = np.random.default_rng(0).uniform(-3, 3, 300)
    labels[:200] = frequent
    bins, edges = label_bins(labels, SENTIMENT)
    assert np.bincount(bins, minlength=len(edges) + 1).min() > 0


def test_one_label_alone_is_one_bin() -> None:
    bins, edges = label_bins(np.zeros(10), SENTIMENT)
    assert (bins.tolist(), len(edges)) == ([0] * 10, 0)


def test_classes_are_the_bins_of_a_binary_task() -> None:
    assert label_bins(np.array([1.0, 0.0, 1.0]), Task("binary"))[0].tolist() == [1, 0, 1]


def test_a_bin_with_fewer_samples_than_groups_is_named() -> None:
    labels = np.array([1.0] + [0.0] * 20)
    with pytest.raises(InputError, match=r"at most 1, .* differ in bin 2 of 2 of the training lab"):
        label_kmeans_environments(
            np.random.default_rng(0).normal(size=(21, 2)), labels, Task("binary"), 3, 0
        )


def test_a_bin_with_fewer_places_than_groups_is_named() -> None:
    labels = np.repeat([0.0, 1.0], 10)
    features = np.arange(20.0)[:, None] * (labels == 1)[:, None]
    with pytest.raises(
        InputError, match=r"at most 1, .*bin 1 of 2 of the training labels, .*got 3"
    ):
        label_kmeans_environments(features, labels, Task("binary"), 3, 0)
