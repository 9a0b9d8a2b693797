"""`mlflow models serve` as its users meet it: real requests over HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest

from benchmarks.support.model_server import model_server, post
from cmir.errors import InputError
from cmir.serving.refused_request import RefusedRequestError
from tests.support.small_promotion import open_store
from tests.support.small_version import (
    ERASING_VISION,
    NAME,
    register_version,
    request_of,
    small_development,
)

ROOT = Path(__file__).resolve().parents[2]


def body(request: Any, **more: Any) -> bytes:
    lists = {name: np.asarray(value).tolist() for name, value in request.items()}
    return json.dumps({"inputs": lists, **more}).encode()


def test_a_refusal_is_an_input_error_with_status_400_and_the_reason_alone() -> None:
    refusal: Any = RefusedRequestError("text: is required")
    assert issubclass(RefusedRequestError, InputError)
    assert (str(refusal), refusal.get_http_status_code()) == ("text: is required", 400)
    refusal.message = "Failed to predict data '[[0.1, ...]]'. Error: text: is required"
    assert json.loads(refusal.serialize_as_json()) == {
        "error_code": "INVALID_PARAMETER_VALUE",
        "message": "text: is required",
    }


@pytest.mark.slow
def test_requests_over_http_are_answered_or_refused_with_400(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_store(tmp_path, monkeypatch)
    data = small_development(tmp_path / "data")
    ensemble = register_version(client, data, **ERASING_VISION)
    batch, one = request_of(data, slice(0, 4)), request_of(data, 2)
    without_vision = request_of(data, slice(0, 4), "vision")
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    uri, log = f"models:/{NAME}@champion", tmp_path / "server.log"
    with model_server(uri, log, settings) as url:

        def asked(request: Any, **more: Any) -> pd.DataFrame:
            status, text = post(url, body(request, **more))
            assert status == 200, text
            return pd.DataFrame(json.loads(text)["predictions"])

        for request in (batch, one, without_vision):
            expected = pd.DataFrame(ensemble.predict(request))
            pd.testing.assert_frame_equal(asked(request), expected, rtol=1e-4)
        found = asked(batch, params={"distances": True})
        expected = pd.DataFrame(ensemble.predict(batch, distances=True))
        pd.testing.assert_frame_equal(found, expected, rtol=1e-4)

        refused = {
            "audio: is required": body(request_of(data, 1, "audio")),
            "'smell' is no input of this model": body({**one, "smell": [1.0]}),
            "vision: must be of shape": body({**one, "vision": [1.0, 2.0]}),
            "vision: must hold finite numbers": body({**one, "vision": [float("nan")] * 3}),
            "a request must be a dict with": b'{"inputs": [1, 2]}',
            "'inputs' key": b'{"instances": [1]}',
            "valid JSON": b"{",
        }
        for reason, content in refused.items():
            status, text = post(url, content)
            assert (status, reason in text, "Traceback" in text) == (400, True, False), text
            assert len(text) < 1000
        assert post(url, b"a,b\n1,2\n", "text/csv")[0] == 400
        assert post(url, b"x", "text/plain")[0] == 415
