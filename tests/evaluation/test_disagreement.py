"""The disagreement of seeds, against loops, and without a look at labels."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from cmir.data import DevelopmentData, load_dataset
from cmir.errors import InputError
from cmir.evaluation.disagreement import disagreement
from cmir.evaluation.measures import check_second
from cmir.evaluation.probes.representations import model_of
from cmir.method.training.reports import TrialResult
from tests.support.made_data.learning_data import NAMED, small_config, trained, write_learning

OBJECTIVES = {
    "regression": "ood_val/mae",
    "binary": "ood_val/accuracy",
    **{name: "ood_val/macro_f1" for name in NAMED},
}


@pytest.fixture(scope="module", params=OBJECTIVES)
def data(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> DevelopmentData:
    folder = tmp_path_factory.mktemp("disagreement") / "d"
    return load_dataset(write_learning(folder, task=request.param)).development()


@pytest.fixture(scope="module")
def result(data: DevelopmentData) -> TrialResult:
    objective = OBJECTIVES[data.task.kind]
    return trained(data, small_config((0, 1, 2)).model_copy(update={"objective": objective}))


def test_it_is_the_mean_distance_of_two_seeds(data: DevelopmentData, result: TrialResult) -> None:
    scores = model_of(result, data).predictions(data, data.ood_val.rows)
    distances = []
    for one, other in combinations(scores.astype(float), 2):
        if data.task.kind == "regression":
            distances.append(np.abs(one - other).mean() / data.train.labels.std())
        elif data.task.kind == "classes":
            distances.append((one.argmax(-1) != other.argmax(-1)).mean())
        else:
            distances.append(((one > 0) != (other > 0)).mean())
    found = disagreement(result, data)
    assert found.shape == (3,)
    assert found.mean() == pytest.approx(np.mean(distances))


def test_the_labels_of_new_groups_are_not_looked_at(
    data: DevelopmentData, result: TrialResult
) -> None:
    blind = replace(data.ood_val, labels=np.full_like(data.ood_val.labels, np.nan))
    found = disagreement(result, replace(data, ood_val=blind))
    assert found.tolist() == disagreement(result, data).tolist()


def test_seeds_that_are_alike_do_not_disagree(data: DevelopmentData, result: TrialResult) -> None:
    alike = replace(result, weights=result.weights[:1].repeat(3, 1))
    assert disagreement(alike, data).tolist() == [0.0] * 3


def test_one_seed_has_nobody_to_disagree_with(data: DevelopmentData) -> None:
    with pytest.raises(InputError, match="'unlabelled/disagreement' needs at least 2 seeds"):
        check_second("unlabelled/disagreement", data, small_config((0,)))
