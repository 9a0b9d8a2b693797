"""What a trial may say, how a mistake is explained, and what names a configuration."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from cmir.config import (
    EnvironmentsConfig,
    TrainingConfig,
    TrialConfig,
    known_keys,
    number_kind,
    trial_config,
)
from cmir.errors import InputError, hint_for, nearest


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("loss.invarience", "loss.invariance"),
        ("training.learning_rates", "training.learning_rate"),
        ("environment.view", "environments.view"),
        ("los.invariance", "loss.invariance"),
        ("model.size", "model.hidden_size"),
    ],
)
def test_an_unknown_key_is_refused_and_the_nearest_one_is_named(key: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"is not a known key.* Did you mean '{meant}'"):
        trial_config({key: 3})


def test_a_key_that_is_near_to_none_gets_the_list() -> None:
    with pytest.raises(InputError, match=r"qqq is not a known key\. Known: .*loss\.invariance,"):
        trial_config({"qqq": 3})


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        ({"loss.invariance": -0.1}, r"loss\.invariance must be greater than or equal to 0.*-0\.1"),
        ({"loss.off_diagonal": 1.5}, r"loss\.off_diagonal must be less than or equal to 1"),
        ({"training.learning_rate": 0.0}, r"learning_rate must be greater than 0, but got 0\.0"),
        ({"training.epochs": 0}, r"training\.epochs must be greater than or equal to 1, .*got 0"),
        ({"training.batch_size": 1}, r"training\.batch_size must be greater than or equal to 2"),
        ({"loss.invariance": float("nan")}, r"loss\.invariance must be a finite number"),
        ({"training.weight_decay": float("inf")}, r"weight_decay must be a finite number"),
        ({"training.epochs": 4.0}, r"training\.epochs must be a whole number, but got 4\.0"),
        ({"training.epochs": True}, r"training\.epochs must be a whole number, but got True"),
        ({"loss.invariance": [0.1]}, r"loss\.invariance must be a number, but got \[0\.1\]"),
        (
            {"environments.view": "swap", "environments.rate.vision": 1.5},
            r"environments\.rate\.vision must be less than or equal to 1, but got 1\.5",
        ),
        ({"environments.view": "blur"}, r"view must be 'none', 'noise', .*the text 'blur'"),
        ({"model.unimodal.text": "lstm"}, r"unimodal\.text must be 'pool'.*the text 'lstm'"),
        ({"model.representation_size": 15}, r"multiple of transformer_heads, .*15 and 2"),
        (
            {"objective": "ood_test/mae"},
            r"id_val, ood_val or cv, but got 'ood_test/mae'.*promotion",
        ),
        ({"objective": "mae"}, r"objective must be <split>/<metric>.*'mae'"),
        ({"seeds": []}, r"seeds must have at least 1 item"),
        ({"seeds": [1, 2, 1]}, r"seeds must differ, but got \[1, 2, 1\]"),
        ({"seeds": [-1]}, r"seeds\.0 must be greater than or equal to 0"),
        ({"loss": {}, "loss.invariance": 0.1}, r"loss is given as one value and by its parts"),
    ],
)
def test_a_value_that_cannot_be_used_is_explained(flat: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        trial_config(flat)


def test_an_error_says_where_it_stands_and_all_faults_at_once() -> None:
    flat = {"loss.invariance": "much", "training.epochs": 0}
    with pytest.raises(InputError) as caught:
        trial_config(flat, "spaces/mosi.yaml: start_from.0")
    first, second = str(caught.value).splitlines()
    assert first.startswith("spaces/mosi.yaml: start_from.0: loss.invariance must be a number")
    assert second.startswith("spaces/mosi.yaml: start_from.0: training.epochs must be greater")


def test_a_number_that_yaml_reads_as_text_is_explained() -> None:
    flat = yaml.safe_load("loss.invariance: 1e-5")
    message = r"must be a number, but got the text '1e-5'\. YAML reads 1e-5 as text: write 1\.0e-5"
    with pytest.raises(InputError, match=message):
        trial_config(flat)


@pytest.mark.parametrize("text", ["1e-5", "1E-5", "1e5", "-3e-04", "2.5e7", "1e300", "7E+2"])
def test_the_form_that_a_hint_proposes_is_a_number_to_yaml(text: str) -> None:
    assert yaml.safe_load(text) == text
    proposed = yaml.safe_load(hint_for(text).rpartition(" ")[2].removesuffix("."))
    assert isinstance(proposed, float)
    assert proposed == float(text)


@pytest.mark.parametrize("text", ["48", "0.5", "-3"])
def test_a_number_in_quotes_loses_them(text: str) -> None:
    assert hint_for(text) == f" Write it without quotes: {text}."


@pytest.mark.parametrize("value", ["much", "", "nan", "inf", 3, None])
def test_what_is_no_number_gets_no_hint(value: object) -> None:
    assert hint_for(value) == ""


@pytest.mark.parametrize(
    ("flat", "message"),
    [
        ({"environments.count": 3}, r"count has no effect with view 'none'"),
        ({"environments.rate.text": 0.3}, r"rate has no effect with view 'none'"),
        (
            {"environments.view": "swap", "environments.strength": 0.1},
            r"strength has no effect with view 'swap': leave it out.*environments\.view: \[",
        ),
        ({"environments.groups": 3}, r"groups has no effect with partition 'none'.*partition: \["),
        *[
            (
                {"environments.partition": scheme, "environments.groups": 2},
                rf"groups has no effect with partition '{scheme}': leave it out",
            )
            for scheme in ("error", "eiil", "oracle")
        ],
    ],
)
def test_a_setting_that_its_scheme_does_not_use_is_refused(
    flat: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        trial_config(flat)


def test_settings_that_are_left_out_have_the_defaults_of_their_scheme() -> None:
    plain, noise = EnvironmentsConfig(), EnvironmentsConfig(view="noise", rate={"text": 0.2})
    assert (plain.views, plain.noise_strength, plain.group_count) == (0, 0, 1)
    assert (noise.views, noise.noise_strength) == (4, 0.1)
    assert (noise.rate_of("text"), noise.rate_of("audio")) == (0.2, 1)
    swap = EnvironmentsConfig(view="swap", count=2, partition="speaker")
    assert (swap.views, swap.noise_strength, swap.group_count) == (2, 0, 4)
    assert (plain.rate_of("text"), swap.rate_of("text")) == (0, 0.5)
    assert EnvironmentsConfig(partition="eiil").group_count is None


def test_a_strength_of_zero_is_not_taken_for_a_missing_one() -> None:
    assert EnvironmentsConfig(view="noise", strength=0.0).noise_strength == 0


def test_a_configuration_cannot_be_changed() -> None:
    config = TrialConfig()
    with pytest.raises(ValidationError, match="frozen"):
        config.seeds = (1,)  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        config.loss.invariance = 1.0  # type: ignore[misc]


ROOT = Path(__file__).resolve().parent.parent

FULL = {
    "environments.view": "noise",
    "environments.count": 2,
    "environments.strength": 0.3,
    "environments.rate.vision": 0.7,
    "environments.partition": "speaker",
    "environments.groups": 3,
    "model.modalities": ["text", "vision"],
    "model.unimodal.text": "transformer",
    "loss.penalty_weight": 1,
}


@pytest.mark.parametrize("flat", [{}, FULL])
def test_flat_keys_give_the_same_configuration_back(flat: dict[str, Any]) -> None:
    config = trial_config(flat, objective="id_val/corr", seeds=[4, 2])
    assert trial_config(config.flat()) == config
    assert config.flat().items() >= flat.items()
    assert TrialConfig.model_validate_json(config.model_dump_json()) == config


def test_the_fingerprint_is_of_the_values_and_not_of_their_order_or_spelling() -> None:
    fingerprint = trial_config(FULL).fingerprint
    assert re.fullmatch("[0-9a-f]{12}", fingerprint)
    assert trial_config(dict(reversed(FULL.items()))).fingerprint == fingerprint
    assert trial_config({**FULL, "loss.penalty_weight": 1.0}).fingerprint == fingerprint


def test_another_process_gives_the_same_fingerprint() -> None:
    program = f"from cmir.config import *; print(trial_config({FULL!r}).fingerprint)"
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert found == {trial_config(FULL).fingerprint}


@pytest.mark.parametrize(
    "change",
    [
        {"environments.rate.vision": 0.6},
        {"environments.rate.text": 0.7},
        {"loss.invariance": 0.010000001},
        {"model.modalities": ["text"]},
        {"seeds": [0, 1]},
        {"objective": "id_val/mae"},
    ],
)
def test_every_setting_is_in_the_fingerprint(change: dict[str, Any]) -> None:
    assert trial_config({**FULL, **change}).fingerprint != trial_config(FULL).fingerprint


def test_the_structure_leaves_out_what_may_differ_between_replicas() -> None:
    structure = trial_config(FULL).structure
    free = {
        "loss.invariance": 0.5,
        "loss.off_diagonal": 0.1,
        "training.learning_rate": 0.1,
        "training.weight_decay": 0.0,
        "environments.strength": 0.9,
        "environments.rate.audio": 0.1,
        "seeds": [9],
    }
    assert trial_config({**FULL, **free}).structure == structure
    for change in ({"environments.count": 3}, {"model.hidden_size": 9}, {"training.epochs": 9}):
        assert trial_config({**FULL, **change}).structure != structure


def test_known_keys_are_those_of_a_configuration_and_say_what_they_hold() -> None:
    keys = known_keys()
    assert {"seeds", "loss.invariance", "environments.rate.<modality>"} <= set(keys)
    plain = {key for key in TrialConfig().flat() if "." in key}
    assert plain <= set(keys)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("training.epochs", int),
        ("environments.count", int),
        ("environments.strength", float),
        ("loss.invariance", float),
        ("environments.rate.vision", float),
        ("environments.rate", None),
        ("model.unimodal.text", None),
        ("model.modalities", None),
        ("environments.view", None),
        ("seeds", None),
        ("loss", None),
        ("loss.unknown", None),
        ("loss.invariance.more", None),
    ],
)
def test_a_key_tells_whether_it_holds_a_number(key: str, kind: type | None) -> None:
    assert number_kind(key) is kind


def test_the_nearest_word_is_named_only_when_it_is_near() -> None:
    assert nearest("speeker", ["speaker", "video"]) == " Did you mean 'speaker'?"
    assert nearest("zzz", ["speaker", "video"]) == " Known: speaker, video."


def test_a_penalty_that_never_counts_is_refused() -> None:
    settings = {
        "loss.penalty_weight": 1.0,
        "environments.partition": "random",
        "loss.penalty_anneal_epochs": 5,
        "training.epochs": 5,
    }
    with pytest.raises(InputError, match=r"anneal_epochs must be below training\.epochs"):
        trial_config(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"training.backbone_layers": -1}, "backbone_layers must be all, or at least 0, but got"),
        ({"training.backbone_layers": "some"}, "training.backbone_layers"),
        ({"training.backbone_rank": 0}, "training.backbone_rank"),
        (
            {"training.backbone_layers": 0, "training.backbone_rank": 2},
            "backbone_rank has no effect with backbone_layers 0",
        ),
    ],
)
def test_layers_of_a_language_model_are_all_or_a_number(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        trial_config({"model.backbone.text": "minilm", **settings})


def test_settings_of_layers_that_are_not_given_leave_a_fingerprint_as_it_was() -> None:
    plain = trial_config({"model.backbone.text": "minilm"})
    assert not {"backbone_layers", "backbone_rank"} & set(plain.model_dump()["training"])
    chosen = trial_config({"model.backbone.text": "minilm", "training.backbone_layers": "all"})
    assert chosen.flat()["training.backbone_layers"] == "all"


def test_adapters_learn_faster_than_whole_layers_by_default() -> None:
    assert TrainingConfig().backbone_rate == 2e-5
    assert TrainingConfig(backbone_rank=4).backbone_rate == 2e-4
    assert TrainingConfig(backbone_rank=4, backbone_learning_rate=0.1).backbone_rate == 0.1


def test_a_narrow_invariant_part_is_compared_by_features() -> None:
    own: dict[str, Any] = {"model.invariant_size": 4, "loss.decorrelation": "hsic"}
    assert trial_config(own).model.invariant_width == 4
    with pytest.raises(InputError, match=r"compares parts of one width.*choose cross_covariance"):
        trial_config({"model.invariant_size": 4})
    assert trial_config({"model.invariant_size": 150}).model.invariant_width == 150


def test_a_split_that_is_not_asked_for_leaves_a_fingerprint_as_it_was() -> None:
    dumped = TrialConfig().model_dump()
    assert "invariant_size" not in dumped["model"]
    assert "label_leak" not in dumped["loss"]
    assert TrialConfig().model.invariant_width == TrialConfig().model.representation_size
