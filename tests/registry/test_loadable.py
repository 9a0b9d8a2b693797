"""What `promote.py --list` says of versions that can no longer be loaded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from cmir.promotion.report.version_tables import VERSION_COLUMNS, version_rows
from cmir.registry.loadable import unresolved_imports, why_not_loadable
from cmir.registry.versions import Version, ensemble_of_version, version
from tests.support.small_promotion import open_store
from tests.support.small_version import NAME, register_version, small_development


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """A store with one version."""
    client = open_store(tmp_path, monkeypatch)
    register_version(client, small_development(tmp_path / "data"))
    return client


def the_version(client: MlflowClient) -> Version:
    return version(client, NAME, "1")


def files_of_version() -> Path:
    (model,) = Path.cwd().glob("mlruns/*/models/*/artifacts")
    return model


def as_older_code_left_it(source: str) -> None:
    """The version without code of its own, and with a model file that imports the project."""
    shutil.rmtree(files_of_version() / "code")
    (files_of_version() / "pyfunc_model.py").write_text(source)


def test_a_version_that_ships_its_code_can_be_loaded(client: MlflowClient) -> None:
    assert why_not_loadable(the_version(client)) == ""
    assert "loaded" not in version_rows(client, NAME)[0][VERSION_COLUMNS.index("notes")]


def test_an_old_version_can_be_loaded_where_its_imports_are_found(client: MlflowClient) -> None:
    as_older_code_left_it("from cmir.promotion.ensemble import Ensemble\nimport cmir.errors\n")
    assert why_not_loadable(the_version(client)) == ""


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("from cmir.promotion.gone import Gone", "Gone of cmir.promotion.gone"),
        ("from cmir.errors import GoneError", "GoneError of cmir.errors"),
        ("import cmir.gone", "cmir.gone"),
    ],
)
def test_an_old_version_whose_imports_are_gone_says_which(
    client: MlflowClient, source: str, what: str
) -> None:
    as_older_code_left_it(source)
    notes = version_rows(client, NAME)[0][VERSION_COLUMNS.index("notes")]
    assert notes == (
        "cannot be loaded: it was registered before versions shipped their code, and imports "
        f"{what}, which cmir no longer has; promote its sweep again"
    )


def test_a_version_whose_files_are_gone_says_so(client: MlflowClient) -> None:
    shutil.rmtree(files_of_version())
    assert why_not_loadable(the_version(client)) == "it holds no code, or its files are gone"


def test_a_library_that_is_not_here_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("import json\nimport no_such_library.part\n")
    told = list(unresolved_imports(tmp_path))
    assert told == ["its code needs the library no_such_library, which is not installed here"]


def test_weights_that_todays_code_cannot_read_are_refused_in_words(client: MlflowClient) -> None:
    card = files_of_version() / "artifacts" / "model.json"
    card.write_text(card.read_text().replace('"task"', '"kind_of_task"'))
    with pytest.raises(
        ValueError, match=r"cmir-test version 1: its weights must be files that this code can read"
    ) as told:
        ensemble_of_version(the_version(client))
    assert "mlflow.pyfunc.load_model('models:/cmir-test/1')" in str(told.value)
