"""Losses over names against torch, spelled-out loops and autograd; two classes equal `bce`."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from cmir.config import LossConfig
from cmir.data.task import Task
from cmir.method.losses import penalties
from cmir.method.losses.class_losses import (
    ClassLoss,
    Loss,
    balanced_weights,
    loss_of,
)
from cmir.method.losses.constraints import prediction_errors, prediction_invariance

Kind = Literal["cross_entropy", "label_bce"]
KINDS: tuple[Kind, ...] = ("cross_entropy", "label_bce")
R, B, C, E = 2, 14, 3, 3


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels_for(kind: Kind, count: int = C) -> Tensor:
    if kind == "cross_entropy":
        return torch.arange(R * B).view(R, B).remainder(count).double()
    return (drawn(R, B, count, seed=3) > 0).double()


def loss(kind: Kind, full: bool = True) -> ClassLoss:
    return ClassLoss(kind, torch.tensor([0.5, 1.0, 2.0]), 0.1) if full else ClassLoss(kind)


def environments() -> Tensor:
    return torch.stack([torch.arange(B) % E, torch.arange(B) // 5]).clamp(max=E - 1)


def test_cross_entropy_is_that_of_torch() -> None:
    scores, labels = drawn(R, B, C), labels_for("cross_entropy")
    for weights, smoothing in ((None, 0.0), (None, 0.2), (torch.tensor([0.5, 1.0, 2.0]), 0.0)):
        found = ClassLoss("cross_entropy", weights, smoothing).errors(scores, labels)
        wanted = functional.cross_entropy(
            scores.transpose(1, 2),
            labels.long(),
            weight=None if weights is None else weights.double(),
            label_smoothing=smoothing,
            reduction="none",
        )
        torch.testing.assert_close(found, wanted)


def test_several_labels_are_a_mean_of_binary_cross_entropies() -> None:
    scores, labels, weights = drawn(R, B, C), labels_for("label_bce"), torch.tensor([0.5, 1.0, 2.0])
    wanted = functional.binary_cross_entropy_with_logits(
        scores, labels, pos_weight=weights.double(), reduction="none"
    ).mean(-1)
    torch.testing.assert_close(ClassLoss("label_bce", weights).errors(scores, labels), wanted)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_slopes_are_those_of_autograd(kind: Kind, full: bool) -> None:
    scores = drawn(R, B, C).requires_grad_()
    one, labels = loss(kind, full), labels_for(kind)
    (wanted,) = torch.autograd.grad(one.errors(scores, labels).sum(), scores)
    torch.testing.assert_close(one.slopes(scores.detach(), labels), wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_stand_for_every_view_and_modality(kind: Kind) -> None:
    scores, labels = drawn(R, 4, B, C), labels_for(kind)
    found = prediction_errors(scores, labels[:, None], loss(kind))
    for view in range(4):
        torch.testing.assert_close(found[:, view], loss(kind).errors(scores[:, view], labels))


@pytest.mark.parametrize("kind", KINDS)
def test_invariance_of_predictions_is_a_mean_of_divergences(kind: Kind) -> None:
    scores = drawn(R, 2, 4, B, C)
    total = torch.zeros(R, 2, dtype=torch.float64)
    pairs = list(itertools.combinations(range(4), 2))
    for r, m, (a, b), i in itertools.product(range(R), range(2), pairs, range(B)):
        if kind == "cross_entropy":
            p, q = scores[r, m, a, i].softmax(0), scores[r, m, b, i].softmax(0)
            both = (p * (p / q).log()).sum() + (q * (q / p).log()).sum()
        else:
            p, q = scores[r, m, a, i].sigmoid(), scores[r, m, b, i].sigmoid()
            yes = p * (p / q).log() + q * (q / p).log()
            no = (1 - p) * ((1 - p) / (1 - q)).log() + (1 - q) * ((1 - q) / (1 - p)).log()
            both = (yes + no).sum()
        total[r, m] += both / 2
    torch.testing.assert_close(prediction_invariance(scores, kind), total / (B * len(pairs)))


@pytest.mark.parametrize("kind", KINDS)
def test_irm_is_the_product_of_the_half_batches_slopes_by_the_logits_scale(kind: Kind) -> None:
    scores, labels, groups = drawn(R, B, C), labels_for(kind), environments()
    found = penalties.irm(scores, labels, groups, E, loss(kind))
    for r in range(R):
        products = []
        for e in range(E):
            rows = (groups[r] == e).nonzero().flatten()
            slopes = []
            for half in (rows[::2], rows[1::2]):
                scale = torch.ones((), dtype=torch.float64, requires_grad=True)
                risk = loss(kind).errors(scale * scores[r, half], labels[r, half]).mean()
                slopes.append(torch.autograd.grad(risk, scale)[0])
            products.append(slopes[0] * slopes[1])
        torch.testing.assert_close(found[r], torch.stack(products).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_fishr_is_the_variance_of_single_gradients_of_the_last_layer(kind: Kind) -> None:
    hidden, weight = drawn(R, B, 5, seed=1), drawn(R, 5, C, seed=2)
    scores, labels, groups = hidden @ weight, labels_for(kind), environments()
    start = torch.zeros(R, E, 1, dtype=torch.float64)
    found, average = penalties.fishr(scores, labels, hidden, groups, E, loss(kind), start)
    assert average.shape == (R, E, C * 6 + 1)
    for r in range(R):
        variances = []
        for e in range(E):
            gradients = []
            for i in (groups[r] == e).nonzero().flatten():
                layer = weight[r].clone().requires_grad_()
                bias = torch.zeros(C, dtype=torch.float64, requires_grad=True)
                score = (hidden[r, i] @ layer + bias)[None]
                error = loss(kind).errors(score, labels[r, i][None]).sum()
                gradients.append(
                    torch.cat([g.flatten() for g in torch.autograd.grad(error, (layer, bias))])
                )
            variances.append(torch.stack(gradients).var(0, correction=0))
        torch.testing.assert_close(found[r], torch.stack(variances).var(0, correction=0).mean())
    again, _ = penalties.fishr(scores, labels, hidden, groups, E, loss(kind), average)
    torch.testing.assert_close(again, found)


def test_two_classes_with_logits_0_and_z_are_binary() -> None:
    """To 14 digits in double precision: sigmoid and softmax round apart."""
    z, labels, groups = drawn(R, B), labels_for("cross_entropy", 2), environments()
    both = torch.stack([torch.zeros_like(z), z], dim=-1)

    def equal(found: Tensor, wanted: Tensor) -> None:
        torch.testing.assert_close(found, wanted, rtol=1e-14, atol=1e-15)

    equal(prediction_errors(both, labels, "cross_entropy"), prediction_errors(z, labels, "bce"))
    slopes = penalties.score_gradients(both, labels, "cross_entropy")
    equal(slopes[..., 1], penalties.score_gradients(z, labels, "bce"))
    equal(
        penalties.irm(both, labels, groups, E, "cross_entropy"),
        penalties.irm(z, labels, groups, E, "bce"),
    )
    views, seen = both.view(1, R, B, 2), z.view(1, R, B)
    equal(prediction_invariance(views, "cross_entropy"), prediction_invariance(seen, "bce"))


def test_fishr_of_two_classes_is_that_of_binary() -> None:
    """The gradients by the two columns of the last layer are opposite: their variances equal."""
    hidden, z = drawn(R, B, 5, seed=1), drawn(R, B)
    both = torch.stack([torch.zeros_like(z), z], dim=-1)
    labels, groups = labels_for("cross_entropy", 2), environments()
    start = torch.zeros(R, E, 1).double()
    two, _ = penalties.fishr(both, labels, hidden, groups, E, "cross_entropy", start)
    one, _ = penalties.fishr(z, labels, hidden, groups, E, "bce", start)
    torch.testing.assert_close(two, one, rtol=1e-12, atol=1e-15)


def test_balanced_weights_let_every_name_count_alike() -> None:
    task = Task("classes", names=("a", "b", "c"))
    labels = [0.0] * 6 + [1.0] * 3 + [2.0]
    weights = balanced_weights(labels, task)
    assert weights[[0, 1, 2]] * [6, 3, 1] == pytest.approx([10 / 3] * 3)
    assert balanced_weights([0.0, 0.0, 1.0], task).tolist() == [0.5, 1.0, 0.0]
    several = Task("multilabel", names=("a", "b"))
    assert balanced_weights([[1, 0], [0, 1], [0, 1], [0, 0]], several).tolist() == [3.0, 1.0]


def test_a_loss_of_numbers_stays_its_name() -> None:
    task = Task("classes", names=("a", "b"))
    assert loss_of("mse", LossConfig(), task, [0.0, 1.0]) == "mse"
    found = loss_of("cross_entropy", LossConfig(label_smoothing=0.1), task, [0.0, 1.0])
    assert isinstance(found, ClassLoss)
    assert (found.weights, found.smoothing) == (None, 0.1)
    weighed: Loss = loss_of("cross_entropy", LossConfig(class_weights="balanced"), task, [0, 1, 1])
    assert isinstance(weighed, ClassLoss)
    assert weighed.weights is not None
    assert math.isclose(float(weighed.weights[0]), 1.5)


def test_settings_at_their_defaults_change_no_fingerprint() -> None:
    assert not {"class_weights", "label_smoothing"} & set(LossConfig().model_dump())
    assert LossConfig(class_weights="balanced").model_dump()["class_weights"] == "balanced"
