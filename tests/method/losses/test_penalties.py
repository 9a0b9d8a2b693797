"""Each penalty against a spelled-out loop over replicas, environments and samples."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from torch import Tensor

from cmir.config import PredictionLoss
from cmir.method.losses.constraints import prediction_errors
from cmir.method.losses.penalties import (
    FISHR_DECAY,
    coral,
    environment_risks,
    fishr,
    group_dro,
    irm,
    score_gradients,
    vrex,
)

# Environments absent, of one sample, of all samples; three replicas of seven samples.
GROUPS = torch.tensor([[0, 2, 2, 0, 2, 4, 2], [1, 1, 1, 1, 1, 1, 1], [0, 1, 2, 3, 4, 0, 1]])
COUNT = 5
KINDS: tuple[PredictionLoss, ...] = ("mse", "mae", "bce")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def members(replica: int) -> dict[int, list[int]]:
    """Environment -> places of its samples in the batch."""
    found: dict[int, list[int]] = {}
    for place, group in enumerate(GROUPS[replica].tolist()):
        found.setdefault(group, []).append(place)
    return found


def risks_by_loop(errors: Tensor, replica: int) -> dict[int, float]:
    return {
        group: sum(errors[replica, place].item() for place in places) / len(places)
        for group, places in members(replica).items()
    }


def labels_for(kind: PredictionLoss) -> Tensor:
    labels = normal(3, 7, seed=9)
    return (labels > 0).double() if kind == "bce" else labels


def test_environment_risks_are_means_and_absent_environments_are_masked() -> None:
    errors = normal(3, 7).square()
    risks, present = environment_risks(errors, GROUPS, COUNT)
    for replica in range(3):
        expected = risks_by_loop(errors, replica)
        assert set(present[replica].nonzero().flatten().tolist()) == set(expected)
        for group in range(COUNT):
            assert risks[replica, group].item() == pytest.approx(expected.get(group, 0.0))


def test_one_row_of_groups_serves_all_replicas_that_share_a_batch() -> None:
    errors, labels = normal(3, 7).square(), labels_for("bce")
    scores, weights = normal(3, 7, seed=1), torch.full((3, COUNT), 1 / COUNT).double()
    for row in GROUPS[:, None]:
        repeated = row.expand(3, 7)
        torch.testing.assert_close(vrex(errors, row, COUNT), vrex(errors, repeated, COUNT))
        torch.testing.assert_close(
            irm(scores, labels, row, COUNT, "bce"), irm(scores, labels, repeated, COUNT, "bce")
        )
        torch.testing.assert_close(
            group_dro(errors, row, COUNT, weights, 0.1),
            group_dro(errors, repeated, COUNT, weights, 0.1),
        )


def test_vrex_is_the_population_variance_over_the_environments_present() -> None:
    errors = normal(3, 7).square().requires_grad_()
    measured = vrex(errors, GROUPS, COUNT)
    for replica in range(3):
        risks = list(risks_by_loop(errors.detach(), replica).values())
        mean = sum(risks) / len(risks)
        expected = sum((risk - mean) ** 2 for risk in risks) / len(risks)
        assert measured[replica].item() == pytest.approx(expected)
    (gradient,) = torch.autograd.grad(measured.sum(), errors)
    assert gradient[1].abs().max() == 0
    assert gradient[0].abs().max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_score_gradients_are_those_of_the_prediction_loss(kind: PredictionLoss) -> None:
    scores, labels = normal(3, 7).requires_grad_(), labels_for(kind)
    errors = prediction_errors(scores, labels, kind)
    (expected,) = torch.autograd.grad(errors.sum(), scores)
    torch.testing.assert_close(score_gradients(scores.detach(), labels, kind), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_irm_is_the_product_of_the_gradients_of_two_halves(kind: PredictionLoss) -> None:
    scores, labels = normal(3, 7), labels_for(kind)

    def slope(replica: int, places: list[int]) -> float:
        """d/ds of the mean loss of s f at s = 1, by autograd."""
        scale = torch.ones((), dtype=torch.float64, requires_grad=True)
        shown = scale * scores[replica, places]
        loss = prediction_errors(shown[None], labels[replica, places][None], kind).mean()
        (gradient,) = torch.autograd.grad(loss, scale)
        return float(gradient)

    measured = irm(scores, labels, GROUPS, COUNT, kind)
    for replica in range(3):
        products = [
            slope(replica, places[0::2]) * slope(replica, places[1::2])
            for places in members(replica).values()
            if len(places) > 1
        ]
        assert measured[replica].item() == pytest.approx(sum(products) / len(products))


def test_irm_of_half_batches_has_the_mean_of_the_squared_gradient() -> None:
    # E[g] = 2 E[(f - y) f] = 0.5 for f = 1 and y with mean 0.75: the penalty tends to its square,
    # while the square of one batch of 8 tends to it plus Var(g) / 8.
    generator = torch.Generator().manual_seed(0)
    labels = 0.75 + 2 * torch.randn(40_000, 8, generator=generator)
    scores, groups = torch.ones_like(labels), torch.zeros_like(labels, dtype=torch.long)
    unbiased = irm(scores, labels, groups, 1, "mse")
    error = unbiased.std() / 200
    assert abs(unbiased.mean() - 0.25) < 4 * error
    biased = score_gradients(scores, labels, "mse").mean(1).square().mean()
    assert biased > 0.25 + 1.5


def test_irm_vanishes_without_two_samples_of_an_environment() -> None:
    scores = normal(1, 3)
    assert irm(scores, scores + 1, torch.tensor([[0, 1, 2]]), 3, "mse").tolist() == [0]


def test_group_dro_follows_its_algorithm() -> None:
    errors, steps = normal(3, 7).square(), torch.tensor([0.1, 0.5, 2.0], dtype=torch.float64)
    before = torch.full((3, COUNT), 1 / COUNT, dtype=torch.float64)
    loss, weights = group_dro(errors, GROUPS, COUNT, before, steps)
    for replica in range(3):
        risks = risks_by_loop(errors, replica)
        grown = [
            before[replica, e].item() * torch.exp(steps[replica] * risks.get(e, 0.0)).item()
            for e in range(COUNT)
        ]
        share = [value / sum(grown) for value in grown]
        assert weights[replica].tolist() == pytest.approx(share)
        shown = sum(share[e] for e in risks)
        expected = sum(share[e] / shown * risk for e, risk in risks.items())
        assert loss[replica].item() == pytest.approx(expected)


def test_group_dro_ends_with_all_weight_on_the_worst_environment() -> None:
    errors, groups = torch.tensor([[1.0, 1.0, 3.0, 3.0]]), torch.tensor([[0, 0, 1, 1]])
    weights = torch.tensor([[0.5, 0.5]])
    for _ in range(400):
        loss, weights = group_dro(errors, groups, 2, weights, 0.05)
    torch.testing.assert_close(weights, torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(loss, torch.tensor([3.0]))
    # However small a weight has become, it can come back.
    for _ in range(2000):
        _, weights = group_dro(errors.flip(1), groups, 2, weights, 0.05)
    torch.testing.assert_close(weights, torch.tensor([[1.0, 0.0]]))


def coral_by_loop(features: Tensor, replica: int) -> float:
    parts = [features[places] for places in members(replica).values() if len(places) > 1]
    pairs = list(combinations(parts, 2))
    total = 0.0
    for one, other in pairs:
        total += float((one.mean(0) - other.mean(0)).square().mean())
        total += float((torch.cov(one.T) - torch.cov(other.T)).square().mean())
    return total / len(pairs) if pairs else 0.0


def test_coral_compares_means_and_covariances_of_all_pairs() -> None:
    features = normal(3, 2, 7, 4)
    measured = coral(features, GROUPS, COUNT)
    assert measured.shape == (3, 2)
    for replica in range(3):
        for modality in range(2):
            expected = coral_by_loop(features[replica, modality], replica)
            assert measured[replica, modality].item() == pytest.approx(expected)
    torch.testing.assert_close(coral(features[:, 0], GROUPS, COUNT), measured[:, 0])


@pytest.mark.parametrize("kind", KINDS)
def test_fishr_compares_the_variances_of_the_last_layers_gradients(kind: PredictionLoss) -> None:
    hidden, labels = normal(3, 7, 4), labels_for(kind)
    weight, bias = normal(4, seed=3), normal(1, seed=4)
    average = torch.zeros(3, COUNT, 6, dtype=torch.float64)
    memory: list[dict[int, Tensor]] = [{}, {}, {}]
    for step in range(3):
        batch = hidden + step
        scores = batch @ weight + bias
        measured, average = fishr(scores, labels, batch, GROUPS, COUNT, kind, average)
        for replica in range(3):
            expected = fishr_by_loop(
                batch[replica], labels[replica], weight, bias, kind, replica, memory[replica], step
            )
            assert measured[replica].item() == pytest.approx(expected)


def fishr_by_loop(
    hidden: Tensor,
    labels: Tensor,
    weight: Tensor,
    bias: Tensor,
    kind: PredictionLoss,
    replica: int,
    memory: dict[int, Tensor],
    step: int,
) -> float:
    """Per-sample gradients by autograd; the moving average starts without the bias of zero."""
    weight, bias = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    smooth = []
    for group, places in members(replica).items():
        gradients = []
        for place in places:
            score = hidden[place] @ weight + bias
            error = prediction_errors(score[None], labels[place][None], kind).sum()
            gradients.append(torch.cat(torch.autograd.grad(error, (weight, bias))))
        variance = torch.stack(gradients).var(0, unbiased=False)
        old = memory.get(group, torch.zeros_like(variance))
        memory[group] = FISHR_DECAY * old + (1 - FISHR_DECAY) * variance
        smooth.append(memory[group] / (1 - FISHR_DECAY ** (step + 1)))
    stacked = torch.stack(smooth)
    return float((stacked - stacked.mean(0)).square().mean())


def test_the_gradient_of_fishr_does_not_shrink_with_the_moving_average() -> None:
    # On the same batch again and again the average is the batch, and so is the gradient.
    hidden, labels = normal(3, 7, 4), labels_for("mse")
    weight = normal(4, seed=3).requires_grad_()
    average = torch.zeros(3, COUNT, 6, dtype=torch.float64)
    gradients: list[Tensor] = []
    for _ in range(4):
        value, average = fishr(hidden @ weight, labels, hidden, GROUPS, COUNT, "mse", average)
        gradients += torch.autograd.grad(value.sum(), weight)
    torch.testing.assert_close(gradients[3], gradients[0])


PENALTIES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "vrex": lambda scores, labels, groups: vrex((scores - labels).square(), groups, 3),
    "irm": lambda scores, labels, groups: irm(scores, labels, groups, 3, "mse"),
    "group_dro": lambda scores, labels, groups: group_dro(
        (scores - labels).square(), groups, 3, torch.full((len(scores), 3), 1 / 3), 0.1
    )[0],
    "coral": lambda scores, labels, groups: coral(
        torch.stack([scores, labels, scores * labels], -1), groups, 3
    ),
    "fishr": lambda scores, labels, groups: fishr(
        scores, labels, scores[..., None], groups, 3, "mse", torch.zeros(len(scores), 3, 3)
    )[0],
}


@pytest.mark.parametrize("name", PENALTIES)
def test_a_replica_is_penalised_as_it_would_be_alone(name: str) -> None:
    penalty = PENALTIES[name]
    scores, labels = normal(4, 12).float(), normal(4, 12, seed=1).float()
    groups = torch.randint(0, 3, (4, 12), generator=torch.Generator().manual_seed(5))
    together = penalty(scores, labels, groups)
    for r in range(4):
        alone = penalty(scores[r : r + 1], labels[r : r + 1], groups[r : r + 1])
        torch.testing.assert_close(together[r : r + 1], alone)


@pytest.mark.parametrize("name", ["vrex", "coral", "fishr"])
def test_equal_environments_cost_nothing(name: str) -> None:
    scores, labels = normal(2, 4).float().repeat(1, 3), normal(2, 4, seed=1).float().repeat(1, 3)
    groups = torch.arange(3).repeat_interleave(4).expand(2, 12)
    torch.testing.assert_close(PENALTIES[name](scores, labels, groups), torch.zeros(2))


def test_every_penalty_prefers_the_invariant_feature_over_the_spurious_one() -> None:
    # y = x + noise everywhere; s = rho_e y + noise with rho_e = 1, .2: two predictors of least
    # squares, one on each feature. GroupDRO has no preference of its own: its worst risk decides.
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(2).repeat_interleave(4000)[None]
    cause, noise, own = torch.randn(3, 1, 8000, generator=generator)
    labels = cause + noise
    spurious = torch.where(groups == 0, 1.0, 0.2) * labels + 0.5 * own

    def fitted(feature: Tensor) -> Tensor:
        slope = (feature * labels).sum() / feature.square().sum()
        return feature * float(slope)

    right, wrong = fitted(cause), fitted(spurious)
    for name in ("vrex", "irm", "fishr"):
        penalty = PENALTIES[name]
        assert penalty(right, labels, groups) < 0.2 * penalty(wrong, labels, groups), name
    assert coral(right[..., None], groups, 2) < 0.2 * coral(wrong[..., None], groups, 2)
