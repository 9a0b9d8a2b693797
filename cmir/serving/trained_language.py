"""From a finished training to what a version says and keeps of its language models.

No version ships this file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmir.data import DevelopmentData
from cmir.data.manifest import read_manifest
from cmir.errors import InputError
from cmir.method.language.embedding import Embedding, TextEmbedding
from cmir.method.language.pretrained.backbones import Backbone, find_backbone
from cmir.method.language.pretrained.trained_backbone import TrainedBackbone
from cmir.method.training.language_features import text_moments, text_outputs
from cmir.serving.distances import LEVEL, text_distance
from cmir.serving.language_files import folder_of
from cmir.serving.predictor import LanguageCard

CPU = torch.device("cpu")
Moments = tuple[Tensor, Tensor]
Records = Mapping[str, Mapping[str, Any]]


def trained_card(model: TrainedBackbone) -> LanguageCard:
    """What a version says of a language model inside it."""
    backbone, training = model.backbone, model.training
    return LanguageCard(
        name=backbone.shown_name,
        family=backbone.family,
        sha256=backbone.sha256,
        folder=folder_of(backbone),
        layers=training.backbone_layers,
        rank=training.backbone_rank,
    )


def embedding_records(data: DevelopmentData, names: Iterable[str]) -> Records:
    """What `dataset.json` says of the weights that made the features of modalities, by name."""
    manifest = read_manifest(data.path)
    known = {} if manifest is None else manifest.source.get("backbones", {})
    return {name: known[name] for name in names if name in known}


def embedded_cards(
    records: Records, embeddings: Mapping[str, TextEmbedding]
) -> dict[str, LanguageCard]:
    """What a version says of the models that made its data's features."""
    found = {}
    for name, record in records.items():
        known = embeddings.get(name)
        found[name] = LanguageCard(
            name=str(record["backbone"]),
            family=str(record["family"]),
            sha256=str(record["sha256"]),
            folder=None if known is None else folder_of(known.embedding.backbone),
            embedded=_settings(record),
        )
    return found


def embeddings_of(records: Records) -> dict[str, TextEmbedding]:
    """The models that made features of a data set's texts, as far as they are still here."""
    found = {}
    for name, record in records.items():
        backbone = _same(record)
        if backbone is not None:
            found[name] = TextEmbedding(Embedding(backbone, **_settings(record)))
    return found


def moments_of(data: DevelopmentData, model: TrainedBackbone) -> Moments:
    """Mean and deviation `(model, D)` of the training samples' token vectors."""
    mean, std = text_moments(data, model, CPU)
    return torch.from_numpy(mean), torch.from_numpy(std)


def text_limits(
    data: DevelopmentData, language: Mapping[str, TrainedBackbone], moments: Mapping[str, Moments]
) -> dict[str, float]:
    """As `training_limits`, for modalities that are read by a language model."""
    limits = {}
    for name, model in language.items():
        outputs, of_sample = text_outputs(data, model, CPU)
        means = np.stack([one.means() for one in outputs])
        mean, std = (one.numpy() for one in moments[name])
        own = text_distance(means, mean, std)[of_sample[data.train.rows]]
        limits[name] = float(np.quantile(own, LEVEL))
    return limits


def _settings(record: Mapping[str, Any]) -> dict[str, Any]:
    """How the vectors were made, as `Embedding` has it; on a CPU, in float32."""
    return {"layer": record["layer"], "longest": record.get("longest")}


def _same(record: Mapping[str, Any]) -> Backbone | None:
    """The model of a record, where it was or under its name; None if it is not here."""
    for place in (record.get("folder"), record["backbone"]):
        try:
            found = None if place is None else find_backbone(str(place))
        except InputError:
            continue
        if found is not None and found.sha256 == record["sha256"]:
            return found
    return None
