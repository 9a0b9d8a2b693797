"""The registered model: MLflow keeps a copy of this file and runs it when the model is loaded.

Everything it does is in `cmir.serving.predictor`; weights and configuration are files beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd  # type: ignore[import-untyped]
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

from cmir.errors import InputError
from cmir.serving.predictor import Ensemble, load_ensemble
from cmir.serving.refused_request import RefusedRequestError
from cmir.serving.requests import DISTANCES

if TYPE_CHECKING:  # Out of reach for MLflow, which would read a schema out of the type hints.
    from mlflow.pyfunc.model import PythonModelContext


class _Predicting:
    """Keeps `predict` out of the class below, where MLflow would wrap it in its own validation."""

    ensemble: Ensemble

    def predict(
        self, context: PythonModelContext, model_input: Any, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """A dict of raw arrays to a table with `prediction` and `std`.

        With the parameter `distances` the table also has `outside` and `distance_<modality>`.
        """
        distances = bool((params or {}).get(DISTANCES, False))
        try:
            return pd.DataFrame(self.ensemble.predict(model_input, distances=distances))
        except InputError as error:
            raise RefusedRequestError(str(error)) from None


class ServedModel(_Predicting, PythonModel):
    """An ensemble as MLflow's pyfunc flavour calls it."""

    def load_context(self, context: PythonModelContext) -> None:
        """Reads weights, standardisation and configuration."""
        self.ensemble = load_ensemble(context.artifacts)


set_model(ServedModel())
