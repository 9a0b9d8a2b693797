"""Weights of a sweep's trials on disk: written by workers, kept for the best trials only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from cmir.method.training.reports import TrialResult
from cmir.runner.paths import Places
from cmir.runner.records import TrialRecord


def save_weights(result: TrialResult, path: Path) -> None:
    """Writes `(seed, weights)` as safetensors, whole or not at all.

    Fine-tuned language models follow as `backbone.<seed>.<modality>.<name>`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    tensors = {"weights": result.weights}
    for seed, backbone in zip(result.config.seeds, result.backbones, strict=False):
        tensors |= {f"backbone.{seed}.{name}": value for name, value in backbone.items()}
    save_file(tensors, draft, metadata={"config": result.config.model_dump_json()})
    draft.replace(path)


class WeightsKeeper:
    """Keeps the weights of the best finished trials so far and deletes all others."""

    def __init__(
        self, places: Places, sweep: str, count: int, sign: float, records: Sequence[TrialRecord]
    ) -> None:
        self._places, self._sweep, self._count, self._sign = places, sweep, count, sign
        self._finished: list[tuple[float, int]] = []
        for record in records:
            self.add(record)

    def add(self, record: TrialRecord) -> None:
        """Takes note of an ended trial."""
        if record.outcome == "finished" and record.objective is not None:
            self._finished.append((-self._sign * record.objective, record.number))
            self._finished.sort()
            for _, number in self._finished[self._count :]:
                self._places.weights_of(self._sweep, number).unlink(missing_ok=True)
            del self._finished[self._count :]

    def best(self) -> list[tuple[int, Path]]:
        """Trial number and weights of the best trials, best first."""
        paths = [(n, self._places.weights_of(self._sweep, n)) for _, n in self._finished]
        return [(number, path) for number, path in paths if path.exists()]
