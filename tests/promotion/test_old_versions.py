"""Versions that were registered under the old names of the code still find what they import."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest

from cmir.registry.loadable import why_not_loadable
from cmir.registry.shipped_code import ROOT
from cmir.registry.versions import version
from tests.support.small_promotion import open_store
from tests.support.small_version import NAME, register_version, request_of, small_development

# What the copy of the served model's code in such a version imports.
OLD_IMPORTS = """
from cmir.errors import InputError
from cmir.promotion.ensemble import Ensemble, load_ensemble
from cmir.promotion.refused_request import RefusedRequestError
from cmir.promotion.requests import DISTANCES
print(Ensemble.__module__, RefusedRequestError.__module__)
"""
OLD_NAMES = {
    "cmir.serving.predictor": "cmir.promotion.ensemble",
    "cmir.serving.refused_request": "cmir.promotion.refused_request",
    "cmir.serving.requests": "cmir.promotion.requests",
}


def test_the_imports_of_an_old_version_lead_to_todays_code() -> None:
    run = [sys.executable, "-c", OLD_IMPORTS]
    finished = subprocess.run(run, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["cmir.serving.predictor", "cmir.serving.refused_request"]


def test_a_version_without_code_of_its_own_predicts_with_todays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_store(tmp_path, monkeypatch)
    data = small_development(tmp_path / "data")
    ensemble = register_version(client, data)
    (files,) = tmp_path.glob("mlruns/*/models/*/artifacts")
    source = (ROOT / "serving" / "pyfunc_model.py").read_text()
    for now, then in OLD_NAMES.items():
        assert f"from {now} import" in source
        source = source.replace(f"from {now} import", f"from {then} import")
    (files / "pyfunc_model.py").write_text(source)
    shutil.rmtree(files / "code")
    assert why_not_loadable(version(client, NAME, "1")) == ""
    request = request_of(data, slice(0, 5))
    table = mlflow.pyfunc.load_model(f"models:/{NAME}/1").predict(request)
    np.testing.assert_array_equal(table["prediction"], ensemble.predict(request)["prediction"])
