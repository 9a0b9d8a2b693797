"""MLflow's pages of a small sweep, while it runs and afterwards, as a person sees them.

Run by `make look`, not with the other tests: it needs a browser, and leaves pictures in
`screenshots/` to be looked at.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from benchmarks.support.browser import found_browser, shown
from benchmarks.support.model_server import end, free_port, start, wait_until_it_answers
from tests.support.small_promotion import OPEN_GATES
from tests.support.small_sweep import write_data, write_space

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "screenshots"
pytestmark = pytest.mark.timeout(3000)
SPACE = {
    "trials": 4,
    "epochs": 24,
    "gates": OPEN_GATES,
    "early_stopping": {"grace": 2, "reduction": 2},
}
Look = Callable[[str, str], str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sweep runs."""
    path = tmp_path_factory.mktemp("look")
    write_data(path / "data" / "small")
    return path


@pytest.fixture(scope="module")
def look(folder: Path) -> Iterator[Look]:
    """Shows a page of MLflow below its name, beside whatever runs."""
    browser = found_browser()
    if browser is None:
        pytest.skip("there is no browser: install chromium to look at MLflow's pages")
    PICTURES.mkdir(exist_ok=True)
    store = f"sqlite:///{folder}/mlflow.db"
    MlflowClient(store).search_experiments()
    port, log = free_port(), folder / "ui.log"
    command = [sys.executable, "-m", "mlflow", "ui", "--workers", "1", "--port", str(port)]
    process = start([*command, "--backend-store-uri", store], log, {})
    address = f"http://127.0.0.1:{port}"

    def show(name: str, path: str) -> str:
        picture = PICTURES / f"{name}.png"
        return shown(browser, f"{address}/{path}", picture, folder / "profile")

    try:
        wait_until_it_answers(f"{address}/health", process, log)
        yield show
    finally:
        end(process)


def experiment(client: MlflowClient) -> str:
    found = client.get_experiment_by_name("small")
    return "" if found is None else str(found.experiment_id)


def runs(client: MlflowClient, query: str) -> list[Run]:
    found = experiment(client)
    return list(client.search_runs([found], query)) if found else []


def awaited(client: MlflowClient, query: str, process: subprocess.Popen[bytes]) -> Run:
    """The first run that a query finds while a command runs."""
    for _ in range(600):
        found = [run for run in runs(client, query) if run.data.metrics]
        if found:
            return found[0]
        assert process.poll() is None, "the sweep has ended before that was seen"
        time.sleep(0.2)
    pytest.fail(f"{query}: nothing in two minutes")


@pytest.fixture(scope="module")
def pages(folder: Path, look: Look) -> dict[str, str]:
    """Words on the pages, by the names of their pictures."""
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    space = write_space(folder, **SPACE)
    sweep = [sys.executable, "-m", "tests.look.slow_sweep", str(space)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (folder / "sweep.log").open("wb") as log:
        process = subprocess.Popen(sweep, cwd=folder, stdout=log, stderr=log, env=environment)
    found: dict[str, str] = {}
    try:
        run = awaited(client, "tags.kind = 'trial' and attributes.status = 'RUNNING'", process)
        number = experiment(client)
        place = f"#/experiments/{number}"
        found["1 trials while they train"] = look(
            "1 trials while they train", f"{place}/runs?viewStateShareKey=trials"
        )
        found["2 a trial that trains"] = look(
            "2 a trial that trains", f"{place}/runs/{run.info.run_id}/model-metrics"
        )
        assert process.wait(1200) == 0, (folder / "sweep.log").read_text()
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
    script = str(ROOT / "workflows" / "promote.py")
    promotion = [sys.executable, script, "--seeds", "2", "--top", "1", "--quiet"]
    subprocess.run(promotion, cwd=folder, check=True, timeout=1200, capture_output=True)
    (parent,) = runs(client, "tags.kind = 'sweep'")
    (best,) = runs(client, "tags.rank = '1'")
    for name, path in {
        "3 trials": f"{place}/runs?viewStateShareKey=trials",
        "4 sweep": f"{place}/runs/{parent.info.run_id}",
        "5 sweep, curves": f"{place}/runs/{parent.info.run_id}/model-metrics",
        "6 sweep, host": f"{place}/runs/{parent.info.run_id}/system-metrics",
        "7 best trial": f"{place}/runs/{best.info.run_id}",
        "8 best trial, curves": f"{place}/runs/{best.info.run_id}/model-metrics",
        "11 models of the best trials": f"{place}/models",
        "9 registered model": "#/models/cmir-small",
        "10 version": "#/models/cmir-small/versions/1",
    }.items():
        found[name] = look(name, path)
    return found


def test_trials_are_seen_while_they_train(pages: dict[str, str]) -> None:
    page = pages["1 trials while they train"]
    assert "000 noise" in page
    assert "best/objective" in page
    sections = ("id_val (9)", "ood_val (9)", "train (")
    assert [name for name in sections if name not in pages["2 a trial that trains"]] == []


def test_the_table_shows_trials_only_the_best_first_with_what_was_searched(
    pages: dict[str, str], folder: Path
) -> None:
    page = pages["3 trials"]
    columns = ["best/objective", "ood_val/mae_std", "best/id_val/mae", "outcome", "scheme"]
    columns += ["environments.view", "training.learning_rate"]
    assert [column for column in columns if column not in page] == []
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    (best,) = runs(client, "tags.rank = '1'")
    others = [run for run in runs(client, "tags.kind = 'trial'") if run is not best]
    places = {run.info.run_name: page.find(run.info.run_name) for run in others}
    assert min(places.values()) > 0
    assert page.find(best.info.run_name) == min(places.values())
    assert "promotion small" not in page


def test_the_sweep_tells_its_best_and_how_it_went(pages: dict[str, str]) -> None:
    assert "Best:" in pages["4 sweep"]
    curves = pages["5 sweep, curves"]
    # Sections of charts; those below the window are drawn when somebody goes there.
    assert [
        name for name in ("best (1)", "best/ood_val (2)", "trials (") if name not in curves
    ] == []
    assert "cpu_utilization_percentage" in pages["6 sweep, host"]


def test_the_best_trial_tells_where_it_comes_from(pages: dict[str, str]) -> None:
    page = pages["7 best trial"]
    for word in ("Finished", "kind", "data", "scheme", "outcome"):
        assert word in page
    assert "best/ood_val (9)" in pages["8 best trial, curves"]


def test_the_best_trials_are_models_with_their_scores(pages: dict[str, str]) -> None:
    page = pages["11 models of the best trials"]
    for word in ("trial-0", "best/objective", "Ready"):
        assert word in page


def test_the_registered_model_says_what_it_is(pages: dict[str, str]) -> None:
    assert "cmir-small" in pages["9 registered model"]
    assert "champion" in pages["9 registered model"]
    assert "ood_val" in pages["10 version"]


def test_pictures_are_kept_out_of_git() -> None:
    ignored = subprocess.run(
        ["git", "check-ignore", "screenshots/3 trials.png"], cwd=ROOT, check=False, env=os.environ
    )
    assert ignored.returncode == 0
