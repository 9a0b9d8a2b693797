"""Training on classes and on several labels: every scheme learns, and a stack is its replicas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmir.data import DevelopmentData, load_dataset
from cmir.errors import InputError
from cmir.method.training.split_scores import goal_of, known_metrics
from tests.support.made_data.learning_data import (
    VARIANTS,
    assert_close,
    small_config,
    trained,
    write_learning,
)

OBJECTIVES = {"classes": "ood_val/macro_f1", "multilabel": "ood_val/weighted_accuracy"}


@pytest.fixture(params=["classes", "multilabel"])
def data(
    request: pytest.FixtureRequest,
    learning_classes: DevelopmentData,
    learning_multilabel: DevelopmentData,
) -> DevelopmentData:
    return {"classes": learning_classes, "multilabel": learning_multilabel}[request.param]


@pytest.mark.parametrize(
    "changes",
    [
        *VARIANTS.values(),
        {"environments__partition": "speaker", "environments__groups": 3, "loss__penalty": "irm"},
        {"environments__partition": "speaker", "environments__groups": 3, "loss__penalty": "coral"},
        {"loss__class_weights": "balanced", "loss__label_smoothing": 0.1},
    ],
    ids=[*VARIANTS, "irm", "coral", "weighted"],
)
def test_each_seed_of_a_stack_is_a_training_of_that_seed_alone(
    data: DevelopmentData, changes: dict[str, Any]
) -> None:
    goal = OBJECTIVES[data.task.kind]
    both = trained(
        data, small_config(seeds=(0, 1), **changes).model_copy(update={"objective": goal})
    )
    alone = trained(
        data, small_config(seeds=(1,), **changes).model_copy(update={"objective": goal})
    )
    assert both.best_epochs[1:] == alone.best_epochs
    for name, values in alone.by_seed.items():
        assert both.by_seed[name][1] == pytest.approx(values[0], rel=1e-3, abs=1e-3, nan_ok=True)


def test_names_are_learned(data: DevelopmentData) -> None:
    goal = OBJECTIVES[data.task.kind]
    config = small_config(training__epochs=30, training__patience=30)
    result = trained(data, config.model_copy(update={"objective": goal}))
    assert result.metrics[goal] > {"classes": 0.6, "multilabel": 0.75}[data.task.kind]


def test_the_same_training_gives_the_same_bits(data: DevelopmentData) -> None:
    config = small_config().model_copy(update={"objective": OBJECTIVES[data.task.kind]})
    assert_close(trained(data, config), trained(data, config))


def test_any_metric_may_be_the_objective(learning_classes: DevelopmentData) -> None:
    known = known_metrics(learning_classes.task)
    assert {"accuracy", "uar", "mcc", "f1_neutral", "worst_environment_accuracy"} <= set(known)
    for name in known:
        assert goal_of(f"ood_val/{name}", learning_classes.task).metric == name
    with pytest.raises(InputError, match=r"ood_val/f1_bad.* \(classes, bad, neutral, good\), but"):
        goal_of("ood_val/f1_sad", learning_classes.task)


def test_changing_every_heldout_label_changes_nothing(tmp_path: Path) -> None:
    config = small_config().model_copy(update={"objective": "ood_val/uar"})
    results = [
        trained(load_dataset(folder).development(), config)
        for folder in (
            write_learning(tmp_path / str(seed) / "x", task="classes", heldout_seed=seed)
            for seed in (0, 1)
        )
    ]
    np.testing.assert_array_equal(results[0].weights.numpy(), results[1].weights.numpy())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"loss__class_weights": "balanced"},
            "loss.class_weights is for the tasks classes and mul",
        ),
        ({"loss__label_smoothing": 0.1}, "loss.label_smoothing is for .* --task classes"),
        ({"loss__prediction": "cross_entropy"}, "loss.prediction must be auto, mse or mae"),
    ],
)
def test_settings_of_classes_are_refused_elsewhere(
    learning: DevelopmentData, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        trained(learning, small_config(**changes))
