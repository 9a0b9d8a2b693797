"""Versions that were registered under the old names of the code still find what they import."""

from __future__ import annotations

import subprocess
import sys

# What the copy of the served model's code in such a version imports.
OLD_IMPORTS = """
from cmir.errors import InputError
from cmir.promotion.ensemble import Ensemble, load_ensemble
from cmir.promotion.refused_request import RefusedRequestError
from cmir.promotion.requests import DISTANCES
print(Ensemble.__module__, RefusedRequestError.__module__)
"""


def test_the_imports_of_an_old_version_lead_to_todays_code() -> None:
    run = [sys.executable, "-c", OLD_IMPORTS]
    finished = subprocess.run(run, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["cmir.serving.predictor", "cmir.serving.refused_request"]
