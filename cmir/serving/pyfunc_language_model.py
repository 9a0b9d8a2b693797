"""The registered model where a language model is inside: MLflow keeps a copy of this file.

As `cmir.serving.pyfunc_model`, and the only one of both that needs transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlflow.models import set_model

from cmir.serving.language_files import load_language_ensemble
from cmir.serving.pyfunc_model import ServedModel

if TYPE_CHECKING:  # Out of reach for MLflow, which would read a schema out of the type hints.
    from mlflow.pyfunc.model import PythonModelContext


class ServedLanguageModel(ServedModel):
    """An ensemble with its language models, as MLflow's pyfunc flavour calls it."""

    def load_context(self, context: PythonModelContext) -> None:
        """Reads weights, standardisation, configuration and language models."""
        self.ensemble = load_language_ensemble(context.artifacts)


set_model(ServedLanguageModel())
