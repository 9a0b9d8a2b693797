"""From a sweep's records to verdicts, sentences and a picture."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.data.synthetic import generate
from cmir.method.training.fitting import fit
from cmir.method.training.reports import TrialResult
from cmir.runner.studies.records import TrialRecord
from cmir.runner.weights import save_weights
from cmir.sweep.modalities.modality_findings import ModalityFindings, of_sweep, rates_of
from cmir.sweep.modalities.modality_picture import modality_picture
from cmir.sweep.modalities.modality_text import as_values, basis, sentence, sentences
from tests.support.small_records import record, scored

OBJECTIVE = "ood_val/mae"
NAMES = ("audio", "text", "vision")
SMALL = {
    "environments.view": "swap",
    "environments.count": 1,
    "loss.prediction_views": "all",
    "model.representation_size": 16,
    "model.hidden_size": 32,
    "training.batch_size": 64,
    "training.epochs": 6,
    "training.learning_rate": 2e-3,
}


def swapping(number: int, inside: float, outside: float, vision: float) -> TrialRecord:
    rates = {"environments.rate.vision": vision, "environments.rate.text": number % 5 / 5}
    config = trial_config(SMALL | rates, seeds=(0, 1))
    return replace(scored(number, inside, outside), config=config)


def searched() -> list[TrialRecord]:
    """The more vision is swapped, the better in new groups and the worse in known ones."""
    noise = 0.1 * np.random.default_rng(0).normal(size=24)
    rates = np.random.default_rng(1).uniform(size=24)
    return [
        swapping(n, 0.5 + rate + noise[n], 2.0 - rate + noise[n], float(rate))
        for n, rate in enumerate(rates)
    ]


def test_rates_are_read_from_trials_that_swap_or_erase() -> None:
    others = [record(30 + n, 0.1, scheme="noise") for n in range(20)]
    found = rates_of([*searched(), *others], OBJECTIVE, NAMES)
    assert found["vision"].new.trials == 24
    assert found["vision"].new.high < 0
    assert found["vision"].known is not None
    assert found["vision"].known.low > 0
    assert "audio" not in found  # Its rate was never another one.


def test_pruned_trials_count_as_the_worst_and_failed_ones_not_at_all() -> None:
    trials = searched()
    pruned = [
        replace(one, number=30 + n, ending=replace(one.ending, outcome=outcome))
        for n, one in enumerate(trials[:6])
        for outcome in ("pruned", "failed")
    ]
    found = rates_of([*trials, *pruned], OBJECTIVE, NAMES)["vision"]
    assert found.new.trials == 30
    assert found.known is not None
    assert found.known.trials == 24


def test_of_a_metric_that_should_be_large_the_error_is_its_opposite() -> None:
    def accurate(one: TrialRecord) -> TrialRecord:
        metrics = {key.replace("mae", "accuracy"): -v for key, v in one.ending.metrics.items()}
        return replace(one, ending=replace(one.ending, metrics=metrics))

    expected = rates_of(searched(), OBJECTIVE, NAMES)["vision"].new
    found = rates_of([accurate(one) for one in searched()], "ood_val/accuracy", NAMES)
    assert found["vision"].new == expected


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentData:
    shapes = {"text": 24, "audio": 24, "vision": 24}
    samples = {"train": 900, "id_val": 240, "ood_val": 240}
    folder = tmp_path_factory.mktemp("world") / "data"
    return load_dataset(generate(folder, modalities=shapes, samples=samples)).development()


def trained(data: DevelopmentData, config: TrialConfig) -> TrialResult:
    *_, last = fit(data, config)
    assert last.result is not None
    return last.result


@pytest.fixture(scope="module")
def found(data: DevelopmentData, tmp_path_factory: pytest.TempPathFactory) -> ModalityFindings:
    """Of a sweep whose best trial swaps vision nearly always."""
    trials = searched()
    best = min(trials, key=lambda one: one.objective or 0.0)
    path = tmp_path_factory.mktemp("weights") / "best.safetensors"
    save_weights(trained(data, best.config), path)
    judged = of_sweep(data, trials, OBJECTIVE, [(best.number, path)])
    assert judged is not None
    return judged


def test_the_spurious_modality_is_named(found: ModalityFindings) -> None:
    assert [name for name, one in found.verdicts.items() if one.word == "spurious"] == ["vision"]
    assert found.missing == ""


def test_the_champion_that_was_told_to_ignore_it_is_asked_too(found: ModalityFindings) -> None:
    moves = {name: worth.moves.value for name, worth in found.champion["ood_val"].items()}
    assert moves["vision"] < min(moves["text"], moves["audio"])


def test_every_sentence_says_what_it_rests_on(found: ModalityFindings) -> None:
    told = dict(zip(found.verdicts, sentences(found), strict=True))
    assert told["vision"].startswith("vision looks spurious for new groups")
    assert "link with the label" in told["vision"]
    whole = sentence(found.verdicts["vision"], found.champion)
    assert "in 24 trials error falls with its rate" in whole
    assert "it moves the champion by" in whole
    assert "8 new speakers" in basis(found)


def test_all_of_it_can_be_written_and_drawn(found: ModalityFindings) -> None:
    values = json.loads(json.dumps(as_values(found)))["modalities"]["vision"]
    assert values["verdict"] == "spurious"
    assert values["rates"]["best"]["quartiles"][1] > values["rates"]["all"]["quartiles"][1]
    axes = modality_picture(found).axes
    assert axes[0].get_title(loc="left") == "Link with the label"
    assert "vision\nlooks spurious" in axes[0].get_yticklabels()[-1].get_text()


def test_where_the_champion_took_long_only_the_rates_speak(data: DevelopmentData) -> None:
    slow = [replace(one, ending=replace(one.ending, seconds=900.0)) for one in searched()]
    judged = of_sweep(data, slow, OBJECTIVE, [])
    assert judged is not None
    assert "would take about 900 s" in judged.missing
    assert judged.verdicts["vision"].word == "spurious"
    assert judged.verdicts["text"].word == "cannot be told"
    assert sentences(judged)[0] == "audio cannot be told: nothing was measured"
    modality_picture(judged)


def test_there_is_no_verdict_without_a_finished_trial_or_with_one_modality(
    data: DevelopmentData,
) -> None:
    assert of_sweep(data, [record(0, None, "diverged")], OBJECTIVE, []) is None
    alone = trial_config({"model.modalities": ["text"]})
    assert of_sweep(data, [replace(scored(0, 1.0, 1.0), config=alone)], OBJECTIVE, []) is None
