"""`split/leak`: what a linear map reads of the label from Z_spu, by readers that must not cheat."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cmir.data import DevelopmentData, load_dataset
from cmir.data.synthetic.generation import generate
from cmir.errors import InputError
from cmir.evaluation.measures import check_second, measured
from cmir.evaluation.probes.label_leak import label_leak, validation_samples
from cmir.method.training.reports import TrialResult
from tests.support.made_data.learning_data import small_config, trained, write_learning


@pytest.fixture(scope="module", params=["regression", "binary"])
def data(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> DevelopmentData:
    folder = tmp_path_factory.mktemp("leak") / "data"
    return load_dataset(write_learning(folder, task=request.param)).development()


@pytest.fixture(scope="module")
def result(data: DevelopmentData) -> TrialResult:
    objective = "ood_val/mae" if data.task.kind == "regression" else "ood_val/accuracy"
    return trained(data, small_config((0, 1)).model_copy(update={"objective": objective}))


def test_an_untouched_encoder_leaks_and_a_dead_spurious_part_does_not(
    data: DevelopmentData, result: TrialResult
) -> None:
    leak = label_leak(result, data)
    assert leak.shape == (len(result.config.seeds),)
    assert (leak > 0.1).all()
    assert (leak <= 1).all()
    dead = replace(result, weights=torch.zeros_like(result.weights))
    assert label_leak(dead, data).tolist() == [0.0] * len(leak)


def test_what_is_measured_stands_among_the_metrics_once(
    data: DevelopmentData, result: TrialResult
) -> None:
    found = measured(result, data, ["split/leak"])
    by_seed = found.by_seed["split/leak"]
    assert found.metrics["split/leak"] == pytest.approx(np.mean(by_seed))
    assert found.metrics["split/leak_std"] == pytest.approx(np.std(by_seed, ddof=1))
    assert {key: found.metrics[key] for key in result.metrics} == dict(result.metrics)
    again = measured(replace(found, weights=torch.zeros_like(found.weights)), data, ["split/leak"])
    assert again.metrics == found.metrics


def test_labels_that_do_not_vary_leave_nothing_to_measure(tmp_path: Path) -> None:
    sizes = dict.fromkeys(("train", "id_val", "ood_val", "id_test", "ood_test"), 24)
    path = generate(tmp_path / "data", modalities={"text": 4}, samples=sizes, speakers=3)
    data = load_dataset(path).development()
    check_second("split/leak", data, small_config())
    with pytest.raises(InputError, match="objective must be one of"):
        check_second("id_val/uar", data, small_config())
    zeros = np.zeros(24, dtype=np.float32)
    inside, outside = (replace(one, labels=zeros) for one in (data.id_val, data.ood_val))
    constant = replace(data, id_val=inside, ood_val=outside)
    assert np.ptp(validation_samples(constant)[1]) == 0
    with pytest.raises(InputError, match="validation labels are all the same"):
        check_second("split/leak", constant, small_config())
