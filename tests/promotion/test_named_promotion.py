"""What a promotion makes of classes and several labels: constants, margins, groups, tables."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from sklearn import metrics as reference

from cmir.data import DevelopmentData
from cmir.evaluation.paired_tests import paired_difference
from cmir.evaluation.probes.probing import probe
from cmir.method.training.reports import TrialResult
from cmir.method.training.split_scores import split_metrics
from cmir.promotion.comparison import group_changes, scores_of
from cmir.promotion.gates import constant_score, group_margin
from cmir.promotion.noise_loss import noise_loss
from cmir.promotion.report.class_tables import class_tables
from cmir.promotion.report.ensemble_robustness import ensemble_robustness
from cmir.serving.outputs import averaged
from cmir.serving.trained_ensemble import ensemble_of
from cmir.space.space_file import Gates
from tests.support.made_data.learning_data import small_config, trained

OBJECTIVES = {"classes": "ood_val/macro_f1", "multilabel": "ood_val/macro_f1"}


@pytest.fixture(scope="module", params=["classes", "multilabel"])
def data(
    request: pytest.FixtureRequest,
    learning_classes: DevelopmentData,
    learning_multilabel: DevelopmentData,
) -> DevelopmentData:
    return {"classes": learning_classes, "multilabel": learning_multilabel}[request.param]


@pytest.fixture(scope="module")
def result(data: DevelopmentData) -> TrialResult:
    config = small_config(seeds=(0, 1), training__epochs=8)
    return trained(data, config.model_copy(update={"objective": OBJECTIVES[data.task.kind]}))


def test_the_constant_of_classes_is_the_most_frequent_one(
    learning_classes: DevelopmentData,
) -> None:
    labels, seen = learning_classes.ood_val.labels, learning_classes.train.labels
    frequent = Counter(seen.tolist()).most_common(1)[0][0]
    constant = np.full(len(labels), frequent)
    accuracy = constant_score(learning_classes, "ood_val/accuracy")
    assert accuracy == pytest.approx(reference.accuracy_score(labels, constant))
    assert constant_score(learning_classes, "ood_val/uar") == pytest.approx(1 / 3)
    shares = np.bincount(seen.astype(int)) / len(seen)
    assert constant_score(learning_classes, "ood_val/log_loss") == pytest.approx(
        reference.log_loss(labels, np.tile(shares, (len(labels), 1)), labels=range(3))
    )


def test_the_constant_of_several_labels_is_each_ones_share(
    learning_multilabel: DevelopmentData,
) -> None:
    assert constant_score(learning_multilabel, "ood_val/weighted_accuracy") == pytest.approx(0.5)
    decided = learning_multilabel.train.labels.mean(0) >= 0.5
    wanted = (learning_multilabel.ood_val.labels == decided).mean()
    found = constant_score(learning_multilabel, "ood_val/label_accuracy")
    assert found == pytest.approx(float(wanted))


def test_the_margin_of_a_group_is_at_most_a_tenth(data: DevelopmentData) -> None:
    assert 0 < group_margin(data, Gates()) <= 0.1


def test_groups_and_models_are_compared_in_pairs(
    data: DevelopmentData, result: TrialResult
) -> None:
    scores = scores_of(ensemble_of(result, data), data, {"ood_val": data.ood_val})["ood_val"]
    changes = group_changes(scores, np.zeros_like(scores), data.ood_val, data.task)
    assert sum(change.samples for change in changes) == len(data.ood_val)
    weighed = sum(change.own * change.samples for change in changes) / len(data.ood_val)
    metric = data.task.group_metric
    means = split_metrics(scores, data.ood_val, data.task)[f"ood_val/{metric}"]
    assert weighed == pytest.approx(float(means.mean()))
    for name in (metric, "macro_f1"):
        found = paired_difference(
            scores, scores, data.ood_val.labels, np.arange(24) // 4, name, task=data.task, draws=50
        )
        assert (found.estimate, found.p_better) == (0.0, 0.5)


def test_noise_corruptions_and_probes_are_measured(
    data: DevelopmentData, result: TrialResult
) -> None:
    ensemble = ensemble_of(result, data)
    metric = OBJECTIVES[data.task.kind]
    loss = noise_loss(ensemble, data, metric, constant_score(data, metric))
    assert loss.clean == pytest.approx(result.metrics[metric], abs=1e-6)
    table = ensemble_robustness(ensemble, data, splits=["ood_val"], corruptions=["gaussian"])
    tail = f"tenth_percentile_{data.task.group_metric}"
    assert {"macro_f1", tail} <= set(table["metric"].to_list())
    label = probe(result, data).readouts["label/ood_val"]
    assert label.measure == {"classes": "accuracy", "multilabel": "r2"}[data.task.kind]
    if label.measure == "accuracy":
        counts = np.unique(data.ood_val.labels, return_counts=True)[1]
        assert label.chance == pytest.approx(counts.max() / 24)


def test_tables_of_classes_are_those_of_scikit_learn(
    data: DevelopmentData, result: TrialResult
) -> None:
    split = data.ood_val
    scores = scores_of(ensemble_of(result, data), data, {"ood_val": split})["ood_val"]
    served = averaged(scores, data.task)[0]
    tables = class_tables(served, split, data.task)
    decided = served.argmax(1) if data.task.kind == "classes" else served >= 0
    of_each = reference.precision_recall_fscore_support(split.labels, decided, zero_division=0)
    for number, row in enumerate(tables.each):
        assert row[0] == data.task.names[number]
        assert [float(cell) for cell in row[3:]] == pytest.approx(
            [of_each[measure][number] for measure in range(3)], abs=6e-4
        )
    if data.task.kind == "classes":
        counts = [[int(cell) for cell in row[1:]] for row in tables.confusion]
        assert counts == reference.confusion_matrix(split.labels, decided).tolist()
    else:
        assert tables.confusion == []
    assert sum(int(row[1]) for row in tables.groups) in (0, len(split))
