"""What trained arms leave behind: files that are whole or absent, so that an ablation continues."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
from safetensors.torch import load_file, save_file
from torch import Tensor

Outcome = Literal["finished", "diverged", "refused", "failed"]
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class ArmEnding:
    """How the training of an arm ended.

    Attributes:
        outcome: finished; diverged (a non-finite loss); refused (it does not fit the data) and
            failed (an exception, or a dead process), which are not kept and tried again.
        reason: why it did not finish.
        by_seed: `split/metric` and `split/noise_metric` to one value per seed.
        best_epochs: of each seed.
        seconds: of training and of scoring under noise.
        config: what was trained, by dotted key.
        code: where the numbers come from.
    """

    outcome: Outcome
    reason: str = ""
    by_seed: Mapping[str, list[float]] = field(default_factory=dict)
    best_epochs: list[int] = field(default_factory=list)
    seconds: float = 0.0
    config: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)


def mixed_code(endings: Iterable[ArmEnding]) -> str:
    """A warning where the arms of one table were trained by several commits; else empty."""
    commits = {ending.code.get("git.commit", "") for ending in endings if ending.code}
    if len(commits) < 2:
        return ""
    return (
        f"The arms were trained by {len(commits)} commits of the code and may differ by that: "
        "delete the ablation's folder to train all of them anew."
    )


@dataclass(frozen=True)
class ArmStore:
    """The files of the arms of one ablation, named after configuration and development data.

    Attributes:
        folder: where they are.
        checksum: of the development data: arms of other data are not seen.
    """

    folder: Path
    checksum: str

    def ending(self, fingerprint: str) -> ArmEnding | None:
        """How an arm ended, None if that is not known yet."""
        path = self._path(fingerprint, "json")
        if not path.exists():
            return None
        return ArmEnding(**json.loads(path.read_text(encoding="utf-8")))

    def arrays(self, fingerprint: str) -> dict[str, Any]:
        """Scores of a finished arm: `split` `(seed, n)`, `noise_split` `(rate, seed, n)`."""
        with np.load(self._path(fingerprint, "npz")) as found:
            return dict(found)

    def columns(self, fingerprint: str, kind: str) -> dict[str, float] | None:
        """Numbers by name of one kind, None where there are none yet."""
        path = self._path(fingerprint, f"{kind}.json")
        if not path.exists():
            return None
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def keep_columns(self, fingerprint: str, kind: str, columns: Mapping[str, float]) -> None:
        """Writes numbers of one kind."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with _draft(self._path(fingerprint, f"{kind}.json")) as draft:
            draft.write_text(json.dumps(dict(columns), indent=1), encoding="utf-8")

    def weights(self, fingerprint: str) -> Tensor:
        """The weights `(seed, weights)` of a finished arm."""
        return load_file(self._path(fingerprint, "safetensors"))["weights"]

    def keep(
        self,
        fingerprint: str,
        ending: ArmEnding,
        predictions: Arrays | None = None,
        weights: Tensor | None = None,
    ) -> None:
        """Writes everything about an arm; the ending comes last and vouches for the rest."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if weights is not None:
            with _draft(self._path(fingerprint, "safetensors")) as draft:
                save_file({"weights": weights.contiguous()}, draft)
        if predictions is not None:
            with (
                _draft(self._path(fingerprint, "npz")) as draft,
                draft.open("wb") as handle,
            ):
                np.savez(handle, **cast(dict[str, Any], dict(predictions)))
        with _draft(self._path(fingerprint, "json")) as draft:
            draft.write_text(json.dumps(asdict(ending), indent=1), encoding="utf-8")

    def _path(self, fingerprint: str, ending: str) -> Path:
        return self.folder / f"{fingerprint}-{self.checksum[:12]}.{ending}"


@contextmanager
def _draft(path: Path) -> Iterator[Path]:
    """A file to write, which takes its place when it is whole."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    yield draft
    draft.replace(path)
