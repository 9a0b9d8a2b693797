"""Fixtures that several test files share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from cmir.data import DevelopmentData, load_dataset
from tests.support.made_data.learning_data import write_learning
from tests.support.tiny_backbones import EVERY_FAMILY, write_backbone, write_spoken

ROOT = Path(__file__).resolve().parent.parent

# Read by huggingface_hub when it is imported: no test fetches a model.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture
def mosi_file() -> Path:
    """The real CMU-MOSI features, in the layout of MMSA; not part of the project."""
    shared = Path(os.environ.get("CMIR_SHARED_DATA") or ROOT.parent / "shared" / "data")
    file = shared / "mosi" / "mosi_speakers.pkl"
    if not file.is_file():
        pytest.skip(
            "needs mosi/mosi_speakers.pkl under CMIR_SHARED_DATA or ../shared/data: "
            "the real data is not part of the project"
        )
    return file


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """The networks of the tests are too small for more, and bits must not depend on the machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def learning(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    """A regression task with a text and an audio sequence and a vision vector."""
    folder = write_learning(tmp_path_factory.mktemp("learning") / "regression")
    return load_dataset(folder).development()


@pytest.fixture(scope="session")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny language models by family; skips where transformers is not installed."""
    folder = tmp_path_factory.mktemp("backbones")
    return {family: write_backbone(folder / family, family) for family in EVERY_FAMILY}


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    """The learning data with a raw text whose one word tells the sign of the label."""
    return load_dataset(write_spoken(tmp_path_factory.mktemp("spoken") / "data")).development()


@pytest.fixture(scope="session")
def learning_classes(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    """The same samples with three classes, by the label."""
    folder = write_learning(tmp_path_factory.mktemp("learning") / "classes", task="classes")
    return load_dataset(folder).development()


@pytest.fixture(scope="session")
def learning_multilabel(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    """The same samples with two labels that may both hold: its sign, and its size."""
    folder = write_learning(tmp_path_factory.mktemp("learning") / "several", task="multilabel")
    return load_dataset(folder).development()


@pytest.fixture(scope="session")
def learning_binary(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    """The same samples with the sign of the label as classes."""
    folder = write_learning(tmp_path_factory.mktemp("learning") / "binary", task="binary")
    return load_dataset(folder).development()
