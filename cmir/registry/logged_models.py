"""Models of MLflow with the run that trained them: to be registered, or compared and loaded."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient, MlflowException
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus, Metric
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import AnyType, Array

from cmir.data import DevelopmentData
from cmir.registry.shipped_code import ENTRY, LANGUAGE_ENTRY, importable, shipped_code
from cmir.registry.versions import in_silence
from cmir.serving.language_files import saved_ensemble
from cmir.serving.predictor import CUT, Ensemble
from cmir.serving.requests import DISTANCES, LENGTHS
from cmir.serving.sentences import SENTENCES

READY = LoggedModelStatus.READY
EXAMPLE_SAMPLES = 2

Columns = list[ColSpec | TensorSpec]


def log_model(
    client: MlflowClient,
    run: str,
    name: str,
    ensemble: Ensemble,
    data: DevelopmentData,
    *,
    tags: Mapping[str, str] | None = None,
    params: Mapping[str, str] | None = None,
) -> LoggedModel:
    """A predictor as a model of a run, which may have ended long ago and is left as it was.

    MLflow's own `pyfunc.log_model` opens the run again and ends it a second time: a trial would
    last until its sweep's end.

    Args:
        client: of the tracking store.
        run: that trained it.
        name: of the model.
        ensemble: the predictor.
        data: what it was trained on.
        tags: of the model.
        params: of the model.

    Returns:
        the model, which `mlflow.pyfunc.load_model("models:/<model_id>")` loads.
    """
    experiment = client.get_run(run).info.experiment_id
    made = client.create_logged_model(
        experiment, name, run, dict(tags or {}), dict(params or {}), "cmir"
    )
    client.log_outputs(run, [LoggedModelOutput(made.model_id, 0)])
    with tempfile.TemporaryDirectory() as temporary, in_silence():
        saved = Path(temporary, "saved")
        _save(saved, Path(temporary), made, ensemble, data)
        client.log_model_artifacts(made.model_id, str(saved))
    return client.finalize_logged_model(made.model_id, READY)


def models_of(client: MlflowClient, run: str) -> list[LoggedModel]:
    """The models of a run; one that is not `READY` was being written when its writer was ended."""
    outputs = client.get_run(run).outputs
    known = [] if outputs is None else outputs.model_outputs
    return [model for one in known if (model := _model(client, one.model_id)) is not None]


def _model(client: MlflowClient, model: str) -> LoggedModel | None:
    """None: it has been deleted; its run names it still."""
    try:
        return client.get_logged_model(model)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def points(metrics: Mapping[str, float], model: str | None = None) -> list[Metric]:
    """Metrics as MLflow takes them, of a logged model if given; NaN is left out."""
    now = int(time.time() * 1000)
    return [
        Metric(key, value, now, 0, model_id=model)
        for key, value in metrics.items()
        if not np.isnan(value)
    ]


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


def has_language(ensemble: Ensemble) -> bool:
    """Whether language models are among the files of a predictor."""
    return bool(ensemble.language or ensemble.embeddings)


def _save(
    place: Path, temporary: Path, made: LoggedModel, ensemble: Ensemble, data: DevelopmentData
) -> None:
    code = shipped_code(LANGUAGE_ENTRY if has_language(ensemble) else ENTRY)
    model, package = code.write(temporary / "code")
    with importable(temporary / "code", code.package):
        mlflow.pyfunc.save_model(
            place,
            python_model=str(model),
            code_paths=[str(package)],
            artifacts=saved_ensemble(ensemble, temporary / "files"),
            signature=signature_of(ensemble),
            input_example=_example(ensemble, data),
            pip_requirements=code.requirements,
            mlflow_model=Model(
                made.artifact_location,
                made.source_run_id,
                model_uuid=made.model_id,
                metadata=_metadata(ensemble),
                model_id=made.model_id,
            ),
        )


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
