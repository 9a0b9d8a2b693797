"""The model registry: champions, the count of test-set accesses, registered versions."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from mlflow import MlflowClient, MlflowException
from mlflow.entities import DatasetInput, Param, RunTag
from mlflow.entities.model_registry import RegisteredModel
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from requests.exceptions import RequestException

from cmir.data import DevelopmentData
from cmir.registry.alias_history import OvertakenError, move_alias
from cmir.registry.logged_models import log_model, points
from cmir.runner.tracking.sweep_tracker import dataset_input, experiment_id
from cmir.serving.predictor import Ensemble

ACCESSES = "heldout_readings"
CHECKSUM = "development_checksum"
NOTE = "mlflow.note.content"


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
        logged = log_model(self._client, run, "model", ensemble, data)
        self._client.log_batch(run, points(metrics, logged.model_id))
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
    client.log_batch(run, points(metrics))


def _counter(checksum: str) -> str:
    """The tag of the accesses of one data set."""
    return f"{ACCESSES}.{checksum[:12]}"


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
