"""Weights of a sweep's trials on disk: written by workers, kept for the best trials only."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from cmir.errors import InputError, PlaceError
from cmir.method.language.pretrained.trained_backbone import weights_below
from cmir.method.training.reports import TrialResult
from cmir.runner.paths import Paths
from cmir.runner.studies.records import TrialRecord
from cmir.runner.weights_mirror import WeightsMirror
from cmir.shared_files import written_whole

WEIGHTS, SCORES, BACKBONE, BASES = "weights", "scores.", "backbone", "bases"


def save_weights(
    result: TrialResult, path: Path, scores: Mapping[str, npt.NDArray[Any]] | None = None
) -> None:
    """Writes `(seed, weights)` as safetensors, whole or not at all.

    What was trained of language models follows as `backbone.<seed>.<modality>.<name>`, other
    arrays as `scores.<name>`; the hashes of their pretrained weights are in the file's metadata.

    Raises:
        PlaceError: they cannot be written.
    """
    tensors, about = _tensors(result, scores)
    with _written(path) as draft:
        save_file(tensors, draft, metadata=about)


def packed_weights(
    result: TrialResult, scores: Mapping[str, npt.NDArray[Any]] | None = None
) -> bytes:
    """What `save_weights` would write, for a driver whose disk is elsewhere."""
    tensors, about = _tensors(result, scores)
    return save(tensors, metadata=about)


def write_packed(content: bytes, path: Path) -> None:
    """Writes packed weights as `save_weights` does; raises PlaceError likewise."""
    with _written(path) as draft:
        draft.write_bytes(content)


def _tensors(
    result: TrialResult, scores: Mapping[str, npt.NDArray[Any]] | None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """What is kept of a training, by name, and its metadata."""
    tensors = {WEIGHTS: result.weights}
    for seed, backbone in zip(result.config.seeds, result.backbones, strict=False):
        tensors |= {f"{BACKBONE}.{seed}.{name}": value for name, value in backbone.items()}
    kept = {f"{SCORES}{name}": torch.from_numpy(v) for name, v in (scores or {}).items()}
    facts = {"config": result.config.model_dump_json(), BASES: json.dumps(dict(result.bases))}
    return tensors | kept, facts


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    try:
        with written_whole(path) as draft:
            yield draft
    except (OSError, SafetensorError) as error:
        raise PlaceError(
            f"{path}: the weights cannot be written: {error}. Make room or mend the disk, then "
            "run the same command again."
        ) from error


def load_result(record: TrialRecord, path: Path, cache: Path | None = None) -> TrialResult:
    """A finished training as it was, apart from the diagnosis of its partition.

    Args:
        record: of the training.
        path: of its weights.
        cache: see `TrialResult`.

    Raises:
        InputError: the file with its weights is gone or broken.
    """
    assert record.objective is not None
    ending = record.ending
    backbones, bases = load_backbones(path, record.config.seeds)
    return TrialResult(
        config=record.config,
        objective=record.objective,
        metrics=dict(ending.metrics),
        by_seed={name: tuple(values) for name, values in ending.by_seed.items()},
        best_epochs=tuple(ending.best_epochs),
        weights=_loaded(path, WEIGHTS)[""],
        seconds=ending.seconds,
        backbones=backbones,
        bases=bases,
        cache=cache,
    )


def load_backbones(
    path: Path, seeds: Sequence[int]
) -> tuple[tuple[Mapping[str, Tensor], ...], Mapping[str, str]]:
    """What was trained of language models, by seed, and the hashes of what it was trained from.

    See `TrialResult.backbones` and `TrialResult.bases`; raises InputError as `load_result` does.
    """
    tensors = _loaded(path, f"{BACKBONE}.")
    with safe_open(path, "pt") as file:
        bases: dict[str, str] = json.loads((file.metadata() or {}).get(BASES, "{}"))
    found = tuple(weights_below(f"{seed}.", tensors) for seed in seeds)
    return (found if any(found) else ()), bases


def load_scores(path: Path) -> dict[str, npt.NDArray[Any]]:
    """What was kept beside the weights, by name; raises InputError as `load_result` does."""
    return {name: tensor.numpy() for name, tensor in _loaded(path, SCORES).items()}


def _loaded(path: Path, start: str) -> dict[str, Tensor]:
    """The tensors whose names begin so, by the rest of their names; no other is read."""
    try:
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if name.startswith(start)]  # noqa: SIM118
            return {name.removeprefix(start): file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path}: must hold the weights of a finished training, but cannot be read: {error}. "
            "Delete the journal and the weights beside it to train its jobs anew."
        ) from None


class WeightsKeeper:
    """Keeps the weights of the best finished trials so far, `count` of them or all.

    With a mirror they are copied there, and those that an earlier driver has kept elsewhere are
    brought from it.
    """

    def __init__(
        self,
        paths: Paths,
        sweep: str,
        count: int | None,
        sign: float,
        records: Sequence[TrialRecord],
        mirror: WeightsMirror | None = None,
    ) -> None:
        self._paths, self._sweep, self._count, self._sign = paths, sweep, count, sign
        self._mirror: WeightsMirror | None = None
        self._finished: list[tuple[float, int]] = []
        for record in records:
            self.add(record)
        if mirror is not None:
            self._mirror = mirror
            for number in self.missing():
                mirror.fetch(number, self._path(number))

    def keep(self, number: int, objective: float, packed: bytes) -> None:
        """Sees to it that the weights of a finished trial are where they are kept.

        It has not been added yet: the weights come first.

        Args:
            number: of the trial.
            objective: its own.
            packed: its weights, where they came with its report.

        Raises:
            PlaceError: they cannot be written.
        """
        if packed:
            write_packed(packed, self._path(number))
        if self._mirror is not None and self._enters(objective):
            self._mirror.put(number, self._path(number))

    def add(self, record: TrialRecord) -> None:
        """Takes note of an ended trial."""
        if record.outcome == "finished" and record.objective is not None:
            self._finished.append((-self._sign * record.objective, record.number))
            self._finished.sort()
            worse = [] if self._count is None else self._finished[self._count :]
            for _, number in worse:
                self._path(number).unlink(missing_ok=True)
                if self._mirror is not None:
                    self._mirror.remove(number)
            del self._finished[len(self._finished) - len(worse) :]

    def best(self) -> list[tuple[int, Path]]:
        """Trial number and weights of the best trials, best first."""
        paths = [(n, self._path(n)) for _, n in self._finished]
        return [(number, path) for number, path in paths if path.exists()]

    def missing(self) -> list[int]:
        """Numbers of the best trials whose weights are not here, best first."""
        here = {number for number, _ in self.best()}
        return [number for _, number in self._finished if number not in here]

    def _path(self, number: int) -> Path:
        return self._paths.weights_of(self._sweep, number)

    def _enters(self, objective: float) -> bool:
        """Whether a trial will be among those whose weights stay."""
        better = sum(value <= -self._sign * objective for value, _ in self._finished)
        return self._count is None or better < self._count
