"""A registered version with a tiny language model inside, or with the features of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient

from cmir.data import DevelopmentData
from cmir.method.training.reports import TrialResult
from cmir.registry.model_registry import Registry, promotion_run
from cmir.serving.predictor import Ensemble
from tests.support.made_data.learning_data import small_config, trained

SEEDS = (3, 4)
NAME = "cmir-test"


def finished(data: DevelopmentData, folder: Path, **changes: Any) -> TrialResult:
    """Two seeds trained with the language model of a folder as text."""
    given = {"model__backbone__text": str(folder), "training__epochs": 2} | changes
    if given.get("training__backbone_layers") != 0:
        given["training__backbone_learning_rate"] = 1e-3
    return trained(data, small_config(SEEDS, **given))


def register(client: MlflowClient, ensemble: Ensemble, data: DevelopmentData) -> None:
    """The next version of `cmir-test`, alias champion."""
    registry = Registry(client, NAME)
    registry.accesses()
    with promotion_run(client, "test", "test", None) as run:
        registry.register(run, ensemble, data, {}, {}, "A test.", "champion")


def sentences_of(data: DevelopmentData, rows: Any = slice(0, 5)) -> dict[str, Any]:
    """Sentences, and the raw features of the other modalities, of training samples."""
    places = data.train.rows[rows]
    texts = data.train.samples["raw_text"].to_numpy()[rows]
    audio, vision = data.modalities["audio"], data.modalities["vision"]
    return {
        "raw_text": texts if isinstance(texts, str) else texts.tolist(),
        "audio": np.array(audio.array[places]),
        "audio_lengths": np.asarray(audio.lengths)[places],
        "vision": np.array(vision.array[places]),
    }
