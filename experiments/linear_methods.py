"""The methods on the linear unit tests: ERM, IRMv1, this project's penalties.

A method says how its objective rises with the scores of a stack of models. Only this slope is asked
for: ERM then needs no loss and no automatic differentiation.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cmir.method.losses import penalties
from cmir.method.losses.constraints import prediction_errors
from experiments.linear_examples import Kind
from experiments.linear_rows import Rows

# Keeps the numbers of a model apart from those of the data, as the published code does.
MODEL_SEED_OFFSET = 1000


@dataclass(frozen=True)
class Draw:
    """One draw of the hyper-parameters; draw 0 is the defaults.

    Attributes:
        seed: of the start weights.
        learning_rate: of Adam.
        weight_decay: an L2 term in Adam's gradient.
        share: of the penalty in the objective, (1 - share) risk + share * penalty.
        step: eta of GroupDRO.
    """

    seed: int
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    share: float = 0.9
    step: float = 0.01


# From scores (replica, batch) to the gradient of each replica's objective by its scores.
Slopes = Callable[[Tensor], Tensor]
Method = Callable[[Rows, Sequence[Draw]], Slopes]
Penalty = Callable[[Tensor, Rows], Tensor]


def draw_settings(number: int) -> Draw:
    """The hyper-parameters of one draw: the same for every data seed, example and method.

    Ranges, and the order in which they are drawn, as published; GroupDRO's step is ours.
    """
    seed = MODEL_SEED_OFFSET + number
    if number == 0:
        return Draw(seed)
    source = random.Random(seed)
    return Draw(
        seed,
        learning_rate=10 ** source.uniform(-4, -2),
        weight_decay=10 ** source.uniform(-6, -2),
        share=1 - 10 ** source.uniform(-3, -0.3),
        step=10 ** source.uniform(-3, -1),
    )


def plain(rows: Rows, draws: Sequence[Draw]) -> Slopes:
    """Mean loss over all samples."""
    return lambda scores: _risk_slopes(scores, rows)


def penalised(penalty: Penalty) -> Method:
    """(1 - share) risk + share * penalty, the published form of IRMv1's objective."""

    def method(rows: Rows, draws: Sequence[Draw]) -> Slopes:
        share = torch.tensor([[draw.share] for draw in draws])

        def slopes(scores: Tensor) -> Tensor:
            scores = scores.detach().requires_grad_()
            (rise,) = torch.autograd.grad(penalty(scores, rows).sum(), scores)
            return torch.lerp(_risk_slopes(scores.detach(), rows), rise, share)

        return slopes

    return method


def group_dro(rows: Rows, draws: Sequence[Draw]) -> Slopes:
    """The loss of GroupDRO in place of the risk."""
    step = torch.tensor([draw.step for draw in draws])
    weights = torch.full((len(draws), rows.count), 1 / rows.count)

    def slopes(scores: Tensor) -> Tensor:
        nonlocal weights
        scores = scores.detach().requires_grad_()
        errors = prediction_errors(scores, rows.labels, rows.kind)
        loss, weights = penalties.group_dro(errors, rows.groups, rows.count, weights, step)
        (rise,) = torch.autograd.grad(loss.sum(), scores)
        return rise

    return slopes


def published_irm(rows: Rows, draws: Sequence[Draw]) -> Slopes:
    """IRMv1 as published with the unit tests: (1 - share) risk + share * penalty.

    The penalty is sum_e (d/ds R_e)^2 + (d/dt R_e)^2 at s = 1, t = 0 for scores s f + t, on the
    whole batch; the paper prints the first term only. Its slope is written out, one environment
    after the other, which stays in the processor's cache.
    """
    share = torch.tensor([[draw.share] for draw in draws])
    labels, ones = rows.labels.view(rows.count, -1), rows.ones.view(rows.count, -1)

    def of_environment(scores: Tensor, labels: Tensor, ones: Tensor) -> Tensor:
        gradients = penalties.score_gradients(scores, labels, rows.kind)
        curves = _curvatures(gradients, labels, rows.kind)
        scale = (gradients * scores).mean(1, keepdim=True)
        shift = (gradients * ones).mean(1, keepdim=True)
        rise = (curves * scores).add_(gradients).mul_(2 * share * scale)
        rise.addcmul_(curves.mul_(ones), 2 * share * shift)
        return rise.addcmul_(gradients, (1 - share) / rows.count).div_(len(labels))

    def slopes(scores: Tensor) -> Tensor:
        blocks = zip(scores.chunk(rows.count, dim=1), labels, ones, strict=True)
        return torch.cat([of_environment(*block) for block in blocks], 1)

    return slopes


def half_batch_irm(scores: Tensor, rows: Rows) -> Tensor:
    """This project's IRM penalty."""
    return penalties.irm(scores, rows.labels, rows.groups, rows.count, rows.kind)


def risk_variance(scores: Tensor, rows: Rows) -> Tensor:
    """This project's V-REx penalty."""
    errors = prediction_errors(scores, rows.labels, rows.kind)
    return penalties.vrex(errors, rows.groups, rows.count)


# The oracle is ERM on a shuffled spurious block.
ORACLE = "oracle"
METHODS: Mapping[str, Method] = {
    "ERM": plain,
    "IRMv1": published_irm,
    "irm": penalised(half_batch_irm),
    "vrex": penalised(risk_variance),
    "group_dro": group_dro,
    ORACLE: plain,
}


def _risk_slopes(scores: Tensor, rows: Rows) -> Tensor:
    return penalties.score_gradients(scores, rows.labels, rows.kind) / scores.shape[1]


def _curvatures(gradients: Tensor, labels: Tensor, kind: Kind) -> Tensor:
    """Second derivative of each sample's loss by its score, given the first."""
    if kind == "mse":
        return torch.full_like(gradients, 2.0)
    return (gradients + labels) * (1 - labels).sub(gradients)
