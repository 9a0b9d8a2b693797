"""Each corruption against a spelled-out one, on a text, an audio sequence and a vision vector."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from cmir.config import ModelConfig
from cmir.data import DevelopmentData
from cmir.data.row_blocks import pool
from cmir.evaluation.robustness.corruption_inputs import Subject, subjects
from cmir.evaluation.robustness.corruptions import (
    CORRUPTIONS,
    DELAYS,
    NOISE_RATES,
    STEP_RATES,
    SWAP_RATES,
    Corrupted,
    delay,
    delayed,
    gaussian,
    gaussian_noise,
    missing_modality,
    missing_steps,
    swapped,
    unseen,
)
from cmir.method.networks.features import Inputs, load_features, load_steps
from cmir.method.networks.sized_network import network_for
from tests.support.plain_network import random_weights

CONFIG = ModelConfig(representation_size=6, hidden_size=8)
CPU = torch.device("cpu")
ROWS = np.arange(60)
NAMES = ("audio", "text", "vision")


def subject_of(
    data: DevelopmentData, config: ModelConfig = CONFIG, rows: np.ndarray = ROWS, seed: int = 0
) -> Subject:
    network = network_for(data, config)
    weights, features = random_weights(network.layout, 2), load_steps(data, network.sizes, CPU)
    (subject,) = subjects(network, weights, features, rows, CPU, seed)
    return subject


@pytest.fixture(scope="module")
def subject(learning: DevelopmentData) -> Subject:
    return subject_of(learning)


def found(variants: list[Corrupted], where: str, modality: str, severity: float) -> Tensor:
    (one,) = [
        v for v in variants if (v.where, v.modality, v.severity) == (where, modality, severity)
    ]
    return one.vectors


def of_values(subject: Subject, values: dict[str, Tensor]) -> Tensor:
    """X_m of corrupted inputs, text pooled by the code that prepares data."""
    vectors = []
    for name in NAMES:
        given = subject.inputs[name]
        inputs = Inputs(values[name], given.mask)
        if name == "text":
            assert given.mask is not None
            lengths = given.mask[0].sum(1).numpy()
            inputs = Inputs(torch.from_numpy(pool(values[name][0].numpy(), lengths))[None])
        vectors.append(subject.vector(name, inputs))
    return torch.stack(vectors, dim=1)


def test_clean_vectors_of_steps_are_those_of_pooled_features(
    learning: DevelopmentData, subject: Subject
) -> None:
    features = load_features(learning, CONFIG, CPU)
    (pooled,) = subjects(subject.network, subject.weights, features, ROWS, CPU, 0)
    torch.testing.assert_close(subject.vectors, pooled.vectors)


def test_gaussian_noise_on_features_is_equation_14_step_by_step(subject: Subject) -> None:
    variants = list(gaussian(subject))
    values = {}
    for name, one in subject.inputs.items():
        noise = torch.randn(one.values.shape, generator=subject.source(f"normal {name}"))
        values[name] = 0.7 * one.values + 0.3 * noise
        if one.mask is not None:
            values[name][~one.mask] = 0.0
    torch.testing.assert_close(found(variants, "features", "all", 0.3), of_values(subject, values))
    assert [v.severity for v in variants if v.where == "features"] == list(NOISE_RATES)


def test_gaussian_noise_on_vectors_is_equation_14(subject: Subject) -> None:
    wanted = 0.5 * subject.vectors + 0.5 * gaussian_noise(subject)
    torch.testing.assert_close(found(list(gaussian(subject)), "vectors", "all", 0.5), wanted)


def test_unseen_noise_is_laplace_on_half_of_the_samples_and_dropout_on_the_others(
    learning: DevelopmentData,
) -> None:
    subject = subject_of(learning, rows=np.tile(np.arange(110), 4))
    vectors = found(list(unseen(subject)), "vectors", "all", 0.4)
    kept = (vectors == subject.vectors) | (vectors == 0)
    is_dropped = kept.all(dim=3).all(dim=1).all(dim=0)
    assert not kept[:, :, ~is_dropped].any()
    assert 0.4 < is_dropped.float().mean() < 0.6
    dropped = (vectors[:, :, is_dropped] == 0).float()
    assert dropped.mean() == pytest.approx(0.4, abs=0.02)
    noise = ((vectors - 0.6 * subject.vectors) / 0.4)[0][:, ~is_dropped]
    assert stats.kstest(noise.flatten(), stats.laplace(scale=0.5**0.5).cdf).pvalue > 0.01
    assert noise.var() == pytest.approx(1.0, abs=0.1)


def test_what_is_dropped_at_a_rate_is_dropped_at_every_higher_one(subject: Subject) -> None:
    vectors = [v.vectors for v in unseen(subject) if v.where == "vectors"]
    zeros = [(one == 0) for one in vectors]
    for low, high in itertools.pairwise(zeros):
        assert (high | ~low).all()
        assert high.sum() > low.sum()


def test_unseen_noise_on_features_reaches_every_modality(subject: Subject) -> None:
    vectors = found(list(unseen(subject)), "features", "all", 0.7)
    moved = (vectors - subject.vectors).abs().amax(dim=(0, 2, 3))
    assert (moved > 0.1).all()


def test_a_missing_modality_is_zero_and_the_others_stay(subject: Subject) -> None:
    variants = list(missing_modality(subject))
    wanted = subject.vectors.clone()
    wanted[:, [0, 2]] = 0.0
    torch.testing.assert_close(found(variants, "vectors", "audio+vision", 2.0), wanted)
    values = {name: one.values for name, one in subject.inputs.items()}
    values["text"] = torch.zeros_like(values["text"])
    torch.testing.assert_close(found(variants, "features", "text", 1.0), of_values(subject, values))


def test_each_modality_and_each_pair_is_missed_once(subject: Subject) -> None:
    missed = [v.modality for v in missing_modality(subject) if v.where == "vectors"]
    assert missed == ["audio", "text", "vision", "audio+text", "audio+vision", "text+vision"]


@pytest.mark.parametrize(
    ("modalities", "missed"), [(("text",), []), (("audio", "text"), ["audio", "text"])]
)
def test_something_is_always_left(
    learning: DevelopmentData, modalities: tuple[str, ...], missed: list[str]
) -> None:
    config = ModelConfig(representation_size=6, hidden_size=8, modalities=modalities)
    variants = missing_modality(subject_of(learning, config))
    assert [v.modality for v in variants if v.where == "vectors"] == missed


def test_missing_steps_are_zero_and_still_count(subject: Subject) -> None:
    variants = list(missing_steps(subject))
    values = {name: one.values.clone() for name, one in subject.inputs.items()}
    for name in ("audio", "text"):
        shape = (*values[name].shape[:3], 1)
        draw = torch.rand(shape, generator=subject.source(f"steps of {name}"))
        values[name][(draw < 0.6)[..., 0]] = 0.0
    wanted = of_values(subject, values)
    torch.testing.assert_close(found(variants, "features", "all", 0.6), wanted)
    alone = found(variants, "features", "text", 0.6)
    torch.testing.assert_close(alone[:, 1], wanted[:, 1])
    torch.testing.assert_close(alone[:, [0, 2]], subject.vectors[:, [0, 2]])
    assert {v.modality for v in variants} == {"audio", "text", "all"}
    assert sorted({v.severity for v in variants}) == list(STEP_RATES)


def test_a_modality_of_another_sample_keeps_its_distribution(subject: Subject) -> None:
    variants = list(swapped(subject))
    before, after = subject.vectors[0], found(variants, "vectors", "vision", 1.0)[0]
    torch.testing.assert_close(after[:2], before[:2])
    assert not (after[2] == before[2]).all(dim=1).any()
    torch.testing.assert_close(after[2].sort(0).values, before[2].sort(0).values)
    assert sorted({v.severity for v in variants}) == list(SWAP_RATES)


def test_a_swap_takes_a_share_of_the_samples(learning: DevelopmentData) -> None:
    subject = subject_of(learning, rows=np.tile(np.arange(110), 4))
    variants = list(swapped(subject))
    moved = found(variants, "vectors", "text", 0.4)[0, 1] != subject.vectors[0, 1]
    assert moved.any(dim=1).float().mean() == pytest.approx(0.4, abs=0.07)


def test_one_sample_has_nobody_to_swap_with(learning: DevelopmentData) -> None:
    assert list(swapped(subject_of(learning, rows=np.arange(1)))) == []


@pytest.mark.parametrize("share", DELAYS)
def test_a_delay_is_a_shift_by_a_share_of_the_own_length(share: float) -> None:
    lengths = [1, 4, 9, 10]
    mask = torch.arange(10) < torch.tensor(lengths)[:, None]
    values = torch.randn(4, 10, 3, generator=torch.Generator().manual_seed(0)) * mask[..., None]
    moved = delay(Inputs(values[None], mask[None]), share)
    for sample, length in enumerate(lengths):
        lag = round(share * length)
        for step in range(10):
            is_heard = lag <= step < length
            wanted = values[sample, step - lag] if is_heard else torch.zeros(3)
            torch.testing.assert_close(moved.values[0, sample, step], wanted)
    assert moved.mask is not None
    assert torch.equal(moved.mask[0], mask)


def test_each_sequence_is_delayed_alone(subject: Subject) -> None:
    variants = list(delayed(subject))
    assert [v.modality for v in variants] == ["audio"] * len(DELAYS) + ["text"] * len(DELAYS)
    late = found(variants, "features", "audio", 0.5)
    torch.testing.assert_close(late[:, 1:], subject.vectors[:, 1:])
    assert (late[:, 0] - subject.vectors[:, 0]).abs().max() > 0.01


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_depends_on_the_seed_alone(learning: DevelopmentData, name: str) -> None:
    first, again = (list(CORRUPTIONS[name](subject_of(learning, seed=3))) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one.vectors, other.vectors)
    if name not in ("missing_modality", "delayed"):
        others = list(CORRUPTIONS[name](subject_of(learning, seed=4)))
        assert any(
            not torch.equal(one.vectors, other.vectors)
            for one, other in zip(first, others, strict=True)
        )
