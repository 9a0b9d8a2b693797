"""Inferred environments against the published procedure, spelled out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from cmir.data.task import Task
from cmir.method.environments.inferred_environments import eiil_environments, error_environments
from cmir.method.environments.reference import Reference

REGRESSION, BINARY = Task("regression"), Task("binary")
TASKS = (REGRESSION, BINARY)


def made_up(task: Task, size: int, seed: int = 0) -> Reference:
    """A reference that is right more often than not."""
    rng = np.random.default_rng(seed)
    labels = rng.uniform(-3, 3, size)
    scores = 0.7 * labels + rng.normal(size=size)
    if task == BINARY:
        labels = (labels > 0).astype(np.float64)
    return Reference(scores, labels, task)


def invariance_violation(reference: Reference, soft: Tensor) -> Tensor:
    """The sum over both environments of the squared gradient of the weighted loss, by autograd."""
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    scores, labels = torch.from_numpy(reference.scores), torch.from_numpy(reference.labels)
    if reference.task == BINARY:
        losses = binary_cross_entropy_with_logits(scale * scores, labels, reduction="none")
    else:
        losses = (scale * scores - labels) ** 2
    total = torch.zeros((), dtype=torch.float64)
    for weights in (soft, 1 - soft):
        risk = (weights * losses).mean()
        (gradient,) = torch.autograd.grad(risk, scale, create_graph=True)
        total = total + gradient**2
    return total


def published_eiil(reference: Reference, seed: int) -> np.ndarray:
    """Creager et al. 2021: Adam on the logits of q from a random start, threshold .5."""
    start = torch.randn(len(reference.scores), generator=torch.Generator().manual_seed(seed))
    logits = start.double().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.02)
    for _ in range(600):
        optimiser.zero_grad()
        (-invariance_violation(reference, logits.sigmoid())).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return (logits.sigmoid() > 0.5).long().numpy()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", [0, 1])
def test_eiil_is_what_the_published_procedure_ends_in(task: Task, seed: int) -> None:
    reference = made_up(task, 80)
    found, wanted = eiil_environments(reference), published_eiil(reference, seed)
    agreement = float((found == wanted).mean())
    # The names of the two environments depend on the start.
    assert max(agreement, 1 - agreement) == 1


@pytest.mark.parametrize("task", TASKS)
def test_no_other_partition_violates_invariance_more(task: Task) -> None:
    reference = made_up(task, 9, seed=3)
    best = invariance_violation(reference, torch.from_numpy(eiil_environments(reference)))
    others = [
        invariance_violation(reference, torch.tensor(choice, dtype=torch.float64))
        for choice in itertools.product([0, 1], repeat=9)
    ]
    assert best.item() == pytest.approx(max(value.item() for value in others))
    soft = torch.rand(200, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert all(invariance_violation(reference, weights) < best for weights in soft)


def test_in_a_binary_task_eiil_is_the_mistakes() -> None:
    reference = made_up(BINARY, 200)
    mistakes = error_environments(reference)
    assert 0 < mistakes.sum() < 100
    assert eiil_environments(reference).tolist() == mistakes.tolist()


def test_in_regression_eiil_parts_too_far_from_zero_from_too_near() -> None:
    scores = np.array([2.0, 1.0, -2.0, -1.0, 1.0, 0.0])
    labels = np.array([1.0, 2.0, -1.0, -2.0, -1.0, 1.0])
    found = eiil_environments(Reference(scores, labels, REGRESSION))
    assert found.tolist() == [1, 0, 1, 0, 1, 0]


def test_mistakes_of_a_classifier_are_the_samples_on_the_wrong_side() -> None:
    scores, labels = np.array([0.3, -0.2, 1.0, -3.0]), np.array([1.0, 1.0, 0.0, 0.0])
    assert error_environments(Reference(scores, labels, BINARY)).tolist() == [0, 1, 1, 0]


def test_mistakes_of_a_regression_are_the_quarter_with_the_largest_errors() -> None:
    reference = made_up(REGRESSION, 82)
    errors = np.abs(reference.scores - reference.labels)
    groups = error_environments(reference)
    assert groups.sum() == 20
    assert errors[groups == 1].min() > errors[groups == 0].max()


def test_of_equal_errors_the_earlier_are_the_mistakes() -> None:
    reference = Reference(np.zeros(8), np.ones(8), REGRESSION)
    assert error_environments(reference).tolist() == [1, 1, 0, 0, 0, 0, 0, 0]
