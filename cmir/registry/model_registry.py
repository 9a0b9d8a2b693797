"""The model registry: champions, the count of test-set accesses, registered versions."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient, MlflowException
from mlflow.entities import DatasetInput, Metric, Param, RunTag
from mlflow.entities.model_registry import RegisteredModel
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import AnyType, Array
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from requests.exceptions import RequestException

from cmir.data import DevelopmentData
from cmir.registry.alias_history import OvertakenError, move_alias
from cmir.registry.shipped_code import ENTRY, LANGUAGE_ENTRY, importable, shipped_code
from cmir.registry.versions import in_silence
from cmir.runner.tracking.sweep_tracker import dataset_input, experiment_id
from cmir.serving.language_files import saved_ensemble
from cmir.serving.predictor import CUT, Ensemble
from cmir.serving.requests import DISTANCES, LENGTHS
from cmir.serving.sentences import SENTENCES

ACCESSES = "heldout_readings"
CHECKSUM = "development_checksum"
NOTE = "mlflow.note.content"
EXAMPLE_SAMPLES = 2

Columns = list[ColSpec | TensorSpec]


@dataclass(frozen=True)
class Champion:
    """The version that holds the alias, as the registry knows it.

    Attributes:
        version: its number in the registry.
        development_checksum: of the data it was selected on.
        scores: `split/metric` recorded with it.
    """

    version: str
    development_checksum: str
    scores: dict[str, float]


class Registry:
    """One registered model and its versions."""

    def __init__(self, client: MlflowClient, name: str) -> None:
        self._client, self.name = client, name

    def champion(self, alias: str) -> Champion | None:
        """The version that holds the alias, None where there is none yet."""
        try:
            held = self._client.get_model_version_by_alias(self.name, alias)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise
        tags = dict(held.tags)
        scores = {key: float(text) for key, text in tags.items() if key.startswith("ood_val/")}
        return Champion(str(held.version), tags.get(CHECKSUM, ""), scores)

    def accesses(self) -> int:
        """How often held-out data has been read for this name; makes the name if need be."""
        return int(self._tags().get(ACCESSES, 0))

    def accesses_of(self, checksum: str) -> int:
        """How often the data of this checksum has been read, under any name of the registry.

        Accesses under this name from before they were counted by data are taken as of this data.
        """
        own = self._tags()
        by_data = sum(int(n) for key, n in own.items() if key.startswith(f"{ACCESSES}."))
        found = int(own.get(ACCESSES, 0)) - by_data
        return found + sum(int(m.tags.get(_counter(checksum), 0)) for m in self._all())

    def count_access(self, checksum: str) -> int:
        """Counts one more test-set access, before it is done; returns this name's count.

        Args:
            checksum: of the whole data set, which has a count of its own.
        """
        tags = self._tags()
        for key in (_counter(checksum), ACCESSES):
            self._client.set_registered_model_tag(self.name, key, str(int(tags.get(key, 0)) + 1))
        return int(tags.get(ACCESSES, 0)) + 1

    def describe(self, text: str) -> None:
        """What the model is, in Markdown; makes the name if need be."""
        self._tags()
        self._client.update_registered_model(self.name, description=text)

    def _tags(self) -> dict[str, str]:
        try:
            known = self._client.get_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            known = self._client.create_registered_model(self.name)
        return dict(known.tags)

    def _all(self) -> Iterator[RegisteredModel]:
        token: str | None = ""
        while token is not None:
            page = self._client.search_registered_models(page_token=token or None)
            yield from page
            token = page.token or None

    def register(
        self,
        run: str,
        ensemble: Ensemble,
        data: DevelopmentData,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        text: str,
        alias: str,
        *,
        expected: str | None = None,
        why: str = "registered",
    ) -> str:
        """Logs the model and its metrics into a run and registers it; the alias moves last.

        Args:
            run: of the promotion.
            ensemble: the model.
            data: what it was trained on.
            metrics: of the run and the model.
            tags: of the version.
            text: its description.
            alias: that it gets.
            expected: version that must hold the alias until then, empty for nobody; None: any.
            why: it gets the alias.

        Returns:
            the number of the new version.

        Raises:
            OvertakenError: the alias moved meanwhile; the version stays without it.
        """
        logged = _log_model(run, ensemble, data)
        self._client.log_batch(run, _points(metrics, logged.model_id))
        made = self._client.create_model_version(
            self.name,
            source=logged.model_uri,
            run_id=run,
            model_id=logged.model_id,
            tags=dict(tags),
            description=text,
        )
        number = str(made.version)
        try:
            move_alias(
                self._client, self.name, alias, number, kind="promoted", why=why, expected=expected
            )
        except OvertakenError as overtaken:
            overtaken.version = number
            raise
        return number


@contextmanager
def promotion_run(
    client: MlflowClient, space: str, sweep: str, parent: str | None, seconds: float = 0.0
) -> Iterator[str]:
    """A run beside the sweep's trials; FAILED where the block raises, KILLED where it is stopped.

    It belongs to the sweep's run where the tracking store has it, and has begun so many seconds
    ago.
    """
    experiment, parents = _experiment_of(client, space, parent)
    tags = {"sweep": sweep, "kind": "promotion", **parents}
    began = int((time.time() - seconds) * 1000)
    run = client.create_run(experiment, began, tags, f"promotion {sweep}")
    run_id = str(run.info.run_id)
    try:
        yield run_id
    except BaseException as error:
        # Where the server has gone away this would hide why.
        with suppress(MlflowException, RequestException):
            client.set_terminated(run_id, "FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    client.set_terminated(run_id, "FINISHED")


def describe_run(
    client: MlflowClient,
    run: str,
    *,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    text: str,
    data: DevelopmentData,
) -> None:
    """What a promotion's run says of itself, beside its metrics."""
    client.log_batch(
        run,
        [],
        [Param(key, str(value)) for key, value in params.items()],
        [RunTag(key, value) for key, value in {**tags, NOTE: text}.items()],
    )
    profile = {name: len(split) for name, split in data.splits.items()}
    used = dataset_input(data.name, data.checksum, data.found_at, profile)
    client.log_inputs(run, [DatasetInput(used)])


def log_metrics(client: MlflowClient, run: str, metrics: Mapping[str, float]) -> None:
    """The metrics of a run that registers nothing."""
    client.log_batch(run, _points(metrics))


def _counter(checksum: str) -> str:
    """The tag of the accesses of one data set."""
    return f"{ACCESSES}.{checksum[:12]}"


def signature_of(ensemble: Ensemble) -> ModelSignature:
    """Names of the inputs and outputs, for the registry's pages and for servers.

    A modality may come as `(N, T, D)` or as one sample `(T, D)`, of any number type, and lengths
    may be left out. No schema of MLflow says that and enforces it well: tensors have one rank and
    one type and cannot be optional; columns go through a table, which drops unknown names with a
    warning. So each modality is an array of anything, and the flag with which MLflow marks models
    that validate their input themselves leaves the check to `cmir.serving.requests`. Should
    an MLflow ignore the flag, the schema lets every valid request through.
    """
    anything = AnyType()  # type: ignore[no-untyped-call]
    inputs: Columns = [
        ColSpec(Array(anything), name, required=name not in ensemble.card.erased)
        for name in ensemble.expected
    ]
    inputs += [
        ColSpec(anything, f"{name}{LENGTHS}", required=False)
        for name, shape in ensemble.expected.items()
        if shape.is_sequence
    ]
    if ensemble.accepted.takes_sentences:
        inputs += [ColSpec(anything, name, required=False) for name in SENTENCES]
    outputs: Columns = [ColSpec("double", "prediction"), ColSpec("double", "std")]
    task = ensemble.card.task
    if task.is_named:
        columns = [f"{what}_{name}" for name in task.names for what in ("probability", "std")]
        outputs = [ColSpec("string", "prediction"), *(ColSpec("double", name) for name in columns)]
    if task.kind == "binary":
        outputs[0] = ColSpec("long", "prediction")
        outputs.append(ColSpec("double", "probability"))
    if ensemble.language:
        outputs.append(ColSpec("boolean", CUT))
    asked = ParamSchema([ParamSpec(DISTANCES, "boolean", False)])
    signature = ModelSignature(Schema(inputs), Schema(outputs), asked)
    signature._is_signature_from_type_hint = True
    return signature


def _points(metrics: Mapping[str, float], model: str | None = None) -> list[Metric]:
    """Metrics as MLflow takes them, of a logged model if given; NaN is left out."""
    now = int(time.time() * 1000)
    return [
        Metric(key, value, now, 0, model_id=model)
        for key, value in metrics.items()
        if not np.isnan(value)
    ]


def _log_model(run: str, ensemble: Ensemble, data: DevelopmentData) -> Any:
    code = shipped_code(LANGUAGE_ENTRY if _has_language(ensemble) else ENTRY)
    with tempfile.TemporaryDirectory() as temporary, in_silence(), mlflow.start_run(run_id=run):
        folder = Path(temporary, "code")
        model, package = code.write(folder)
        with importable(folder, code.package):
            return mlflow.pyfunc.log_model(
                name="model",
                python_model=str(model),
                code_paths=[str(package)],
                artifacts=saved_ensemble(ensemble, Path(temporary, "files")),
                signature=signature_of(ensemble),
                input_example=_example(ensemble, data),
                pip_requirements=code.requirements,
                metadata=_metadata(ensemble),
            )


def _has_language(ensemble: Ensemble) -> bool:
    return bool(ensemble.language or ensemble.embeddings)


def _metadata(ensemble: Ensemble) -> dict[str, Any]:
    language = {name: one.name for name, one in ensemble.card.language.items()}
    return {
        **({"language_models": language} if language else {}),
        "inputs": {name: shape.shapes for name, shape in ensemble.expected.items()},
        "may_be_left_out": list(ensemble.card.erased),
        "seeds": list(ensemble.card.seeds),
    }


def _example(ensemble: Ensemble, data: DevelopmentData) -> dict[str, Any]:
    """A batch of two training samples, small enough to be shown."""
    rows = data.train.rows[:EXAMPLE_SAMPLES]
    chosen = {name: data.modalities[name] for name in ensemble.expected}
    example = {
        name: np.asarray(modality.array[rows], dtype=np.float32)
        for name, modality in chosen.items()
    }
    lengths = {
        f"{name}{LENGTHS}": modality.lengths[rows]
        for name, modality in chosen.items()
        if modality.lengths is not None
    }
    return example | lengths | _example_sentences(ensemble, data)


def _example_sentences(ensemble: Ensemble, data: DevelopmentData) -> dict[str, Any]:
    samples = data.train.samples.head(EXAMPLE_SAMPLES)
    columns = [name for name in SENTENCES if name in samples.columns]
    if not (ensemble.language and columns):
        return {}
    return {columns[0]: np.array(samples[columns[0]].to_list())}


def _experiment_of(
    client: MlflowClient, space: str, parent: str | None
) -> tuple[str, dict[str, str]]:
    """The parent's experiment and the tag that names the parent, or an own experiment."""
    if parent is not None:
        try:
            experiment = client.get_run(parent).info.experiment_id
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
        else:
            return str(experiment), {MLFLOW_PARENT_RUN_ID: parent}
    return experiment_id(client, space), {}
