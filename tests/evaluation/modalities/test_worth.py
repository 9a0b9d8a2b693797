"""Worths of modalities to a trained model, on data whose truth is known."""

from pathlib import Path

import numpy as np
import pytest

from cmir.config import trial_config
from cmir.data import DevelopmentData, load_dataset
from cmir.data.synthetic import generate
from cmir.data.task import Task, TaskKind
from cmir.evaluation.modalities.verdicts import Evidence, verdicts
from cmir.evaluation.modalities.worth import Worths, expected, targets_of, worths
from cmir.evaluation.probes.representations import model_of
from cmir.method.training.fitting import fit

SMALL = {
    "model.representation_size": 16,
    "model.hidden_size": 32,
    "training.batch_size": 64,
    "training.epochs": 8,
    "training.learning_rate": 2e-3,
    "loss.invariance": 0.0,
    "loss.mutual_information": 0.0,
    "loss.reconstruction": 0.0,
}


def known_world(folder: Path, task: TaskKind = "regression") -> DevelopmentData:
    """`vision` alone carries the spurious link."""
    path = generate(
        folder,
        modalities={"text": 24, "audio": 24, "vision": 24},
        samples={"train": 900, "id_val": 240, "ood_val": 240},
        task=task,
        names=("a", "b", "c") if task == "classes" else (),
    )
    return load_dataset(path).development()


def of_erm(data: DevelopmentData, objective: str = "id_val/mae") -> Worths:
    *_, last = fit(data, trial_config(SMALL, objective=objective, seeds=(0, 1)))
    assert last.result is not None
    return worths(model_of(last.result, data), data)


@pytest.mark.parametrize(
    ("task", "objective"), [("regression", "id_val/mae"), ("classes", "id_val/accuracy")]
)
def test_the_spurious_modality_is_named_and_no_other(
    task: TaskKind, objective: str, tmp_path: Path
) -> None:
    found = of_erm(known_world(tmp_path / "world", task), objective)
    evidence = {
        name: Evidence(found["id_val"][name], found["ood_val"][name]) for name in found["id_val"]
    }
    words = {name: one.word for name, one in verdicts(evidence).items()}
    assert words["vision"] == "spurious"
    assert "spurious" not in (words["text"], words["audio"])
    assert found["ood_val"]["vision"].gain.value < 0 < found["id_val"]["vision"].gain.value
    assert found["id_val"]["vision"].link.groups == 24


def test_the_same_seed_gives_the_same_worths(tmp_path: Path) -> None:
    data = known_world(tmp_path / "world")
    assert of_erm(data) == of_erm(data)


@pytest.mark.parametrize(
    ("task", "scores", "wanted"),
    [
        (Task("regression", (-3.0, 3.0)), [[1.5, -2.0]], [[[1.5], [-2.0]]]),
        (Task("binary"), [[0.0]], [[[0.5]]]),
        (Task("multilabel", None, ("a", "b")), [[[0.0, 100.0]]], [[[0.5, 1.0]]]),
        (Task("classes", None, ("a", "b")), [[[0.0, 0.0]]], [[[0.5, 0.5]]]),
    ],
)
def test_scores_become_numbers_or_probabilities(task: Task, scores: object, wanted: object) -> None:
    assert np.allclose(expected(np.array(scores), task), np.array(wanted))


def test_classes_are_told_as_one_of_each() -> None:
    task = Task("classes", None, ("a", "b", "c"))
    assert targets_of([2, 0], task).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert targets_of([1.0, 0.0], Task("binary")).tolist() == [[1.0], [0.0]]
