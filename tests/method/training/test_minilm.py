"""Real weights on real texts: what the tiny random models of the other tests cannot show."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cmir.commands.prepare_command import main as prepare
from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.method.language.pretrained.backbones import find_backbone
from cmir.method.language.token_vectors import token_vectors
from cmir.method.language.tokens import tokens_of_texts
from cmir.method.training.fitting import fit

PAIRS = [
    ("the film was wonderful", "i loved this movie"),
    ("he is cooking dinner", "the man prepares a meal"),
    ("the stock market fell today", "shares lost value"),
]


def test_sentences_are_nearest_to_those_that_mean_the_same() -> None:
    backbone = find_backbone("minilm")
    tokens = tokens_of_texts([text for pair in PAIRS for text in pair], backbone)
    with torch.no_grad():
        vectors = token_vectors(
            backbone.load(), tokens, np.arange(2 * len(PAIRS)), torch.device("cpu")
        )
    means = torch.nn.functional.normalize(vectors.sum(1), dim=1)
    alike = means[::2] @ means[1::2].T
    assert alike.argmax(1).tolist() == list(range(len(PAIRS)))


@pytest.fixture
def mosi(mosi_file: Path, tmp_path: Path) -> DevelopmentData:
    assert prepare(["mmsa", str(mosi_file), str(tmp_path / "mosi")]) == 0
    return load_dataset(tmp_path / "mosi").development()


@pytest.fixture
def random_minilm(tmp_path: Path) -> Path:
    """The same model with the same tokenizer, and weights that have read nothing."""
    transformers = pytest.importorskip("transformers")
    source, folder = find_backbone("minilm").folder, tmp_path / "random"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        settings = transformers.AutoConfig.from_pretrained(source)
        transformers.AutoModel.from_config(settings).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, folder / name)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_epochs_of_its_top_layers_reach_what_random_weights_do_not(
    mosi: DevelopmentData, random_minilm: Path, tmp_path: Path
) -> None:
    found = {}
    for name in ("minilm", str(random_minilm)):
        *_, last = fit(mosi, _of_text_alone(name), cache=tmp_path / "kept")
        assert last.result is not None
        found[name] = last.result.metrics["ood_val/corr"]
    real, random = found.values()
    assert real > 0.6  # .73 measured, and .42 from random weights.
    assert real > random + 0.15


def _of_text_alone(backbone: str) -> TrialConfig:
    settings = {
        "model.backbone.text": backbone,
        "model.modalities": ["text"],
        "training.backbone_layers": 2,
        "training.backbone_learning_rate": 1e-4,
        "training.epochs": 2,
    }
    return trial_config(settings, seeds=(0,))
