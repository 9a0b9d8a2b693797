"""The doors: who may add what under which name, and what a configuration makes of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import Field

from cmir.config import Section, TrialConfig, known_keys, number_kind, trial_config
from cmir.errors import InputError
from cmir.extensions import DOORS, VIEWS, penalty, view
from cmir.plugins import load_plugins
from tests.support.worked_examples import PLUGIN, plugins_in, write_plugin


class Own(Section):
    radius: float = Field(0.5, ge=0.0, le=1.0)


class Lacking(Section):
    radius: float


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with plugins_in(tmp_path):
        yield tmp_path


@pytest.fixture
def extended(folder: Path) -> Path:
    """With the plugin of the worked examples."""
    write_plugin(folder)
    load_plugins([PLUGIN], "s.yaml")
    return folder


def test_a_door_opens_with_what_this_project_brings() -> None:
    assert {door: list(found) for door, found in DOORS.items()} == {
        "view": ["noise", "erase", "swap"],
        "partition": ["random", "kmeans", "label_kmeans", "error", "eiil", "oracle"],
        "penalty": [
            *("vrex", "irm", "group_dro", "coral", "fishr"),
            *("mmd", "dann", "sal", "mixup"),
        ],
        "unimodal": ["pool", "transformer", "transformer_conv", "mlp"],
        "file_format": ["mmsa", "npz", "mag", "funny", "folder", "dialogues", "mintrec"],
        "baseline": ["plain"],
    }


@pytest.mark.parametrize(
    ("flat", "loads"), [("{}", "False"), ("{'environments.view': 'swap'}", "True")]
)
def test_the_method_is_imported_when_one_of_its_names_is_looked_up(flat: str, loads: str) -> None:
    program = (
        f"import sys, cmir.config as c; c.trial_config({flat}); c.known_keys; "
        "print('torch' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == loads


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("swap", r"there is a view 'swap' already, in cmir\.method\.environments\.perturbations"),
        ("none", "must be of small letters, .* and not be none, but is 'none'"),
        ("Big.Name", "begin with a letter, .* but is 'Big.Name'"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused(folder: Path, name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        view(name)(lambda *given: given[0])


def test_a_setting_without_a_default_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"setting of the penalty 'mine' must have a default.*rad"):
        penalty("mine", settings=Lacking)(lambda batch, settings: batch)


def test_the_same_module_may_add_its_function_anew(folder: Path) -> None:
    view("mine")(lambda *given: 1)
    view("mine")(lambda *given: 2)
    assert VIEWS["mine"].make() == 2


def test_settings_reach_the_function_with_their_defaults(folder: Path) -> None:
    view("mine", settings=Own)(lambda *given, settings: (given, settings.radius))
    assert VIEWS["mine"].given({})(7) == ((7,), 0.5)
    assert VIEWS["mine"].given({"mine": {"radius": 1.0}})(7) == ((7,), 1.0)


def test_settings_of_an_extension_are_keys_like_others(extended: Path) -> None:
    key = "environments.view_settings.mask.share"
    assert key in known_keys()
    assert number_kind(key) is float
    assert number_kind("loss.penalty_settings.score_gap.power") is int
    config = trial_config({"environments.view": "mask", key: 1})
    assert config.flat()[key] == 1.0
    assert trial_config(config.flat()) == config
    assert TrialConfig.model_validate_json(config.model_dump_json()) == config
    assert config.structure[key] == 1.0


def test_settings_of_its_own_are_in_the_fingerprint_where_they_are_given(extended: Path) -> None:
    given = trial_config(
        {"environments.view": "mask", "environments.view_settings.mask.share": 0.4}
    )
    usual = trial_config({"environments.view": "mask"})
    assert given.fingerprint != usual.fingerprint
    assert "view_settings" not in usual.model_dump_json()


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        ({"environments.view": "maks"}, r"must be 'none', .* or 'mask', .*'maks'.*mean 'mask'\?"),
        ({"loss.penalty": "score_gab"}, r"loss\.penalty must be .* Did you mean 'score_gap'\?"),
        ({"model.unimodal.text": "last"}, r"unimodal\.text must be .* or 'last_steps', but got"),
        (
            {"environments.view": "mask", "environments.view_settings.mask.share": 1.5},
            r"^c: environments\.view_settings\.mask\.share must be less than or equal to 1, but",
        ),
        (
            {"environments.view": "mask", "environments.view_settings.mask.shape": 0.5},
            r"mask\.shape is not a known key\. Did you mean 'environments\.view_settings\.mask\.sh",
        ),
        (
            {"environments.view": "swap", "environments.view_settings.mask.share": 0.5},
            r"view_settings\.mask has no effect with view 'swap': leave it out, or give it a cond"
            r".*\(when: \{environments\.view: \[mask\]\}\)",
        ),
        (
            {"environments.view_settings.noise.share": 0.5},
            r"must name a view with settings of its own \(mask\), but got 'noise'",
        ),
        (
            {"loss.penalty_settings.score_gap.power": 2},
            r"penalty_settings\.score_gap has no effect with penalty 'vrex'",
        ),
        (
            {"environments.partition_settings.spread.clip": 2.0},
            r"partition_settings\.spread has no effect with partition 'none'",
        ),
        (
            {"model.unimodal_settings.last_steps.steps": 2},
            r"unimodal_settings\.last_steps has no effect with unimodal none",
        ),
        (
            {"loss.penalty": "score_gap", "loss.penalty_settings.score_gap.power": 1.5},
            r"penalty_settings\.score_gap\.power must be a whole number, but got 1\.5",
        ),
    ],
)
def test_a_wrong_value_of_an_extension_is_explained(
    extended: Path, flat: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        trial_config(flat, "c")
