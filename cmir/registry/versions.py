"""Registered versions as values: weights, recipe, where they stand."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import mlflow
from mlflow import MlflowClient, MlflowException
from mlflow.entities.model_registry import ModelVersion
from pydantic import ValidationError
from safetensors import SafetensorError

from cmir.errors import InputError, nearest
from cmir.registry.alias_history import MISSING
from cmir.registry.recipe import RECIPE, Recipe, read_recipe
from cmir.serving.language_files import load_language_ensemble
from cmir.serving.predictor import FILES, LANGUAGE, Ensemble

PREFIX = "cmir-"


@dataclass(frozen=True, eq=False)
class Version:
    """One version of a registered model.

    Attributes:
        model: name of the registered model.
        number: of the version.
        tags: of the version.
        aliases: that it holds.
        run: of the promotion that registered it.
    """

    model: str
    number: str
    tags: dict[str, str]
    aliases: tuple[str, ...]
    run: str | None

    def __str__(self) -> str:
        """Name and number."""
        return f"{self.model} version {self.number}"


def versions(client: MlflowClient, model: str) -> list[Version]:
    """All versions of a registered model, the first one first.

    Raises:
        InputError: there is no such model.
    """
    known_model(client, model)
    found = client.search_model_versions(f"name='{model}'")
    numbers = sorted(int(one.version) for one in found)
    # Only a single version's own page tells its aliases.
    return [_version(client.get_model_version(model, str(number))) for number in numbers]


def version(client: MlflowClient, model: str, wanted: str) -> Version:
    """A version by its number or alias.

    Raises:
        InputError: there is none.
    """
    known_model(client, model)
    is_number = re.fullmatch(r"\d+", wanted) is not None
    ask = client.get_model_version if is_number else client.get_model_version_by_alias
    try:
        return _version(ask(model, wanted))
    except MlflowException as error:
        if error.error_code not in MISSING:
            raise
        what = "version" if is_number else "alias"
        known = ", ".join(_shown(one) for one in versions(client, model)) or "none"
        raise InputError(f"{model} has no {what} '{wanted}'; it has: {known}.") from None


def known_model(client: MlflowClient, model: str | None) -> str:
    """The name of a registered model, the only one where none is given.

    Raises:
        InputError: there is no such model, none at all, or several to choose from.
    """
    names = model_names(client)
    if model is not None and model not in names:
        hint = nearest(model, names) if names else ""
        raise InputError(f"--model {model}: there is no such registered model.{hint}")
    if model is None and len(names) != 1:
        told = ", ".join(names) or "none: promote a sweep first"
        raise InputError(f"name the registered model with --model NAME; here are: {told}.")
    return names[0] if model is None else model


def model_names(client: MlflowClient) -> list[str]:
    """Names of the registered models of this project."""
    found = client.search_registered_models(f"name LIKE '{PREFIX}%'", max_results=1000)
    return sorted(one.name for one in found)


def recipe_of_version(client: MlflowClient, one: Version) -> Recipe | None:
    """The recipe that a version carries, None for versions from before there were any."""
    known = {file.path for file in client.list_artifacts(one.run)} if one.run else set()
    if RECIPE not in known:
        return None
    with tempfile.TemporaryDirectory() as folder, in_silence():
        path = client.download_artifacts(str(one.run), RECIPE, folder)
        return read_recipe(Path(path).read_text(encoding="utf-8"), str(one))


def ensemble_of_version(one: Version) -> Ensemble:
    """The weights that a version carries, read by the code of this project.

    Raises:
        InputError: its files are gone, or were written by code whose files this one cannot read.
    """
    uri = f"models:/{one.model}/{one.number}"
    with tempfile.TemporaryDirectory() as folder, in_silence():
        try:
            root = Path(mlflow.artifacts.download_artifacts(uri, dst_path=folder)) / "artifacts"
            files = {name: str(root / file) for name, file in FILES.items()}
            if (root / LANGUAGE).is_dir():
                files[LANGUAGE] = str(root / LANGUAGE)
            return load_language_ensemble(files)
        except (OSError, KeyError, ValidationError, SafetensorError) as error:
            raise InputError(
                f"{one}: its weights must be files that this code can read, but "
                f"{str(error).strip()}. Where they were written by other code, they are read by "
                f"the code that the version carries: mlflow.pyfunc.load_model('{uri}')."
            ) from None


def loading(uri: str) -> str:
    """The Python line that loads a version in this folder.

    Where a name such as `per%41cent` is on the way, MLflow takes the path of a file for an address
    and looks elsewhere, unless it is given a folder to copy the version to.
    """
    if unquote(str(Path.cwd())) == str(Path.cwd()):
        return f"import mlflow; model = mlflow.pyfunc.load_model('{uri}')"
    copied = f"mlflow.pyfunc.load_model('{uri}', dst_path=tempfile.mkdtemp())"
    return f"import mlflow, tempfile; model = {copied}"


@contextmanager
def in_silence() -> Iterator[None]:
    """Inside, none of MLflow's hints and progress bars reach the terminal."""
    bar = "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"
    before = os.environ.get(bar)
    os.environ[bar] = before or "false"
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    try:
        yield
    finally:
        if before is None:
            del os.environ[bar]


def _version(found: ModelVersion) -> Version:
    aliases = tuple(str(alias) for alias in found.aliases)
    return Version(str(found.name), str(found.version), dict(found.tags), aliases, found.run_id)


def _shown(one: Version) -> str:
    return one.number if not one.aliases else f"{one.number} ({', '.join(one.aliases)})"
