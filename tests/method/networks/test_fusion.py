"""Streams fused into a modality: Eq. 13 as one linear layer, and Eq. 12 behind it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cmir.config import ModelConfig, trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.errors import InputError
from cmir.method.networks.features import Inputs, input_kinds, load_features, used_modalities
from cmir.method.networks.replicas import Layout
from cmir.method.networks.sized_network import network_for
from cmir.method.networks.unimodal import unimodal_parts, unimodal_vector
from cmir.method.training.fitting import fit
from cmir.serving.predictor import load_ensemble
from cmir.serving.trained_ensemble import ensemble_of
from tests.support.made_data.learning_data import (
    learning_features,
    learning_samples,
    write_learning,
)
from tests.support.plain_network import (
    convolution,
    encoder_layer,
    layer_norm,
    linear,
    of_replica,
    positions,
    random_weights,
)

CPU = torch.device("cpu")
ROWS = torch.tensor([[3, 0, 3], [7, 90, 1]])
EQ_12 = ModelConfig(representation_size=6, hidden_size=9, transformer_layers=2, transformer_heads=3)


@pytest.fixture(scope="module")
def jokes(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    """The learning data with a stream beside its text, of the same steps, and one of others."""
    samples = learning_samples()
    features = learning_features(samples)
    rng = np.random.default_rng(9)
    steps = features["text"].shape[1]
    features["humour"] = rng.normal(size=(len(samples), steps, 4)).astype(np.float32)
    features["laughter"] = rng.normal(size=(len(samples), 2, 3)).astype(np.float32)
    samples = samples.with_columns(humour_length=samples["text_length"])
    folder = tmp_path_factory.mktemp("jokes") / "data"
    return load_dataset(write_learning(folder, samples=samples, features=features)).development()


def config(**fuse: str) -> ModelConfig:
    return ModelConfig(modalities=("text", "audio"), fuse=fuse)


def test_a_fused_stream_is_no_modality_of_its_own(jokes: DevelopmentData) -> None:
    network = network_for(jokes, config(humour="text"))
    text, audio = jokes.modalities["text"].size, jokes.modalities["audio"].size
    assert network.sizes == {"audio": audio, "text": text + 4}
    assert network.inputs == {"audio": audio, "humour": 4, "text": text}
    assert set(used_modalities(jokes, config(humour="text"))) == {"text", "audio", "humour"}
    assert "humour" not in used_modalities(jokes, ModelConfig(modalities=("audio",)))


@pytest.mark.parametrize("stream", ["humour", "laughter", "vision"])
def test_the_fused_vector_is_a_linear_layer_on_both(jokes: DevelopmentData, stream: str) -> None:
    chosen = config(**{stream: "text"})
    network = network_for(jokes, chosen)
    inputs = {n: f.gather(ROWS) for n, f in load_features(jokes, chosen, CPU).items()}
    weights = random_weights(network.layout, 2)
    found = network.unimodal(weights, inputs)[:, list(network.sizes).index("text")]
    for replica in range(2):
        layer = linear(of_replica(weights, replica), "unimodal.text.linear")
        both = torch.cat([inputs["text"].values, inputs[stream].values], -1)[replica]
        torch.testing.assert_close(found[replica], layer(both))


def test_steps_are_fused_one_by_one_where_they_are_the_same(jokes: DevelopmentData) -> None:
    chosen = ModelConfig(
        modalities=("text",), unimodal={"text": "transformer_conv"}, fuse={"humour": "text"}
    )
    assert input_kinds(jokes, chosen) == {"humour": "transformer_conv", "text": "transformer_conv"}
    network = network_for(jokes, chosen)
    inputs = {n: f.gather(ROWS) for n, f in load_features(jokes, chosen, CPU).items()}
    weights = random_weights(network.layout, 2)
    both = Inputs(
        torch.cat([inputs["text"].values, inputs["humour"].values], -1), inputs["text"].mask
    )
    expected = unimodal_vector(weights, "unimodal.text", "transformer_conv", both, chosen)
    assert torch.equal(network.unimodal(weights, inputs)[:, 0], expected)


def test_other_steps_are_refused_with_the_way_out(jokes: DevelopmentData) -> None:
    chosen = ModelConfig(unimodal={"text": "transformer"}, fuse={"laughter": "text"})
    with pytest.raises(InputError, match=r"model\.fuse\.laughter: must have the steps of text"):
        network_for(jokes, chosen)
    with pytest.raises(InputError, match="names 'smell'"):
        network_for(jokes, ModelConfig(fuse={"smell": "text"}))


def eq_12(weights: dict[str, Tensor], inputs: Inputs) -> Tensor:
    """Linear layer, Transformer encoder, Conv1d over the valid steps, and their mean."""
    assert inputs.mask is not None
    hidden = linear(weights, "m.linear")(inputs.values)
    hidden = hidden + positions(hidden.shape[1], hidden.shape[2])
    for layer in range(EQ_12.transformer_layers):
        block = encoder_layer(weights, f"m.layer{layer}", EQ_12)
        hidden = block(hidden, src_key_padding_mask=~inputs.mask)
    hidden = layer_norm(weights, "m.norm")(hidden)
    convolve = convolution(weights, "m.convolution")
    own = [steps[valid] for steps, valid in zip(hidden, inputs.mask, strict=True)]
    return torch.stack([convolve(steps.T[None])[0].mean(1) for steps in own])


@pytest.mark.parametrize("padding", [0, 3])
def test_the_transformer_before_the_convolution_is_the_one_of_torch(padding: int) -> None:
    source = torch.Generator().manual_seed(1)
    lengths = torch.tensor([[1, 5, 3], [5, 2, 4]])
    mask = torch.arange(5 + padding) < lengths[..., None]
    values = torch.zeros(2, 3, 5 + padding, 7)
    values[:, :, :5] = torch.randn(2, 3, 5, 7, generator=source)
    inputs = Inputs(values * mask[..., None], mask)
    weights = random_weights(Layout(unimodal_parts("m", "transformer_conv", 7, EQ_12)), 2)
    stacked = unimodal_vector(weights, "m", "transformer_conv", inputs, EQ_12)
    for replica in range(2):
        plain = eq_12(of_replica(weights, replica), Inputs(inputs.values[replica], mask[replica]))
        torch.testing.assert_close(stacked[replica], plain)


@pytest.mark.parametrize("kind", ["pool", "transformer_conv"])
def test_a_fused_model_trains_and_serves_from_its_files(
    jokes: DevelopmentData, tmp_path: Path, kind: str
) -> None:
    flat = {
        "model.modalities": ("text", "audio"),
        "model.unimodal.text": kind,
        "model.unimodal.audio": "pool",
        "model.fuse.humour": "text",
        "model.representation_size": 6,
        "model.hidden_size": 8,
        "training.epochs": 1,
        "environments.view": "swap",
    }
    *_, last = fit(jokes, trial_config(flat, seeds=(0, 1)))
    assert last.result is not None
    ensemble = ensemble_of(last.result, jokes)
    served = load_ensemble(ensemble.save(tmp_path / "model"))
    rows = jokes.id_val.rows[:5]
    request = {n: np.asarray(jokes.modalities[n].array[rows]) for n in ("text", "audio", "humour")}
    lengths = {
        f"{n}_lengths": np.asarray(jokes.modalities[n].lengths)[rows]
        for n in ("text", "audio", "humour")
    }
    found = served.predict(request | lengths)["prediction"]
    without = served.predict(request | lengths | {"humour": 0 * request["humour"]})["prediction"]
    assert np.isfinite(found).all()
    assert np.abs(found - without).max() > 1e-6


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        (
            {"model.fuse.humour": "text", "model.fuse.text": "audio"},
            r"fuse\.humour must name a modality that is not fused itself, but got 'text'",
        ),
        ({"model.fuse.text": "text"}, "must name a modality that is not fused itself"),
        (
            {"model.fuse.humour": "text", "model.unimodal.humour": "pool"},
            r"unimodal\.humour has no effect: the stream is fused into 'text'",
        ),
    ],
)
def test_a_fusion_without_sense_is_refused(flat: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        trial_config(flat)
