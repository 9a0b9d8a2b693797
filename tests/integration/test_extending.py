"""The worked examples of docs/extending.md: a real training through each, from a sweep file on."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from jsonschema import Draft202012Validator
from mlflow import MlflowClient

from cmir.ablation.arms import arms
from cmir.commands.prepare_command import main as prepare
from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.errors import InputError
from cmir.method.environments.partitions import Partitions, partition_of
from cmir.method.training.fitting import fit
from cmir.method.training.reports import TrialResult
from cmir.plugins import load_plugins
from cmir.promotion.promotion import promote, trainings_of
from cmir.promotion.promotion_plan import PromotionRequest, plan_promotion
from cmir.promotion.reproduction import reproduce_version
from cmir.registry.versions import ensemble_of_version, recipe_of_version, version
from cmir.runner.paths import Paths
from cmir.runner.runner import silent
from cmir.runner.scheduling.placement import Placement
from cmir.runner.scheduling.trials_in_flight import Progress
from cmir.serving.predictor import load_ensemble
from cmir.serving.trained_ensemble import ensemble_of
from cmir.space.editor_schema import json_schema, main
from cmir.space.search_space import SearchSpace, checked_space
from cmir.space.space_file import parse_sweep
from cmir.sweep.importance import importance_beside_chance
from cmir.sweep.run_sweep import SweepRequest, SweepStart, run_sweep
from tests.support.small_promotion import OPEN_GATES, open_store, record
from tests.support.small_sweep import write_data
from tests.support.worked_examples import PLUGIN, blocks, plugins_in, write_plugin

SMALL = {
    "training.batch_size": 16,
    "training.epochs": 2,
    "model.representation_size": 8,
    "model.hidden_size": 8,
    "environments.groups": 2,
    "environments.partition": "random",
}
EXTENDED = {
    **SMALL,
    "environments.view": "mask",
    "environments.view_settings.mask.share": 0.9,
    "environments.partition": "spread",
    "loss.penalty": "score_gap",
    "loss.penalty_settings.score_gap.power": 1,
    "model.unimodal.text": "last_steps",
    "model.unimodal_settings.last_steps.steps": 2,
}
# Of each part what goes without the extension, and another value of its own setting.
PARTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "view": ({"environments.view": "mask"}, {"environments.view_settings.mask.share": 0.9}),
    "partition": (
        {"environments.partition": "spread"},
        {"environments.partition_settings.spread.clip": 0.5},
    ),
    "penalty": ({"loss.penalty": "score_gap"}, {"loss.penalty_settings.score_gap.power": 1}),
    "unimodal": (
        {"model.unimodal.text": "last_steps"},
        {"model.unimodal_settings.last_steps.steps": 2},
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the plugin, its sweep file and a data set, worked in."""
    with plugins_in(tmp_path_factory.mktemp("extending")) as _:
        here = Path.cwd()
        write_plugin(here)
        write_data(here / "data" / "small")
        (here / "extended.yaml").write_text(blocks("yaml")[0])
        load_plugins([PLUGIN], "test")
        yield here


@pytest.fixture(scope="module")
def data(folder: Path) -> DevelopmentData:
    return load_dataset(folder / "data" / "small").development()


def trained(data: DevelopmentData, flat: dict[str, Any], *seeds: int) -> TrialResult:
    *_, last = fit(data, trial_config(flat, seeds=seeds or (0, 1)))
    assert last.result is not None
    return last.result


def content() -> dict[str, Any]:
    return dict(yaml.safe_load(blocks("yaml")[0]))


def space_of(folder: Path) -> SearchSpace:
    return checked_space(parse_sweep(content(), "extended.yaml"), "extended.yaml")


@pytest.mark.parametrize("part", PARTS)
def test_each_extension_trains_and_so_do_its_settings(data: DevelopmentData, part: str) -> None:
    chosen, other = PARTS[part]
    usual, plain = trained(data, SMALL | chosen), trained(data, SMALL)
    changed = trained(data, SMALL | chosen | other)
    assert math.isfinite(usual.objective)
    for different in (plain, changed):
        same = different.weights.shape == usual.weights.shape
        assert not (same and torch.equal(different.weights, usual.weights))


def test_a_replica_of_a_stack_is_the_replica_alone(data: DevelopmentData) -> None:
    both, alone = trained(data, EXTENDED, 3, 5), trained(data, EXTENDED, 5)
    torch.testing.assert_close(both.weights[1], alone.weights[0])


def test_a_partition_that_gives_no_groups_is_refused(folder: Path, data: DevelopmentData) -> None:
    text = "from cmir.extensions import partition\n@partition('odd')\ndef odd(w): return [0.5]"
    write_plugin(folder, "odd_one", text)
    load_plugins(["odd_one"], "test")
    with pytest.raises(InputError, match=r"'odd' must give each of the 64 training .* \(1,\)\. Me"):
        Partitions(data).groups("odd", 2)


def test_a_costly_partition_is_kept_under_its_settings(
    folder: Path, data: DevelopmentData, tmp_path: Path
) -> None:
    text = (
        "import numpy as np\nfrom cmir.config import Section\n"
        "from cmir.extensions import partition\nclass S(Section):\n    first: int = 20\n"
        "CALLS = []\n@partition('costly', revision=1, settings=S)\ndef costly(w, settings):\n"
        "    CALLS.append(settings.first)\n    return np.arange(w.size) < settings.first"
    )
    write_plugin(folder, "costly_one", text)
    load_plugins(["costly_one"], "test")
    for first in (20, 30, 30):
        flat = SMALL | {"environments.partition": "costly"}
        flat["environments.partition_settings.costly.first"] = first
        wanted = partition_of(trial_config(flat).environments)
        assert Partitions(data, tmp_path).groups(*wanted).sum() == first
    assert sys.modules["costly_one"].CALLS == [20, 30]


def test_the_file_format_makes_a_data_set_that_trains(folder: Path) -> None:
    random = np.random.default_rng(0)
    rows = {"train": 48, "valid": 16, "ood_valid": 16}
    split = [name for name, count in rows.items() for _ in range(count)]
    table = pl.DataFrame(
        {
            "id": [f"{name}{n}$_${n}" for n, name in enumerate(split)],
            "split": split,
            "labels": random.uniform(-3, 3, len(split)),
            **{f"audio_{n}": random.normal(size=len(split)) for n in range(4)},
        }
    )
    table.write_csv(folder / "features.csv")
    asked = ["wide_csv", "features.csv", "data/wide", "--plugin", PLUGIN, "--shift", "none"]
    assert prepare([*asked, "--steps", "3"]) == 2
    assert prepare(asked) == 0
    made = load_dataset(folder / "data" / "wide").development()
    assert made.modalities["audio"].array.shape == (80, 4)
    assert math.isfinite(trained(made, SMALL).objective)


def test_a_reader_that_gives_no_source_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "from cmir.extensions import file_format\n@file_format('no')\ndef no(p): return 3"
    write_plugin(folder, "no_source", text)
    assert prepare(["no", "extended.yaml", "data/no", "--plugin", "no_source"]) == 2
    assert "'no' must give a cmir.data.formats.source.Source, but gave int" in (
        capsys.readouterr().err
    )


def test_the_sweep_file_of_the_document_is_checked_whole(folder: Path) -> None:
    space = space_of(folder)
    names = [name for name, _ in space.corners()]
    assert "search.environments.view_settings.mask.share = 0.9" in names
    start = space.complete(space.file.start_from[0])
    assert start["environments.view_settings.mask.share"] == 0.5
    assert start["loss.penalty_settings.score_gap.power"] == 2


@pytest.mark.parametrize(
    ("key", "form", "message"),
    [
        (
            "environments.view_settings.mask.shar",
            [0.1],
            r"mask\.shar is not a known key\. Did you mean 'environments\.view_settings\.mask\.sha",
        ),
        (
            "environments.view_settings.mask.share",
            {"low": 0.1, "high": 1.5, "when": {"environments.view": ["mask"]}},
            r"view_settings\.mask\.share must be less than or equal to 1, but got 1\.5",
        ),
        (
            "environments.view_settings.mask.share",
            {"low": 0.1, "high": 0.5},
            r"view_settings\.mask has no effect with view 'swap'.*give it a condition",
        ),
        (
            "loss.penalty_settings.score_gap.power",
            {"low": 1.5, "high": 2.0},
            r"power must have whole numbers",
        ),
        ("environments.view", ["mask", "swop"], r"'swop'\. Did you mean 'swap'\?"),
    ],
)
def test_a_wrong_setting_in_a_sweep_file_is_explained(
    folder: Path, key: str, form: object, message: str
) -> None:
    changed = content()
    changed["search"][key] = form
    with pytest.raises(InputError, match=message):
        checked_space(parse_sweep(changed, "extended.yaml"), "extended.yaml")


def test_an_unknown_baseline_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"gates\.baseline must be 'plain' or 'half_width', but"):
        parse_sweep(content() | {"gates": {"baseline": "half"}}, "extended.yaml")


def test_the_schema_completes_what_plugins_add(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = json_schema()
    names = schema["$defs"]
    assert "mask" in names["environments.view"]["enum"]
    assert "spread" in names["environments.partition"]["anyOf"][0]["enum"]
    assert "score_gap" in names["loss.penalty"]["enum"]
    assert "last_steps" in names["model.unimodal"]["enum"]
    assert "half_width" in names["Gates"]["properties"]["baseline"]["enum"]
    share = names["environments.view_settings.mask.share"]
    assert (share["minimum"], share["maximum"]) == (0, 1)
    assert Draft202012Validator(schema).is_valid(content())
    assert main([PLUGIN]) == 0
    assert json.loads(capsys.readouterr().out) == schema
    assert main(["nowhere"]) == 2


def test_an_ablation_has_their_arms(data: DevelopmentData) -> None:
    full = trial_config(EXTENDED, seeds=(0, 1))
    found = {arm.name: arm.config for arm in arms(full, data)}
    assert {"view mask", "view swap", "partition spread", "penalty score_gap"} <= set(found)
    for name in ("view mask", "partition spread", "penalty score_gap"):
        assert found[name] == found["full"]
    assert found["view swap"].environments.view_settings == {}
    assert found["penalty vrex"].loss.penalty_settings == {}
    assert found["partition random"].environments.partition_settings == {}
    assert found["full"].flat()["environments.partition_settings.spread.clip"] == 5.0
    bare = trial_config({**SMALL, "environments.groups": 3}, seeds=(0, 1))
    others = {arm.name: arm.config for arm in arms(bare, data)}
    assert others["view mask"].environments.view == "mask"
    assert others["penalty score_gap"].loss.penalty == "score_gap"
    assert others["partition spread"].environments.groups == 3


def test_the_importance_of_a_sweep_has_their_keys(folder: Path) -> None:
    random = np.random.default_rng(0)
    key = "environments.view_settings.mask.share"
    trials = []
    for number in range(20):
        share = float(random.uniform())
        one = record(number, {"ood_val/mae": share, "ood_val/mae_std": 0.1})
        given = {"params": {"environments.view": "mask", key: share}}
        ending = {"ending": one.ending.__class__("finished", objective=share)}
        trials.append(one.__class__(**{**vars(one), **given, **ending}))
    shares, _ = importance_beside_chance(trials, "ood_val/mae")
    assert next(iter(shares)) == key


def test_a_model_that_needs_a_plugin_says_so(
    folder: Path, data: DevelopmentData, tmp_path: Path
) -> None:
    ensemble = ensemble_of(trained(data, EXTENDED), data)
    assert ensemble.card.plugins == (PLUGIN,)
    without = {**EXTENDED, "model.unimodal.text": "pool"}
    del without["model.unimodal_settings.last_steps.steps"]
    other = ensemble_of(trained(data, without), data)
    assert other.card.plugins == ()
    assert "plugins" not in other.card.model_dump_json()
    files = ensemble.save(tmp_path / "model")
    assert load_ensemble(files).card == ensemble.card
    card = Path(files["card"])
    card.write_text(card.read_text().replace(PLUGIN, "gone_away"))
    message = r"predicts with a unimodal network of a plugin: .*'gone_away' must be importable"
    with pytest.raises(InputError, match=message):
        load_ensemble(files)


@pytest.mark.slow
def test_a_sweep_with_plugins_is_promoted_and_reproduced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client: MlflowClient = open_store(folder, monkeypatch)
    changed = content() | {"gates": OPEN_GATES | {"baseline": "half_width"}}
    changed["gates"]["against_plain"] = "better"
    path = folder / "extended.yaml"
    path.write_text(yaml.safe_dump(changed, sort_keys=False))

    def quiet(start: SweepStart) -> Progress:
        return Progress()

    outcome = run_sweep(SweepRequest(path, {}, Placement(1)), Paths(), quiet)
    assert [one.outcome for one in outcome.records] == ["finished"] * 3
    first: TrialConfig = outcome.records[0].config
    assert (first.environments.view, first.loss.penalty) == ("mask", "score_gap")
    request = PromotionRequest(sweep="extended", seeds=2, force=True, why="a test")
    plan = plan_promotion(request, Paths())
    trainings = trainings_of(plan, Placement(1), None, silent, log=True)
    found = promote(plan, request, client, trainings)
    assert found.status == "registered"
    assert any(one.name.endswith("against the baseline half_width") for one in found.verdicts)
    one = version(client, "cmir-extended", "1")
    assert one.tags["needs_plugins"] == PLUGIN
    recipe = recipe_of_version(client, one)
    assert recipe is not None
    assert recipe.plugins == (PLUGIN,)
    again = reproduce_version(recipe, ensemble_of_version(one), None, lambda report: None)
    assert again.is_exact
