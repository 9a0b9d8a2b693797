from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cmir.errors import InputError
from cmir.space.search_space import SearchSpace, checked_space
from cmir.space.space_file import parse_sweep, read_sweep_file
from tests.support.small_sweep import SMALL, write_space

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted((ROOT / "search_spaces").glob("*.yaml"))


def space(**changes: object) -> SearchSpace:
    return checked_space(parse_sweep(SMALL | changes, "s.yaml"), "s.yaml", ("text", "vision"))


def with_search(**more: object) -> SearchSpace:
    renamed = {key.replace("__", "."): form for key, form in more.items()}
    return space(search=SMALL["search"] | renamed)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_space_loads_and_builds_all_its_corners(path: Path) -> None:
    file = read_sweep_file(path)
    found = checked_space(file, str(path), ("text", "audio", "vision"))
    assert file.name == path.stem
    assert len(found.corners()) > len(found.dimensions)


def test_an_unknown_key_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"trails is not a known key. Did you mean 'trials'"):
        parse_sweep(SMALL | {"trails": 3}, "s.yaml")
    with pytest.raises(InputError, match=r"los\.invarance.*Did you mean 'loss\.invariance'"):
        with_search(los__invarance=[1.0])
    with pytest.raises(InputError, match=r"visoin.*Did you mean 'environments\.rate\.vision'"):
        with_search(environments__rate__visoin=[0.5])


def test_a_number_that_yaml_reads_as_text_is_explained() -> None:
    content = yaml.safe_load("{low: 1e-5, high: 1.0}")
    with pytest.raises(InputError, match=r"low must be a number, but got the text '1e-5'.*1\.0e-5"):
        with_search(loss__invariance=content)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"low": 2.0, "high": 1.0}, "low must not be above high, but got 2 and 1"),
        ({"low": 0.0, "high": 1.0, "log": True}, "low must be above 0 on a log scale"),
        ({"low": 0.1, "high": 1.0, "log": True, "step": 0.1}, "exclude each other"),
        ({"low": -1.0, "high": 1.0}, "greater than or equal to 0"),
        ([], "at least 1 item"),
        ([0.1, 0.1], "must differ"),
        (["0.1"], "must be a list of numbers"),
        ({"low": 0.1, "high": 1.0, "when": {"nothing": [1]}}, "neither searched nor fixed"),
        ({"low": 0.1, "high": 1.0, "when": {"environments.view": ["swop"]}}, "never is 'swop'"),
        ({"low": 0.1, "high": 1.0, "when": {"environments.count": [1]}}, "is a range"),
    ],
)
def test_a_bad_dimension_is_refused(form: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        with_search(loss__invariance=form)


def test_a_whole_number_setting_refuses_broken_bounds() -> None:
    with pytest.raises(InputError, match="must have whole numbers"):
        with_search(training__batch_size={"low": 1.5, "high": 3.0})


def test_a_setting_without_its_scheme_is_found_before_anything_starts() -> None:
    with pytest.raises(InputError, match="rate has no effect with view 'none'"):
        with_search(environments__rate__vision={"low": 0.0, "high": 1.0})


def test_two_settings_that_contradict_each_other_are_found_before_anything_starts() -> None:
    # Either end alone goes with the first choice of the other: only the pair shows the fault.
    searched = {
        "environments.partition": ["random"],
        "loss.penalty": ["vrex", "group_dro"],
        "loss.penalty_weight": {"low": 0.1, "high": 30.0, "log": True},
    }
    message = (
        r"penalty_weight = 30.*at most 1 with penalty 'group_dro'.*give the weight a condition"
    )
    with pytest.raises(InputError, match=message):
        space(search=searched, start_from=[])
    searched["loss.penalty_weight"] = {
        "low": 0.1,
        "high": 30.0,
        "when": {"loss.penalty": ["vrex"]},
    }
    assert space(search=searched, start_from=[]).pairs()


def test_conditions_in_a_circle_are_refused() -> None:
    with pytest.raises(InputError, match="go in a circle"):
        space(
            fixed={},
            start_from=[],
            search={
                "loss.normalise": {
                    "choices": ["features", "batch"],
                    "when": {"loss.reduction": ["sum"]},
                },
                "loss.reduction": {
                    "choices": ["sum", "mean"],
                    "when": {"loss.normalise": ["batch"]},
                },
            },
        )


def test_a_held_out_objective_is_refused() -> None:
    with pytest.raises(InputError, match="Held-out data is read by promotion alone"):
        parse_sweep(SMALL | {"objective": "ood_test/mae"}, "s.yaml")


def test_a_start_point_outside_the_space_is_refused() -> None:
    start = {"environments.view": "noise", "environments.count": 9}
    with pytest.raises(InputError, match=r"start_from\[0\]\.environments\.count must lie"):
        space(start_from=[start | {"training.learning_rate": 0.002}])
    with pytest.raises(InputError, match="its default: name it in the start point"):
        space(start_from=[{"environments.view": "none"}])


def test_a_start_point_takes_defaults_for_what_it_leaves_out() -> None:
    found = space(
        search=SMALL["search"] | {"model.transformer_layers": [1, 2]},
        start_from=[{"environments.view": "none", "training.learning_rate": 0.002}],
    )
    assert found.complete(found.file.start_from[0])["model.transformer_layers"] == 1


def test_both_ends_of_every_range_are_among_the_corners() -> None:
    values = [values.get("environments.count") for _, values in space().corners()]
    assert {1, 3} <= set(values)


def test_the_budget_is_not_part_of_the_question(tmp_path: Path) -> None:
    file = read_sweep_file(write_space(tmp_path))
    longer = read_sweep_file(write_space(tmp_path, trials=99))
    other = read_sweep_file(write_space(tmp_path, seeds=3))
    assert file.fingerprint == longer.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("content", "message"),
    [("[1, 2]", "must hold keys"), ("name: [", "is not valid YAML"), ("name: .inf", "finite")],
)
def test_a_file_that_is_no_sweep_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_sweep_file(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.yaml: there is no such file"):
        read_sweep_file(tmp_path / "nothing.yaml")


def test_layers_of_a_language_model_are_searched_as_words_and_numbers() -> None:
    layers = {"training.backbone_layers": [0, 2, "all"]}
    rate = {
        "low": 1e-5,
        "high": 1e-4,
        "log": True,
        "when": {"training.backbone_layers": [2, "all"]},
    }
    found = space(
        fixed={"model.backbone.text": "minilm"},
        start_from=[],
        search={**layers, "training.backbone_learning_rate": rate},
    )
    trials = [found.trial(values).training for _, values in found.corners()]
    assert {trial.backbone_layers for trial in trials} == {0, 2, "all"}
    assert all(t.backbone_learning_rate is None for t in trials if t.backbone_layers == 0)
    with pytest.raises(InputError, match="must be a list of numbers, but got the text 'some'"):
        space(search={"training.backbone_layers": [0, "some"]}, start_from=[])


@pytest.mark.parametrize(
    "text",
    [
        "a: 2001-01-01 01:01:01.1+99999999999:00",
        'a: "\\Uffffffff"',
        "[" * 5000,
        "a: 2001-99-99",
        "? {a: b}: c",
    ],
)
def test_what_yaml_cannot_make_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"s\.yaml: "):
        read_sweep_file(path)


def test_an_objective_may_be_a_pair() -> None:
    pair = ["ood_val/mae", "split/leak"]
    file = parse_sweep(SMALL | {"objective": pair}, "s.yaml")
    assert (file.objectives, file.first_objective) == (tuple(pair), pair[0])
    assert file.question["objective"] == pair
    single = parse_sweep(SMALL, "s.yaml")
    assert (single.objectives, single.question["objective"]) == (("ood_val/mae",), "ood_val/mae")


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (["ood_val/mae"], r"s.yaml: objective must have at least 2 items.*got \['ood_val/mae'\]"),
        (["ood_val/mae", "ood_val/mae"], "two objectives of a pair must differ.*ood_val/mae twice"),
        (
            ["split/leak", "ood_val/mae"],
            "validation split, id_val, ood_val or cv, but got 'split/leak'",
        ),
        (
            ["ood_val/mae", "split/leek"],
            r"ood_val or cv \(or split/leak\) \(or unlabelled/disagreement\), but got 'split/leek'",
        ),
        (["ood_val/mae", "ood_test/mae"], "but got 'ood_test/mae'. Held-out data is read by"),
        (["ood_val/mae", 3], "s.yaml: objective.1 must be a text, but got 3"),
    ],
)
def test_a_faulty_pair_is_refused(objective: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_sweep(SMALL | {"objective": objective}, "s.yaml")


def test_measures_are_listed_once_and_change_the_question() -> None:
    one = parse_sweep(SMALL | {"measures": ["unlabelled/disagreement"]}, "s.yaml")
    assert one.measured == ("unlabelled/disagreement",)
    assert one.fingerprint != parse_sweep(SMALL, "s.yaml").fingerprint
    pair = {"objective": ["cv/mae", "split/leak"], "measures": ["split/leak"]}
    assert parse_sweep(SMALL | pair, "s.yaml").measured == ("split/leak",)
    with pytest.raises(InputError, match=r"measures\.0 must be"):
        parse_sweep(SMALL | {"measures": ["split/leek"]}, "s.yaml")
