"""`import cmir`: what it offers, and a sweep, a promotion and a model without a command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import cmir
from cmir.data import load_dataset
from cmir.errors import InputError
from tests.support.small_promotion import open_store
from tests.support.small_sweep import write_data, write_space
from tests.support.small_version import NAME, register_version, request_of, small_development

ROOT = Path(__file__).resolve().parents[2]


def test_importing_it_takes_no_library_and_completion_shows_what_there_is() -> None:
    program = "import cmir, sys; assert not {'torch', 'ray', 'mlflow'} & set(sys.modules); "
    program += "print(*[name for name in dir(cmir) if name[0] != '_'])"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {"sweep", "promote", "load", "load_dataset", "write_dataset"} <= set(done.stdout.split())
    with pytest.raises(AttributeError, match="no attribute 'swep'"):
        _ = cmir.swep


def test_a_registered_version_is_loaded_and_gives_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_store(tmp_path, monkeypatch)
    data = small_development(tmp_path / "data")
    ensemble = register_version(client, data)
    model = cmir.load(NAME)
    assert model.name == f"{NAME} version 1"
    request = request_of(data, slice(0, 4))
    table = model.predict(request)
    assert isinstance(table, pl.DataFrame)
    np.testing.assert_allclose(table["prediction"], ensemble.predict(request)["prediction"])
    scored = model.score(tmp_path / "data", "ood_val")
    assert scored.height == len(data.ood_val)
    with pytest.raises(InputError, match="has no alias 'nobody'"):
        cmir.load(NAME, "nobody")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_is_run_promoted_and_loaded_from_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    open_store(tmp_path, monkeypatch)
    write_data(tmp_path / "data" / "small")
    space = write_space(tmp_path, gates={"finished_trials": 2, "seeds": 2, "noise_loss": 1000.0})
    found = cmir.sweep(space, trials=2, epochs=2, quiet=True)
    assert (found.name, found.leaderboard.height) == ("small", 2)
    assert found.best is not None
    again = cmir.sweep(space=space, trials=2, epochs=2, quiet=True)
    assert again.leaderboard.equals(found.leaderboard)
    with pytest.raises(InputError, match="needs a reason"):
        cmir.promote("small", force=True)
    outcome = cmir.promote("small", seeds=2, top=1, force=True, why="a test", quiet=True)
    assert outcome.status == "registered"
    assert capsys.readouterr().out == ""
    data = load_dataset(tmp_path / "data" / "small").development()
    batch = {name: np.array(part.array[:3]) for name, part in data.modalities.items()}
    assert cmir.load().predict(batch).height == 3
