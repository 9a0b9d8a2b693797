from __future__ import annotations

from pathlib import Path

import pytest

from cmir.data import DevelopmentData
from cmir.errors import InputError
from cmir.method.baseline_recipes import is_erm
from cmir.method.training.fitting import check
from cmir.rivals.known_rivals import PENALTIES, chosen_rivals, known_rivals
from cmir.rivals.rival import rival_file
from cmir.space.search_space import SearchSpace, checked_space
from cmir.space.space_file import SweepFile, parse_sweep, read_sweep_file
from tests.support.small_sweep import SMALL

SPACES = Path(__file__).resolve().parents[2] / "search_spaces"
NAMES = [
    *("erm", "audio alone", "text alone", "vision alone", "modality dropout"),
    *("vrex", "irm", "group_dro", "coral", "fishr", "mmd", "dann", "sal", "mixup"),
    *("swad", "ogm_ge", "cmir as printed"),
]


def files(base: SweepFile, data: DevelopmentData) -> dict[str, SweepFile]:
    found = {}
    for rival in known_rivals(base, data):
        changes = rival.space(base, data)
        assert changes is not None
        found[rival.name] = rival_file(base, changes, data, "rival", base.epochs)
    return found


@pytest.fixture
def small() -> SweepFile:
    return parse_sweep(SMALL, "small.yaml")


@pytest.mark.parametrize("name", ["small", "mosi", "mosi_language", "mosi_erm"])
def test_every_rival_is_a_space_that_fits_the_data(
    name: str, small: SweepFile, learning: DevelopmentData
) -> None:
    base = small if name == "small" else read_sweep_file(SPACES / f"{name}.yaml")
    found = files(base, learning)
    assert list(found) == [one for one in NAMES if one != "swad" or name != "mosi_language"]
    for rival, file in found.items():
        space = checked_space(file, rival, tuple(learning.modalities))
        for _, values in space.corners():
            config = space.trial(values)
            if not config.model.backbone:
                check(learning, config)


@pytest.mark.parametrize("name", ["iemocap", "mosei_emotions"])
def test_rivals_on_names_weigh_classes_and_smooth_labels_as_the_champion_may(
    name: str, learning_classes: DevelopmentData, learning_multilabel: DevelopmentData
) -> None:
    data = learning_classes if name == "iemocap" else learning_multilabel
    found = files(read_sweep_file(SPACES / f"{name}.yaml"), data)
    assert list(found) == NAMES
    for rival, file in found.items():
        assert {"loss.class_weights", "loss.label_smoothing"} <= set(file.search), rival
        checked_space(file, rival, tuple(data.modalities))


def test_each_is_what_its_name_says(small: SweepFile, learning: DevelopmentData) -> None:
    trials = {}
    for name, file in files(small, learning).items():
        space = SearchSpace(file, name)
        trials[name] = space.trial(list(space.corners())[-1][1])
    for name in ("erm", "audio alone", "text alone", "vision alone"):
        assert is_erm(trials[name]), name
    assert trials["text alone"].model.modalities == ("text",)
    dropout = trials["modality dropout"]
    assert (dropout.environments.view, dropout.loss.prediction_views) == ("erase", "all")
    assert dropout.loss.invariance == 0
    for name in PENALTIES:
        assert trials[name].loss.penalty == name
        assert trials[name].environments.partition == "speaker"
        assert trials[name].loss.reconstruction == 0
    for name in ("sal", "mixup"):
        assert trials[name].loss.penalty_weight == 1
        assert set(trials[name].loss.penalty_settings) == {name}
    assert trials["swad"].training.averaging == "swad"
    assert trials["ogm_ge"].training.modulation == "ogm_ge"
    printed = trials["cmir as printed"]
    assert printed.environments.view == "noise"
    assert printed.loss.invariance > 0 < printed.loss.reconstruction


def test_a_language_model_stays_where_its_modality_does(learning: DevelopmentData) -> None:
    found = files(read_sweep_file(SPACES / "mosi_language.yaml"), learning)
    assert found["text alone"].fixed["model.backbone.text"] == "minilm"
    audio = found["audio alone"]
    assert not [key for key in (*audio.fixed, *audio.search) if "backbone" in key]


def test_weights_are_not_averaged_beside_a_language_model_that_is_trained(
    small: SweepFile, learning: DevelopmentData
) -> None:
    kept = {**small.fixed, "model.backbone.text": "minilm", "training.backbone_layers": 0}
    tuned = {**small.fixed, "model.backbone.text": "minilm"}
    assert "swad" in files(small.model_copy(update={"fixed": kept}), learning)
    assert "swad" not in files(small.model_copy(update={"fixed": tuned}), learning)


def test_rivals_of_two_objectives_take_the_first_and_folds_have_no_swad(
    small: SweepFile, learning: DevelopmentData
) -> None:
    pair = small.model_copy(update={"objective": ["ood_val/mae", "split/leak"]})
    assert {file.objective for file in files(pair, learning).values()} == {"ood_val/mae"}
    assert "swad" not in files(small.model_copy(update={"objective": "cv/mae"}), learning)


def test_one_modality_has_no_rivals_of_parts(small: SweepFile, learning: DevelopmentData) -> None:
    fixed = {**small.fixed, "model.modalities": ["text"]}
    found = files(small.model_copy(update={"fixed": fixed}), learning)
    assert not [name for name in found if "alone" in name or "dropout" in name]


def test_an_unknown_rival_is_named_with_the_nearest(
    small: SweepFile, learning: DevelopmentData
) -> None:
    rivals = known_rivals(small, learning)
    assert [one.name for one in chosen_rivals(rivals, ["fishr", "erm"])] == ["erm", "fishr"]
    with pytest.raises(InputError, match=r"--only: 'fish' is no rival here\. Did you mean 'fishr'"):
        chosen_rivals(rivals, ["fish"])
