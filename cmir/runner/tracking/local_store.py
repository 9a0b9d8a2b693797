"""MLflow's store: opened whole where it is a file; in one sentence why it does not answer."""

from __future__ import annotations

import logging
import os
import re
import shlex
from pathlib import Path
from urllib.parse import quote

import mlflow
from alembic.script import ScriptDirectory
from mlflow import MlflowClient

from cmir.hidden_secrets import without_secrets
from cmir.runner.sqlite_files import check_whole, fault_of, made_whole, sqlite_file

# Table that says which schema the others have, and tables whose rows are worth keeping.
VERSION = "alembic_version"
VALUED = ("runs", "registered_models", "model_versions")
WHAT = (
    "the study of each sweep writes its runs anew; what was registered in it must be promoted again"
)
OTHER_SCHEMA = re.compile(r"found version (\w+)|Can't locate revision identified by '(\w+)'")
# Loggers that print what is told in a sentence here, with tracebacks and for every retry.
LOUD = ("alembic", "mlflow.store", "sqlalchemy")


def opened_store(uri: str) -> MlflowClient:
    """A client of a store that has answered once, so that no other process makes it meanwhile.

    Raises:
        InputError: it is a file that is cut off, damaged, locked or half made.
        Exception: whatever MLflow, requests and SQLAlchemy raise.
    """
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    file = sqlite_file(uri)
    if file is None:
        return _asked(uri)
    beside = _folders_by_mistake(uri, file)
    if file.parent.is_dir():
        made_whole(file, _make)
        check_whole(file, VERSION, VALUED, WHAT)
    client = _asked(uri)
    if beside:
        client.search_registered_models(max_results=1)
        _remove_empty(beside)
    return client


def unanswered(uri: str, error: Exception, verb: str) -> str:
    """The sentence for a store that does not answer, and what to do about it.

    Args:
        uri: of the store.
        error: that MLflow, requests or SQLAlchemy raised.
        verb: "does not answer" or "answers no longer".
    """
    file = sqlite_file(uri)
    told = fault_of(file, error, WHAT) if file else ""
    if told:
        return told
    where = f"MLflow at {without_secrets(uri)}"
    other = OTHER_SCHEMA.search(str(error))
    if other:
        return f"{where} {_of_other_version(uri, str(other[1] or other[2]))}"
    return f"{where} {verb}: {first_line(error)} {_remedy(uri, file, verb)}"


def is_fault_of_file(uri: str, error: Exception) -> bool:
    """Whether an error tells that a store which is a file is damaged, locked or cannot grow."""
    file = sqlite_file(uri)
    return file is not None and fault_of(file, error, WHAT) != ""


def first_line(error: Exception) -> str:
    """An exception in one line."""
    line = f"{type(error).__name__}: {error}".splitlines()[0]
    return without_secrets(line)[:300].rstrip(".") + "."


def _asked(uri: str) -> MlflowClient:
    client = MlflowClient(uri)
    client.search_experiments(max_results=1)
    return client


def _make(draft: Path) -> None:
    _asked(f"sqlite:///{quote(str(draft))}")


def _of_other_version(uri: str, found: str) -> str:
    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    known = {script.revision for script in scripts.walk_revisions()}
    if found in known:
        return (
            f"was made by an older MLflow than the {mlflow.__version__} here. Keep a copy of it, "
            f"then run: mlflow db upgrade {shlex.quote(without_secrets(uri))}"
        )
    return (
        f"was made by a newer MLflow than the {mlflow.__version__} here. Install that one, or name "
        "another store with MLFLOW_TRACKING_URI."
    )


def _remedy(uri: str, file: Path | None, verb: str) -> str:
    if file is not None:
        return "Nothing is lost: run the same command again."
    if verb == "answers no longer":
        return "Start it again, then run the same command again."
    if uri.startswith("file:") or "://" not in uri:
        return (
            "It must be a server or a database: unset MLFLOW_TRACKING_URI to log into ./mlflow.db."
        )
    return (
        "Start the server, set MLFLOW_TRACKING_URI to one that runs, or unset it to log into "
        "./mlflow.db."
    )


def _folders_by_mistake(uri: str, file: Path) -> list[Path]:
    """Folders that MLflow will make because it takes an address with %20 for a path, deepest first.

    They are those that are not there now.
    """
    folder = Path(uri.removeprefix("sqlite:///")).absolute().parent
    if folder == file.parent:
        return []
    return [one for one in (folder, *folder.parents) if not one.exists()]


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            os.rmdir(folder)
        except OSError:
            return
