"""Features as the networks get them: standardised, masked, gathered, and shared with the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cmir.config import ModelConfig, UnimodalKind
from cmir.data import DevelopmentData, load_dataset
from cmir.errors import InputError
from cmir.method.networks.features import (
    Sequences,
    Vectors,
    load_features,
    unimodal_kind,
    used_modalities,
)
from tests.support.made_data.learning_data import (
    learning_features,
    learning_samples,
    write_learning,
)

CPU = torch.device("cpu")
ROWS = torch.tensor([[3, 0, 3], [7, 90, 1]])


def test_vectors_are_standardised_by_the_training_split(learning: DevelopmentData) -> None:
    vision = load_features(learning, ModelConfig(), CPU)["vision"]
    assert isinstance(vision, Vectors)
    raw = learning.modalities["vision"].array[learning.train.rows].astype(np.float64)
    wanted = (raw - raw.mean(0)) / raw.std(0)
    train = torch.from_numpy(learning.train.rows)
    torch.testing.assert_close(vision.values[train].double(), torch.from_numpy(wanted))
    gathered = vision.gather(ROWS)
    assert gathered.mask is None
    assert torch.equal(gathered.values[1, 1], vision.values[90])


def test_a_sequence_has_standardised_valid_steps_and_zeros_beyond(
    learning: DevelopmentData,
) -> None:
    modality = learning.modalities["audio"]
    audio = load_features(learning, ModelConfig(), CPU)["audio"].gather(ROWS)
    assert audio.values.shape == (2, 3, 4, 4)
    assert audio.mask is not None
    assert modality.lengths is not None
    for place in np.ndindex(2, 3):
        row = int(ROWS[place])
        valid = int(modality.lengths[row])
        assert audio.mask[place].tolist() == [step < valid for step in range(4)]
        wanted = (modality.array[row, :valid] - modality.mean) / modality.std
        torch.testing.assert_close(audio.values[place][:valid], torch.from_numpy(wanted))
        assert (audio.values[place][valid:] == 0).all()


def test_a_pooled_sequence_is_the_mean_of_its_standardised_steps(
    learning: DevelopmentData,
) -> None:
    config = ModelConfig(unimodal={"audio": "pool"})
    pooled = load_features(learning, config, CPU)["audio"].gather(ROWS)
    steps = load_features(learning, ModelConfig(), CPU)["audio"].gather(ROWS)
    assert steps.mask is not None
    mean = steps.values.sum(2) / steps.mask.sum(2, keepdim=True)
    torch.testing.assert_close(pooled.values, mean)


def test_sequences_on_the_cpu_are_the_memory_map_itself(learning: DevelopmentData) -> None:
    audio = load_features(learning, ModelConfig(), CPU)["audio"]
    assert isinstance(audio, Sequences)
    assert audio.values.data_ptr() == learning.modalities["audio"].array.ctypes.data


def test_half_precision_features_are_single_precision_in_the_network(tmp_path: Path) -> None:
    samples = learning_samples()
    halves = {name: x.astype(np.float16) for name, x in learning_features(samples).items()}
    data = load_dataset(write_learning(tmp_path / "half", features=halves)).development()
    for loaded in load_features(data, ModelConfig(), CPU).values():
        assert loaded.gather(ROWS).values.dtype == torch.float32


def test_a_modality_that_is_left_out_is_not_loaded(learning: DevelopmentData) -> None:
    config = ModelConfig(modalities=("vision", "audio"))
    assert list(load_features(learning, config, CPU)) == ["audio", "vision"]


def test_modalities_stand_in_the_order_of_the_data(learning: DevelopmentData) -> None:
    order = tuple(learning.modalities)
    assert used_modalities(learning, ModelConfig()) == order
    assert used_modalities(learning, ModelConfig(modalities=order[::-1])) == order


@pytest.mark.parametrize(
    "config", [ModelConfig(modalities=("smell",)), ModelConfig(unimodal={"smell": "pool"})]
)
def test_a_modality_that_is_not_there_is_refused(
    learning: DevelopmentData, config: ModelConfig
) -> None:
    with pytest.raises(InputError, match=r"'learning' has .*audio, text, vision.* names 'smell'"):
        used_modalities(learning, config)


def test_the_shape_of_a_modality_chooses_its_network(learning: DevelopmentData) -> None:
    kinds = {name: unimodal_kind(m, ModelConfig()) for name, m in learning.modalities.items()}
    assert kinds == {"audio": "transformer", "text": "pool", "vision": "mlp"}


def test_a_configured_network_wins(learning: DevelopmentData) -> None:
    config = ModelConfig(unimodal={"text": "transformer"})
    assert unimodal_kind(learning.modalities["text"], config) == "transformer"


@pytest.mark.parametrize(
    ("modality", "kind", "message"),
    [
        ("vision", "pool", r"model\.unimodal\.vision must be mlp for vectors .*got 'pool'"),
        ("vision", "transformer", "must be mlp for vectors"),
        (
            "audio",
            "mlp",
            r"audio must be pool or transformer or transformer_conv for sequences .*got 'mlp'",
        ),
    ],
)
def test_a_network_that_does_not_fit_the_shape_is_refused(
    learning: DevelopmentData, modality: str, kind: UnimodalKind, message: str
) -> None:
    config = ModelConfig(unimodal={modality: kind})
    with pytest.raises(InputError, match=message):
        unimodal_kind(learning.modalities[modality], config)
