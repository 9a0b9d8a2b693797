"""From a sweep file to everything a sweep needs, checked before anything starts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmir.data import DevelopmentData, MultimodalDataset, load_dataset
from cmir.data.synthetic.generation import DEFAULT_MODALITIES, DEFAULT_SAMPLES, generate
from cmir.data.transport.data_url import NoSuchDataError, is_url, opened_url
from cmir.errors import InputError
from cmir.evaluation.measures import check_second
from cmir.method.environments.partitions import Partitions
from cmir.method.training.fitting import check
from cmir.runner.paths import Paths
from cmir.space.search_space import SearchSpace, check_modalities, checked_space
from cmir.space.space_file import SweepFile, SyntheticSection, read_sweep_file

SYNTHETIC = "-synthetic"


@dataclass(frozen=True)
class PreparedSweep:
    """A sweep that can start: its file with overrides, its data, its checked space.

    Attributes:
        path: the sweep file.
        data: what trials may see.
        is_synthetic: whether the built-in generator stands in for missing data; the name of the
            sweep then ends in `-synthetic`.
        space: checked against the data at both ends of every range.
    """

    path: Path
    data: DevelopmentData
    is_synthetic: bool
    space: SearchSpace

    @property
    def file(self) -> SweepFile:
        """The sweep file with overrides, and the name that everything carries."""
        return self.space.file


def prepare_sweep(path: Path, overrides: Mapping[str, Any], paths: Paths) -> PreparedSweep:
    """Reads, checks and finds everything; writes nothing but a synthetic stand-in and partitions.

    The feature files are compared with their recorded hashes, at each start: .4 s for 256 MiB.
    Every partition of the space is made here once, with the reference predictor that they share,
    and kept for the workers.

    Args:
        path: the sweep file.
        overrides: keys of the file, such as `trials`, to stand in its place.
        paths: where files are.

    Raises:
        InputError: whatever would fail later.
    """
    file = read_sweep_file(path).model_copy(update=overrides)
    checked_space(file, str(path))
    found = _find_data(file, str(path), paths)
    is_synthetic = found is None
    dataset = _stand_in(file, str(path), paths) if found is None else found
    if is_synthetic:
        file = file.model_copy(update={"name": file.name + SYNTHETIC})
    dataset.verify()
    data = dataset.development()
    space = SearchSpace(file, str(path))
    check_modalities(space, tuple(data.modalities))
    for second in dict.fromkeys([*file.objectives[1:], *file.measured]):
        _check_second(second, data, space)
    partitions = Partitions(data, paths.partitions)
    for name, values in space.corners():
        try:
            check(data, space.trial(values), partitions)
        except InputError as error:
            raise InputError(f"{path}: with {name}: {error}") from None
    return PreparedSweep(path, data, is_synthetic, space)


def _check_second(objective: str, data: DevelopmentData, space: SearchSpace) -> None:
    _, values = space.corners()[0]
    try:
        check_second(objective, data, space.trial(values))
    except InputError as error:
        raise InputError(f"{space.where}: {error}") from None


def sweep_name(base: str, known: Iterable[str], fresh: bool) -> str:
    """The latest sweep of a space, or the next one if it shall be fresh.

    Example:
        >>> sweep_name("mosi", ["mosi", "mosi-2", "mosi-text"], fresh=True)
        'mosi-3'
    """
    pattern = re.compile(rf"{re.escape(base)}(?:-(\d+))?")
    matches = [pattern.fullmatch(name) for name in known]
    numbers = [int(match.group(1) or 1) for match in matches if match]
    latest = max(numbers, default=0)
    number = latest + 1 if fresh else max(latest, 1)
    return base if number == 1 else f"{base}-{number}"


def _find_data(file: SweepFile, where: str, paths: Paths) -> MultimodalDataset | None:
    """The data set of a sweep file; None where it is missing and may be."""
    may_be_missing = file.data.if_missing == "synthetic"
    if is_url(file.data.path):
        try:
            return opened_url(file.data.path, f"{where}: data.path")
        except NoSuchDataError:
            if may_be_missing:
                return None
            raise
    path = paths.root / file.data.path
    if path.exists():
        return load_dataset(path)
    if may_be_missing:
        return None
    raise InputError(
        f"{where}: data.path must be a dataset folder, but there is no {path}. Make it with "
        f"`python workflows/prepare.py mmsa FILE {file.data.path}`, or say "
        "`if_missing: synthetic` to try the sweep without it."
    )


def _stand_in(file: SweepFile, where: str, paths: Paths) -> MultimodalDataset:
    try:
        folder = _generated(file.name, file.data.synthetic, paths)
    except InputError as error:
        raise InputError(f"{where}: data.synthetic: {error}") from None
    return load_dataset(folder)


def _generated(name: str, wanted: SyntheticSection, paths: Paths) -> Path:
    """Generates the stand-in once; the folder's name tells what was asked for."""
    settings = wanted.model_dump(mode="json")
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    folder = paths.synthetic(f"{name}{SYNTHETIC}-{digest}")
    if folder.exists():
        return folder
    paths.make()
    shapes: dict[str, Any] = {
        modality: tuple(shape) if isinstance(shape, list) else shape
        for modality, shape in wanted.modalities.items()
    }
    with paths.waiting_lock("synthetic"):
        # Another sweep of the same space may have begun in the same moment.
        if folder.exists():
            return folder
        return generate(
            folder,
            modalities=shapes or DEFAULT_MODALITIES,
            samples=wanted.samples or DEFAULT_SAMPLES,
            task=wanted.task,
            label_range=wanted.label_range,
            names=wanted.names,
            shares=wanted.shares,
            name=name + SYNTHETIC,
            seed=wanted.seed,
        )
