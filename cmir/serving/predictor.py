"""A trained configuration as one predictor: raw features in, the average of its seeds out.

Knows nothing of MLflow. The files hold no code: safetensors and JSON texts. With a language model
inside, `cmir.serving.language_files` has its files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor

from cmir.checksums import file_sha256
from cmir.config import ModelConfig, Section, UnimodalKind
from cmir.data.row_blocks import pool_all
from cmir.data.task import Task, TaskKind
from cmir.errors import InputError
from cmir.method.networks.features import (
    Feature,
    Features,
    Sequences,
    Vectors,
    reads_steps,
    reads_vectors,
)
from cmir.method.networks.model import Network
from cmir.method.networks.predictions import predict
from cmir.plugins import load_plugins
from cmir.serving.distances import distance, text_distance
from cmir.serving.outputs import Scores, chances_of, named_columns, sigmoid, spread
from cmir.serving.requests import Accepted, Expected, Request, read_request

if TYPE_CHECKING:  # Versions without a language model do not ship it.
    from cmir.method.language.embedding import TextEmbedding
    from cmir.method.language.pretrained.trained_backbone import TrainedBackbone

# Of the sentences that came, whether each was longer than the language model takes.
CUT = "text_cut"
LANGUAGE = "language"
FILES = {
    "card": "model.json",
    "weights": "weights.safetensors",
    "standardisation": "standardisation.safetensors",
}


class ModalityCard(Section):
    """Size D of a modality's features and its network, a name in `cmir.extensions.UNIMODAL`."""

    size: int = Field(ge=1)
    kind: UnimodalKind


class LanguageCard(Section):
    """A pretrained language model: which one, and how it stands in the place of a modality.

    `folder` is that of its files below the version's `language`, None where the version does not
    carry them; `sha256` is of its weights. One that was trained with the network, or stayed frozen
    inside it, has `layers` and `rank` as in `training.backbone_layers` and `backbone_rank`. One
    that made a data set's features beforehand has `embedded`: how.
    """

    name: str
    family: str
    sha256: str
    folder: str | None = None
    layers: Literal["all"] | int | None = None
    rank: int | None = None
    embedded: dict[str, Any] | None = None


class ModelCard(Section):
    """What the weights need to become a network, and where they come from.

    `erased` are the modalities whose absence was trained for, `distance_limits` what `distances`
    calls the limit of each; a model that was registered before they were kept has neither.
    `plugins` are modules from outside that hold its unimodal networks: predicting needs them.
    `language` are its language models, by modality.
    `names` are those of classes or of several labels; `temperature` divides the logits of classes
    before they become probabilities.
    `files` has the sha256 of each file beside the card, where they were recorded.
    """

    format: Literal[1] = 1
    kind: TaskKind = Field(alias="task")
    label_range: tuple[float, float] | None = Field(strict=False)
    names: tuple[str, ...] = Field((), strict=False, exclude_if=lambda names: not names)
    threshold: float | None = Field(None, exclude_if=lambda value: value is None)
    temperature: float = Field(1.0, gt=0, exclude_if=lambda value: value == 1)
    modalities: dict[str, ModalityCard]
    model: ModelConfig
    seeds: tuple[int, ...] = Field(strict=False)
    trained_on: str
    development_checksum: str
    erased: tuple[str, ...] = Field((), strict=False)
    distance_limits: dict[str, float] = Field(default_factory=dict)
    plugins: tuple[str, ...] = Field((), strict=False, exclude_if=lambda names: not names)
    language: dict[str, LanguageCard] = Field(default_factory=dict, exclude_if=lambda one: not one)
    files: dict[str, str] = Field(default_factory=dict, exclude_if=lambda hashes: not hashes)

    @property
    def task(self) -> Task:
        """What it predicts."""
        return Task(self.kind, self.label_range, self.names, self.threshold)


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The seeds of one configuration.

    Attributes:
        card: sizes and origin.
        weights: `(seed, weights)`.
        mean: `(D,)` of each modality's training features; of the vectors of a language model
            inside it `(model, D)`, by seed where it was trained.
        std: likewise.
        language: language models inside it, by modality.
        embeddings: language models that make features of sentences, by modality.
    """

    card: ModelCard
    weights: Tensor
    mean: Mapping[str, Tensor]
    std: Mapping[str, Tensor]
    language: Mapping[str, TrainedBackbone] = field(default_factory=dict)
    embeddings: Mapping[str, TextEmbedding] = field(default_factory=dict)

    @cached_property
    def network(self) -> Network:
        """The shape of the network."""
        parts = self.card.modalities
        return Network(
            self.card.model,
            {name: part.size for name, part in parts.items()},
            {name: part.kind for name, part in parts.items()},
            self.card.task.outputs,
        )

    @property
    def expected(self) -> dict[str, Expected]:
        """The inputs that come as features, by name."""
        parts = self.card.modalities.items()
        return {
            name: Expected(part.size, not reads_vectors(part.kind))
            for name, part in parts
            if name not in self.language
        }

    @property
    def accepted(self) -> Accepted:
        """What it may be asked with."""
        absent = {
            name: f"'{one.name}' (SHA-256 {one.sha256[:12]})"
            for name, one in self.card.language.items()
            if one.folder is None
        }
        erased = self.card.erased
        return Accepted(self.expected, self.language, self.embeddings, erased, absent)

    def predict(self, data: Any, distances: bool = False) -> dict[str, npt.NDArray[Any]]:
        """Predictions for a batch or one sample; see `read_request` for what is taken.

        A modality whose erasure was trained for (`card.erased`) may be left out: its unimodal
        vector is then zero, as in those views.

        Args:
            data: raw features.
            distances: whether to add `outside` and `distance_<modality>`, see `outlying`.

        Returns:
            columns with one entry per sample: `prediction`, the mean over the seeds in label
            units, and `std`, the sample deviation over the seeds. Of a binary task `prediction`
            is 0 or 1, `probability` the mean over the seeds of the probability of class 1, and
            `std` its deviation. Of classes `prediction` is the name of the most probable one, of
            several labels the names of those above one half, with commas between; and of each name
            there are `probability_<name>` and `std_<name>`. Of sentences also `text_cut`,
            whether each was longer than the language model takes.

        Raises:
            InputError: the request does not fit the model, a prediction is not finite, or the
                model carries no limits of distances and they were asked for.
        """
        request = read_request(data, self.accepted)
        scores = self.scores(request)
        self._check_finite(scores, request)
        columns = self.columns(scores)
        if request.cut is not None:
            columns[CUT] = request.cut
        return columns | self.outlying(request) if distances else columns

    def outlying(self, request: Request) -> dict[str, npt.NDArray[Any]]:
        """Out-of-distribution scores of the modalities that came.

        Returns:
            `outside` `(n,)`, whether any modality lies beyond its limit, and
            `distance_<modality>` `(n,)`, see `cmir.serving.distances`.

        Raises:
            InputError: the model was registered before the limits were kept.
        """
        limits = self.card.distance_limits
        if not limits:
            raise InputError(
                "distances: this version carries no distances of its training samples: it was "
                "registered before they were kept. Promote again, or do not ask for them."
            )
        came = [name for name in self.card.modalities if name not in request.missing]
        found = {name: self._distance(name, request) for name in came}
        beyond = [values > limits[name] for name, values in found.items()]
        return {"outside": np.any(beyond, axis=0)} | {
            f"distance_{name}": values for name, values in found.items()
        }

    def scores(self, request: Request) -> Scores:
        """The seeds' own scores `(seed, n)`: label units, or logits of a binary task.

        With names `(seed, n, C)`, logits of each.
        """
        if request.count == 0:
            return np.zeros(
                (len(self.weights), 0, *[self.network.outputs] * self.card.task.is_named)
            )
        named = self.network.layout.unpack(self.weights)
        rows, features = np.arange(request.count), self._features(request)
        device = torch.device("cpu")
        found = predict(self.network, named, features, rows, device, request.missing)
        return found.numpy().astype(np.float64)

    def columns(self, scores: Scores) -> dict[str, npt.NDArray[Any]]:
        """What `predict` returns, for scores `(seed, n)`, with names `(seed, n, C)`."""
        task = self.card.task
        if task.is_named:
            return named_columns(chances_of(scores / self.card.temperature, task.kind), task)
        if task.kind == "regression":
            return {"prediction": scores.mean(axis=0), "std": spread(scores)}
        votes = sigmoid(scores)
        probability = votes.mean(axis=0)
        decided = (probability >= 0.5).astype(np.int64)
        return {"prediction": decided, "std": spread(votes), "probability": probability}

    def save(self, folder: Path) -> dict[str, str]:
        """Writes the files; returns their paths by the names of `FILES`."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: folder / file for name, file in FILES.items()}
        own = sorted(path for path in (folder / LANGUAGE).rglob("*") if path.is_file())
        save_file({"weights": self.weights.contiguous()}, paths["weights"])
        moments = {f"{name}.mean": value for name, value in self.mean.items()}
        moments |= {f"{name}.std": value for name, value in self.std.items()}
        save_file(moments, paths["standardisation"])
        saved = (paths["weights"], paths["standardisation"], *own)
        hashes = {path.relative_to(folder).as_posix(): file_sha256(path) for path in saved}
        card = self.card.model_copy(update={"files": hashes})
        paths["card"].write_text(card.model_dump_json(indent=1, by_alias=True), encoding="utf-8")
        if own:
            paths[LANGUAGE] = folder / LANGUAGE
        return {name: str(path) for name, path in paths.items()}

    def _check_finite(self, scores: Scores, request: Request) -> None:
        # Over the seeds, and the names where there are names.
        bad = np.flatnonzero(~np.isfinite(scores).all(axis=(0, *range(2, scores.ndim))))
        if not len(bad):
            return
        if not torch.isfinite(self.weights).all():
            raise InputError(
                "prediction: the weights of this model are not finite, so that it predicts "
                "nothing. Its files were damaged: put them back, or promote again."
            )
        came = [name for name in self.card.modalities if name not in request.missing]
        far = {name: float(self._distance(name, request)[bad].max()) for name in came}
        worst = max(far, key=far.__getitem__)
        raise InputError(
            f"prediction: must be finite, but is not for {len(bad)} of {request.count} samples, at "
            f"{', '.join(map(str, bad[:5]))}{', ...' if len(bad) > 5 else ''}: {worst} lies "
            f"{far[worst]:.3g} standard deviations from what the model was trained on. Give raw "
            "features in the units of its training data."
        )

    def _distance(self, name: str, request: Request) -> npt.NDArray[np.float64]:
        mean, std = self.mean[name].numpy(), self.std[name].numpy()
        if name in request.texts:
            return text_distance(request.texts[name].means, mean, std)
        values = request.values[name]
        if self.expected[name].is_sequence:
            values = pool_all(values, request.lengths[name])
        return distance(values, mean, std)

    def _features(self, request: Request) -> Features:
        return {name: self._feature(name, request) for name in self.card.modalities}

    def _feature(self, name: str, request: Request) -> Feature:
        kind = self.card.modalities[name].kind
        if name in request.texts:
            return request.texts[name].feature(kind)
        if name in self.language:
            return _nothing(request.count, self.card.modalities[name])
        values, mean, std = request.values[name], self.mean[name], self.std[name]
        if reads_steps(kind):
            lengths = torch.from_numpy(request.lengths[name])
            return Sequences(torch.from_numpy(values), lengths, mean, std)
        if not reads_vectors(kind):
            values = pool_all(values, request.lengths[name])
        return Vectors((torch.from_numpy(values) - mean) / std)


def load_ensemble(paths: Mapping[str, str]) -> Ensemble:
    """Reads the files that `Ensemble.save` wrote, given by the names of `FILES`.

    Raises:
        InputError: the model needs a plugin that cannot be imported, or a file is not the one that
            was registered.
    """
    text = Path(paths["card"]).read_text(encoding="utf-8")
    needed = json.loads(text).get("plugins", ())
    load_plugins(needed, "this model predicts with a unimodal network of a plugin")
    card = ModelCard.model_validate_json(text)
    _check_files(card, paths)
    moments = load_file(paths["standardisation"])
    return Ensemble(
        card.model_copy(update={"files": {}}),
        load_file(paths["weights"])["weights"],
        {name: moments[f"{name}.mean"] for name in card.modalities},
        {name: moments[f"{name}.std"] for name in card.modalities},
    )


def _check_files(card: ModelCard, paths: Mapping[str, str]) -> None:
    folder = Path(paths["card"]).parent
    for name, recorded in card.files.items():
        path = folder / name
        if not path.is_file() or file_sha256(path) != recorded:
            what = "changed or cut off" if path.is_file() else "deleted"
            raise InputError(
                f"{path}: must have the sha256 {recorded} that {FILES['card']} records, but was "
                f"{what} since the model was registered. Put it back, or promote again."
            )


def _nothing(count: int, modality: ModalityCard) -> Feature:
    """The features of texts that did not come, of which the network reads none."""
    if not reads_steps(modality.kind):
        return Vectors(torch.zeros(count, modality.size))
    steps, lengths = torch.zeros(count, 1, modality.size), torch.ones(count, dtype=torch.int64)
    return Sequences(steps, lengths, torch.zeros(()), torch.ones(()))
