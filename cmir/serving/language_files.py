"""The files of a version's language models: each pretrained one once, and what every seed trained.

    language/<first digits of its hash>/   settings, tokenizer, weights, as they were found
    language/trained.safetensors           `<seed>.<modality>.<name>`; absent where all is frozen

No code is kept, and none is run that a model's folder may hold.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from cmir.config import TrainingConfig
from cmir.errors import InputError
from cmir.method.language.embedding import Embedding, TextEmbedding
from cmir.method.language.pretrained.backbones import Backbone, find_backbone
from cmir.method.language.pretrained.trained_backbone import TrainedBackbone, weights_below
from cmir.serving.predictor import LANGUAGE, Ensemble, LanguageCard, load_ensemble

TRAINED = "trained.safetensors"


def folder_of(backbone: Backbone) -> str:
    """The folder of a pretrained model below `language`."""
    return backbone.sha256[:12]


def write_language(ensemble: Ensemble, folder: Path) -> None:
    """Writes the files of an ensemble's language models below `folder`, before `Ensemble.save`."""
    found = [one.backbone for one in ensemble.language.values()]
    found += [one.embedding.backbone for one in ensemble.embeddings.values()]
    for backbone in found:
        own = folder / LANGUAGE / folder_of(backbone)
        own.mkdir(parents=True, exist_ok=True)
        for file in backbone.files:
            shutil.copyfile(file, own / file.name)
    trained = {
        f"{seed}.{modality}.{name}": weight.contiguous()
        for modality, one in ensemble.language.items()
        for seed, kept in zip(ensemble.card.seeds, one.kept, strict=False)
        for name, weight in kept.items()
    }
    if trained:
        save_file(trained, folder / LANGUAGE / TRAINED)


def file_sizes(ensemble: Ensemble) -> dict[str, int]:
    """Bytes of what a version holds, by what it is."""
    seeds = len(ensemble.card.seeds)
    sizes = {f"network, {seeds} seeds": _bytes([ensemble.weights])}
    for name, model in ensemble.language.items():
        sizes |= _base_size(model.backbone)
        if model.kept:
            weights = [weight for kept in model.kept for weight in kept.values()]
            sizes[f"what {seeds} seeds trained of it, for {name}"] = _bytes(weights)
    for one in ensemble.embeddings.values():
        sizes |= _base_size(one.embedding.backbone)
    return sizes


def _base_size(backbone: Backbone) -> dict[str, int]:
    size = sum(file.stat().st_size for file in backbone.files)
    return {f"language model {backbone.shown_name}, once": size}


def _bytes(weights: Iterable[Tensor]) -> int:
    return sum(weight.numel() * weight.element_size() for weight in weights)


def saved_ensemble(ensemble: Ensemble, folder: Path) -> dict[str, str]:
    """Writes an ensemble with its language models; returns the paths as `Ensemble.save` does."""
    write_language(ensemble, folder)
    return ensemble.save(folder)


def load_language_ensemble(paths: Mapping[str, str]) -> Ensemble:
    """As `load_ensemble`, with the language models; nothing of the files is needed afterwards.

    Raises:
        InputError: a file is not the one that was registered, or transformers is not installed.
    """
    ensemble = load_ensemble(paths)
    if LANGUAGE not in paths:
        return ensemble
    folder, seeds = Path(paths[LANGUAGE]), ensemble.card.seeds
    trained = load_file(folder / TRAINED) if (folder / TRAINED).is_file() else {}
    language, embeddings = {}, {}
    for name, card in ensemble.card.language.items():
        if card.folder is None:
            continue
        backbone = _found(card, folder / card.folder)
        if card.embedded is not None:
            embeddings[name] = TextEmbedding(Embedding(backbone, **card.embedded))
            embeddings[name].hold()
        else:
            kept = [weights_below(f"{seed}.{name}.", trained) for seed in seeds]
            language[name] = TrainedBackbone(backbone, _training(card), kept)
            language[name].hold()
    return replace(ensemble, language=language, embeddings=embeddings)


def _training(card: LanguageCard) -> TrainingConfig:
    return TrainingConfig(backbone_layers=card.layers, backbone_rank=card.rank)


def _found(card: LanguageCard, folder: Path) -> Backbone:
    found = replace(find_backbone(str(folder)), name=card.name)
    if found.sha256 != card.sha256:
        raise InputError(
            f"{folder}: must be the weights of '{card.name}' with the SHA-256 {card.sha256}, but "
            f"have {found.sha256}. Put them back, or promote again."
        )
    return found
