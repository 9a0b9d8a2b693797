"""What the invariance constraint is under Gaussian noise: for a linear encoder the data cancels.

z_a - z_b = W (alpha_a eps_a - alpha_b eps_b) has a Gaussian for each row w of W, of deviation
hypot(alpha_a, alpha_b) |w|, whose mean size is sqrt(2 / pi) of that.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from cmir.config import trial_config
from cmir.data.synthetic.structural_model import ModalitySpec, draw_latents, observe
from cmir.method.environments.perturbations import noise_views
from cmir.method.losses.constraints import invariance
from cmir.method.losses.objective import Batch, Objective
from cmir.method.losses.replica_settings import replica_settings
from cmir.method.networks.features import Inputs
from cmir.method.networks.model import Network

SAMPLES = 20_000
STRENGTH = 0.3
# |x| of a Gaussian has the deviation sqrt(1 - 2 / pi); rows and pairs share noise, at worst wholly,
# so that their sum deviates by no larger part of itself. Four standard errors of a mean.
TOLERANCE = 4 * math.sqrt((1 - 2 / math.pi) / (2 / math.pi) / SAMPLES)


def normal(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def closed_form(encoder: Tensor, first: float, second: float) -> float:
    """Of one pair of environments with noise of these strengths; encoder `(inputs, outputs)`."""
    norms = float(encoder.norm(dim=0).sum())
    return math.sqrt(2 / math.pi) * math.hypot(first, second) * norms


def noisy(features: Tensor, count: int, rates: list[float], seed: int = 3) -> Tensor:
    """Clean and noisy views `(modality, view, sample, features)` of `(modality, sample, ...)`."""
    source = [torch.Generator().manual_seed(seed)]
    views = noise_views(features[None], count, torch.tensor([rates]), source)[0]
    return torch.cat([features[:, None], views], dim=1)


@pytest.mark.parametrize("pair", [(0, 1), (0, 3), (1, 2), (2, 3)])
def test_eq_4_of_a_linear_encoder_is_its_closed_form(pair: tuple[int, int]) -> None:
    encoder, features = normal(5, 7, seed=1), 10 * normal(1, SAMPLES, 5, seed=2)
    encoded = noisy(features, 3, [STRENGTH])[0] @ encoder
    expected = closed_form(encoder, STRENGTH * pair[0], STRENGTH * pair[1])
    assert invariance(encoded[None, list(pair)]).item() == pytest.approx(expected, rel=TOLERANCE)


def test_rates_weight_the_modalities() -> None:
    rates = [0.1, 0.5, 0.0]
    encoders, features = normal(3, 5, 7, seed=1), normal(3, SAMPLES, 5, seed=2)
    encoded = noisy(features, 2, rates) @ encoders[:, None]
    expected = [
        sum(closed_form(one, rate * a, rate * b) for a, b in ((0, 1), (0, 2), (1, 2)))
        for one, rate in zip(encoders, rates, strict=True)
    ]
    assert invariance(encoded).tolist() == pytest.approx(expected, rel=TOLERANCE, abs=1e-12)


def test_the_constraint_of_a_training_step_is_the_closed_form_too() -> None:
    # An encoder whose hidden units never switch off is linear, whatever its activation function.
    config = trial_config(
        {
            "environments.view": "noise",
            "environments.count": 2,
            "environments.strength": STRENGTH,
            "environments.rate": {"audio": 0.5},
            "loss.invariance": 1.0,
            "loss.reduction": "sum",
            "model.representation_size": 6,
            "model.hidden_size": 8,
        }
    )
    network = Network(config.model, {"text": 6, "audio": 6}, {"text": "pool", "audio": "pool"})
    weights = dict(network.layout.unpack(network.layout.initial(0)[None]))
    for layer in ("first", "second"):
        weights[f"encoder.{layer}.bias"] = torch.full((1, 2, 1, 8), 50.0)
        weights[f"encoder.{layer}.weight"] = weights[f"encoder.{layer}.weight"].abs()
    inputs = {name: Inputs(normal(1, SAMPLES, 6, seed=4)) for name in network.sizes}
    objective = Objective(network, config, "mse")
    terms, _ = objective.terms(
        weights,
        Batch(inputs, torch.zeros(1, SAMPLES), torch.zeros(1, SAMPLES, dtype=torch.int64)),
        replica_settings([config], list(network.sizes), torch.device("cpu")),
        [torch.Generator().manual_seed(5)],
        ["invariance"],
        objective.start_memory(1, torch.device("cpu")),
    )
    layers = [weights[f"encoder.{name}.weight"][0] for name in ("first", "second", "invariant")]
    encoders = layers[0] @ layers[1] @ layers[2]
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = sum(
        closed_form(encoder, STRENGTH * rate * a, STRENGTH * rate * b)
        for encoder, rate in zip(encoders, (1.0, 0.5), strict=True)
        for a, b in pairs
    )
    assert terms["invariance"].item() == pytest.approx(expected, rel=TOLERANCE)


def features_of(correlation: float) -> tuple[Tensor, np.ndarray]:
    """A modality that shows a spurious feature of this correlation, and the labels."""
    latents = draw_latents(
        np.full(2000, correlation),
        causal_size=5,
        spurious_size=10,
        label_noise=0.25,
        task="regression",
        seed=0,
    )
    blocks = observe("vision", ModalitySpec(16, spurious=1.5), latents, None, seed=0)
    return torch.from_numpy(np.concatenate(list(blocks)))[None], latents.labels


def test_noise_cannot_tell_data_with_a_spurious_feature_from_data_without() -> None:
    encoder, values, links = normal(16, 7, seed=1), [], []
    for correlation in (1.0, 0.0):
        features, labels = features_of(correlation)
        links.append(np.linalg.lstsq(features[0].numpy(), labels, rcond=None)[1][0])
        encoded = noisy(features, 2, [STRENGTH])[0] @ encoder
        values.append(invariance(encoded[None]).item())
    # The label is far easier to predict from the one than from the other: the link is there.
    assert links[0] < 0.7 * links[1]
    # With the same noise the values agree to rounding, not only in the mean.
    assert values[0] == pytest.approx(values[1], rel=1e-5)
