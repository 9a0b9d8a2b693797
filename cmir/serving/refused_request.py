"""What a served model answers a wrong request with: the reason, and the status 400."""

from __future__ import annotations

import json
from typing import Any

from mlflow import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from cmir.errors import InputError


class RefusedRequestError(MlflowException, InputError):
    """An `InputError` to who calls `predict`, and a status 400 with its reason over HTTP.

    MLflow's scoring server puts the whole request, which may be megabytes of numbers, before the
    message of an exception of its own, and hides the reason of any other in a stack trace. The
    body sent from here is the reason alone.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason, error_code=INVALID_PARAMETER_VALUE)
        self.reason = reason

    def serialize_as_json(self) -> str:
        """The body of the answer."""
        body: dict[str, Any] = {"error_code": self.error_code, "message": self.reason}
        return json.dumps(body)
