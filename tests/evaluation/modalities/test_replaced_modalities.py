"""Interventions on a model that is a plain sum, where what they do is known."""

import numpy as np
import torch

from cmir.evaluation.modalities.replaced_modalities import Intervened
from cmir.evaluation.modalities.worth import gains, links


def added(invariant: torch.Tensor) -> np.ndarray:
    """First modality + 2 * second: `(seed, modality, n, 1)` to `(seed, n, 1)`."""
    return (invariant[:, 0] + 2 * invariant[:, 1]).numpy().astype(np.float64)


def asked(samples: int) -> Intervened:
    torch.manual_seed(0)
    invariant = torch.randn(2, 2, samples, 1)
    return Intervened(invariant, added, added(invariant))


def test_without_a_modality_the_mean_of_it_is_left() -> None:
    model = asked(400)
    without = model.without(1, np.random.default_rng(0))
    first, second = model.invariant[:, 0].numpy(), model.invariant[:, 1].numpy()
    # Of eight draws of 2 x'.
    expected = 4 * second.var() / 8
    assert np.isclose((without.mean - first).var(), expected, rtol=0.15)
    assert np.isclose(without.variance.mean(), expected, rtol=0.05)
    # By one draw it moves by 2 (x' - x).
    assert np.allclose(without.moved.mean(), 8 * second.var(), rtol=0.1)


def test_a_modality_alone_moves_predictions_by_itself() -> None:
    model = asked(400)
    alone = model.alone(1, np.random.default_rng(0))[..., 0]
    for seed in range(2):
        own = model.invariant[seed, 1, :, 0].numpy()
        assert np.corrcoef(alone[seed], own)[0, 1] > 0.98


def test_the_gain_is_free_of_the_noise_of_few_draws() -> None:
    model = asked(4000)
    targets = model.before[0]
    without = model.without(1, np.random.default_rng(1))
    # Of the first seed, whose predictions are the labels, all of the variance 4 is gained.
    exact = np.square(2 * (model.invariant[0, 1] - model.invariant[0, 1].mean()).numpy()).mean()
    assert np.isclose(gains(model.before, without, targets)[0].mean(), exact, rtol=0.03)


def test_links_have_the_correlation_as_mean_and_its_error_as_spread() -> None:
    random = np.random.default_rng(0)
    labels = random.normal(size=(2000, 1))
    own = 0.6 * labels[None] + 0.8 * random.normal(size=(2, 2000, 1))
    values = links(own, labels)
    for seed in range(2):
        expected = np.corrcoef(own[seed, :, 0], labels[:, 0])[0, 1]
        assert np.isclose(values[seed].mean(), expected)
        # (1 - r^2) / sqrt(n) of a normal pair.
        assert np.isclose(
            values[seed].std() / np.sqrt(2000), (1 - expected**2) / np.sqrt(2000), rtol=0.1
        )


def test_what_does_not_vary_has_no_link() -> None:
    labels = np.random.default_rng(0).normal(size=(50, 1))
    assert np.all(links(np.ones((2, 50, 1)), labels) == 0)
