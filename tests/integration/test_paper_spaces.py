"""The paper's six search spaces: as printed, and each from a file in its layout to its table."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from cmir.errors import InputError
from cmir.paper.paper_table import entry
from cmir.paper.published_numbers import PAPER
from cmir.runner.paths import Paths
from cmir.space.search_space import SearchSpace, checked_space
from cmir.sweep.preparation import prepare_sweep
from tests.support.small_promotion import open_store
from tests.support.small_protocol import FOLDER, followed, shipped, swept

NAMES = ["mosi", "mosei", "mosi_ood", "sims_v2", "ur_funny", "mustard"]

# Table 7: loss, batch, K, alpha_1, lambda_1, lambda_2, lambda_3, d, d', alpha of R_dec.
TABLE_7: dict[str, tuple[Any, ...]] = {
    "mosi": ("mse", 48, 1, 0.1, 0.1, 0.001, 0.05, 150, 256, 1.0),
    "mosei": ("mse", 50, 5, 1.0, 0.1, 0.1, 0.01, 150, 128, 1.0),
    "sims_v2": ("mae", 50, 2, 0.1, 0.01, 0.01, 0.1, 100, 100, 0.01),
    "mustard": ("bce", 32, 4, 0.1, 0.05, 0.01, 0.05, 128, 48, 0.1),
    "ur_funny": ("bce", 64, 2, 0.1, 0.001, 0.01, 0.01, 120, 120, 0.1),
    "mosi_ood": ("mse", 48, 4, 0.1, 0.01, 0.01, 0.01, 150, 150, 1.0),
}
KEYS = (
    "loss.prediction",
    "training.batch_size",
    "environments.count",
    "environments.strength",
    "loss.invariance",
    "loss.mutual_information",
    "loss.reconstruction",
    "model.representation_size",
    "model.hidden_size",
    "loss.off_diagonal",
)
RANGES = {
    "environments.count": (1, 10),
    "environments.strength": (1e-8, 1),
    "loss.invariance": (1e-6, 1),
    "loss.mutual_information": (1e-6, 1),
    "loss.reconstruction": (1e-6, 1),
    "model.representation_size": (100, 150),
    "model.hidden_size": (48, 256),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_first_trial_is_the_row_of_table_7(name: str) -> None:
    file = shipped(name)
    space = SearchSpace(file, name)
    flat = space.trial(space.complete(file.start_from[0])).flat()
    assert tuple(flat[key] for key in KEYS) == TABLE_7[name]
    assert flat["environments.view"] == "noise"


@pytest.mark.parametrize("name", NAMES)
def test_ranges_and_budget_are_those_of_the_paper(name: str) -> None:
    file = shipped(name)
    ends = {key: form.ends for key, form in file.dimensions.items() if key in RANGES}
    assert ends == RANGES
    assert (file.trials, file.seeds, file.sampler) == (50, 1, "random")
    assert not file.early_stopping.enabled
    assert file.first_objective.startswith("id_val/")


@pytest.mark.parametrize("name", NAMES)
def test_a_command_of_the_header_can_be_pasted(name: str) -> None:
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    continued = [i for i, line in enumerate(lines) if re.match(r"#\s+--", line)]
    assert continued
    assert all(lines[i - 1].endswith(" \\") for i in continued)


@pytest.mark.parametrize("name", NAMES)
def test_a_space_fits_its_stand_in(name: str) -> None:
    file = shipped(name)
    row, wanted = PAPER[file.name], file.data.synthetic
    found = {
        key: size[0] if isinstance(size, list) else size for key, size in wanted.modalities.items()
    }
    assert found == dict(row.sizes)
    assert row.split in wanted.samples
    checked_space(file, name, tuple(found))


def test_the_stand_in_has_the_task_and_the_scale_that_were_asked_for(tmp_path: Path) -> None:
    text = (FOLDER / "sims_v2.yaml").read_text()
    small = re.sub(
        r"samples: {.*}", "samples: {train: 40, id_val: 9, ood_val: 8, id_test: 7}", text
    )
    (tmp_path / "sims_v2.yaml").write_text(small)
    prepared = prepare_sweep(tmp_path / "sims_v2.yaml", {}, Paths(tmp_path))
    assert prepared.is_synthetic
    assert prepared.data.task.label_range == (-1.0, 1.0)
    assert abs(prepared.data.train.labels).max() <= 1.0
    assert len(prepared.data.train) == 40


def test_a_stand_in_that_cannot_be_made_is_said_with_its_place_in_the_file(tmp_path: Path) -> None:
    text = (FOLDER / "sims_v2.yaml").read_text().replace("[768, 20]", "[768]")
    (tmp_path / "sims_v2.yaml").write_text(text)
    with pytest.raises(InputError, match=r"yaml: data\.synthetic: modalities: text must be a size"):
        prepare_sweep(tmp_path / "sims_v2.yaml", {}, Paths(tmp_path))


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    return open_store(tmp_path, monkeypatch)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_in_its_layout_goes_through_the_protocol_to_the_table(
    client: MlflowClient, tmp_path: Path, name: str
) -> None:
    swept(name, tmp_path)
    found = followed(client)
    one = entry(found.space, found)
    published, ours = one.lines
    assert published[2:] == [score.printed for score in one.row.scores]
    assert ours[1] == "ours, mean ± sd of 2 seeds"
    assert all(re.fullmatch(r"-?[\d.]+ ± [\d.]+", cell) for cell in ours[2:])
    assert f"{found.sizes[one.row.split]} test samples, test-set access no. 1" in one.note
