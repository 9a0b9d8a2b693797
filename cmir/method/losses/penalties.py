"""Penalties over the environments of a partition, as pure functions: one value per replica.

R_e is the mean task loss of environment e in the batch. All take a replica axis and work on every
replica and environment at once; an environment that is absent from a batch is left out. What a
penalty remembers from step to step goes in and comes out as a tensor of its own.

Each sees only what the partition shows: if the spurious link is the same in all environments, every
one of them is blind to it.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from cmir.method.losses.class_losses import Loss, class_loss

FISHR_DECAY = 0.95


def environment_risks(errors: Tensor, groups: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Mean error of each environment in a batch.

    Args:
        errors: `(replica, batch)` errors of the samples.
        groups: `(replica, batch)` integers in [0, count); `(1, batch)` where all replicas share a
            batch, which makes the sums one product of matrices.
        count: number of environments of the partition.

    Returns:
        risks `(replica, count)`, zero where an environment is absent, and the mask
        `(replica, count)` that is True where it is present.
    """
    members = functional.one_hot(groups, count).to(errors.dtype)
    sizes = members.sum(1)
    shared = len(members) == 1 < len(errors)
    totals = errors @ members[0] if shared else (errors[:, :, None] * members).sum(1)
    return totals / sizes.clamp(min=1), sizes > 0


def vrex(errors: Tensor, groups: Tensor, count: int) -> Tensor:
    """Variance of the environments' risks, over those present in the batch (V-REx).

    Var_e(R_e), population form (Krueger et al. 2021, "Out-of-Distribution Generalization via Risk
    Extrapolation", Eq. 8). Pitfall: where label noise differs by environment, equal risks are not
    what an invariant model has.

    Args:
        errors: `(replica, batch)`.
        groups: `(replica, batch)` integers in [0, count).
        count: number of environments.

    Returns:
        `(replica,)`; zero where one environment or none is present.

    Example:
        >>> vrex(torch.tensor([[1.0, 1.0, 4.0]]), torch.tensor([[0, 0, 1]]), 2)
        tensor([2.2500])
    """
    risks, present = environment_risks(errors, groups, count)
    return _variance_over(risks[..., None], present).squeeze(-1)


def irm(scores: Tensor, labels: Tensor, groups: Tensor, count: int, kind: Loss) -> Tensor:
    """IRMv1's penalty without bias: the product of two half-batch gradients, per environment.

    mean_e (d/ds R_e^a(s f))(d/ds R_e^b(s f)) at s = 1, with a and b the samples of e at even and
    at odd places (Arjovsky et al. 2019, "Invariant Risk Minimization", Sec. 3.1 and App. D). The
    square over one batch would add the gradient's variance. For squared error d/ds R_e is
    2 E[(f - y) f]; of several names the scale is that of all logits, sum_c (dl / df_c) f_c.

    Pitfalls: unbiased but noisy, and negative at times; with few environments, or with logits so
    small that every gradient vanishes, it is met by predictors that are not invariant (Rosenfeld
    et al. 2021, "The Risks of Invariant Risk Minimization"). Anneal it.

    Args:
        scores: `(replica, batch)` predictions f, for `bce` logits; of names `(replica, batch, C)`.
        labels: `(replica, batch)`, of several labels `(replica, batch, C)`.
        groups: `(replica, batch)` integers in [0, count).
        count: number of environments.
        kind: the task loss.

    Returns:
        `(replica,)`; environments with fewer than two samples in the batch are left out.
    """
    slopes = score_gradients(scores, labels, kind) * scores
    if class_loss(kind) is not None:
        slopes = slopes.sum(-1)
    halves = 2 * groups + _parity(groups, count)
    means, present = environment_risks(slopes, halves, 2 * count)
    both = present.view(-1, count, 2).all(-1)
    products: Tensor = means.view(-1, count, 2).prod(-1) * both
    return products.sum(1) / both.sum(1).clamp(min=1)


def group_dro(
    errors: Tensor, groups: Tensor, count: int, weights: Tensor, step: float | Tensor
) -> tuple[Tensor, Tensor]:
    """The loss of GroupDRO: environments weigh more the higher their risk has been.

    q_e <- q_e exp(eta R_e) / Z, then sum_e q_e R_e (Sagawa et al. 2020, "Distributionally Robust
    Neural Networks for Group Shifts", Alg. 1). An absent environment keeps its weight up to Z; the
    sum is over the weights of those present, scaled to one. Pitfalls: it guards the worst group
    that the partition names, no other; an overfitted network has no risk left to weigh, so it needs
    regularisation and early stopping.

    Args:
        errors: `(replica, batch)`.
        groups: `(replica, batch)` integers in [0, count).
        count: number of environments.
        weights: q of the step before, `(replica, count)`, each row adding up to 1.
        step: eta, a number or `(replica,)`.

    Returns:
        the loss `(replica,)`, which takes the place of the mean error, and the new q without
        gradient.
    """
    risks, present = environment_risks(errors, groups, count)
    eta = torch.as_tensor(step, dtype=risks.dtype, device=risks.device)
    grown = (weights.clamp(min=1e-30).log() + eta[..., None] * risks.detach()).softmax(1)
    shown = grown * present
    return (shown * risks).sum(1) / shown.sum(1), grown


def coral(features: Tensor, groups: Tensor, count: int) -> Tensor:
    """Distance between the environments' means and covariances of the representation (CORAL).

    Mean over pairs of environments of mean_k (mu_i - mu_j)_k^2 + mean_kl (C_i - C_j)_kl^2 (Sun and
    Saenko 2016, "Deep CORAL", Eq. 1, with the means as Gulrajani and Lopez-Paz 2021 have it).
    Pitfall: under label shift an invariant representation has other moments in each environment,
    and this penalty works against it.

    Args:
        features: `(replica, batch, features)` or `(replica, modality, batch, features)`.
        groups: `(replica, batch)` integers in [0, count).
        count: number of environments.

    Returns:
        the leading axes of the features; environments of fewer than two samples are left out.
    """
    members = functional.one_hot(groups, count).to(features.dtype).transpose(1, 2)
    if features.ndim == 4:
        members = members[:, None]
    sizes = members.sum(-1)
    means = members @ features / sizes[..., None].clamp(min=1)
    centred = (features[..., None, :, :] - means[..., :, None, :]) * members[..., None]
    spread = centred.transpose(-1, -2) @ centred / (sizes - 1).clamp(min=1)[..., None, None]
    present = sizes > 1
    # Over pairs, the mean squared difference is twice the unbiased variance.
    number = present.sum(-1)
    scale = 2 * number / (number - 1).clamp(min=1)
    return scale * (
        _variance_over(means, present).mean(-1)
        + _variance_over(spread.flatten(-2), present).mean(-1)
    )


def fishr(
    scores: Tensor,
    labels: Tensor,
    hidden: Tensor,
    groups: Tensor,
    count: int,
    kind: Loss,
    average: Tensor,
) -> tuple[Tensor, Tensor]:
    """Variance over environments of the gradient's variance within each (Fishr).

    v_e = Var_{i in e}(d loss_i / d w) with w the last layer, in closed form (d loss_i / d f)(h, 1);
    the penalty is the mean over e and over the weights of (v_e - mean_e v_e)^2, on a moving average
    of v_e with decay .95 (Rame et al. 2022, "Fishr", Eq. 4 and Sec. 3.2). The average enters the
    value, the newest batch alone the gradient, so that the strength of the gradient does not depend
    on the decay.
    Pitfall: for squared error the gradient's variance grows with label noise, as V-REx's risk does.

    Args:
        scores: `(replica, batch)` predictions f, for `bce` logits; of names `(replica, batch, C)`.
        labels: `(replica, batch)`, of several labels `(replica, batch, C)`.
        hidden: `(replica, batch, inputs)`, the inputs h of the last layer.
        groups: `(replica, batch)` integers in [0, count).
        count: number of environments.
        kind: the task loss.
        average: `(replica, count, C (inputs + 1) + 1)`, C = 1 without names: sums of the moving
            average and, last, the weight that they have gathered; before the first step zeros,
            `(replica, count, 1)`.

    Returns:
        `(replica,)`, and the new average without gradient.
    """
    slopes = score_gradients(scores, labels, kind)
    inputs = functional.pad(hidden, (0, 1), value=1.0)
    members = functional.one_hot(groups, count).to(scores.dtype).transpose(1, 2)
    sizes = members.sum(-1, keepdim=True)
    if class_loss(kind) is None:
        gradients = slopes[..., None] * inputs
        sums, squares = members @ gradients, members @ gradients.square()
    else:
        sums = _sums_of_products(members, slopes, inputs)
        squares = _sums_of_products(members, slopes.square(), inputs.square())
    means, squares = sums / sizes.clamp(min=1), squares / sizes.clamp(min=1)
    variances = (squares - means.square()).clamp(min=0)
    average = functional.pad(average, (variances.shape[-1] + 1 - average.shape[-1], 0))
    now = functional.pad(variances.detach(), (0, 1), value=1.0)
    mixed = FISHR_DECAY * average + (1 - FISHR_DECAY) * now
    average = torch.where(sizes > 0, mixed, average)
    smooth = average[..., :-1] / average[..., -1:].clamp(min=1e-12)
    value = _variance_over(smooth + variances - variances.detach(), sizes[..., 0] > 0).mean(-1)
    return value, average


def _sums_of_products(members: Tensor, slopes: Tensor, inputs: Tensor) -> Tensor:
    """Sum over each environment of slope_c input_k: `(replica, count, C (inputs + 1))`.

    The gradient of a sample by the last layer is an outer product; its sums, and those of its
    squares, are products of matrices, so that no tensor `(replica, batch, C, inputs)` is made.
    """
    weighed = members[:, :, None] * slopes.transpose(1, 2)[:, None]
    sums = weighed.flatten(1, 2) @ inputs
    return sums.view(len(sums), members.shape[1], -1)


def score_gradients(scores: Tensor, labels: Tensor, kind: Loss) -> Tensor:
    """d loss / d f of each sample, in the shape of the scores.

    2 (f - y) for squared error, the sign of f - y for absolute error, sigmoid(f) - y for binary
    cross-entropy; of a loss over names see `ClassLoss.slopes`.

    Example:
        >>> score_gradients(torch.tensor([2.0]), torch.tensor([0.5]), "mse")
        tensor([3.])
    """
    named = class_loss(kind)
    if named is not None:
        return named.slopes(scores, labels)
    if kind == "mse":
        return 2 * (scores - labels)
    if kind == "mae":
        return (scores - labels).sign()
    return scores.sigmoid() - labels


def _variance_over(values: Tensor, present: Tensor) -> Tensor:
    """Population variance over present environments: `(..., count, k)` to `(..., k)`."""
    counted = present[..., None].to(values.dtype)
    number = counted.sum(-2, keepdim=True).clamp(min=1)
    mean = (values * counted).sum(-2, keepdim=True) / number
    squares = (values - mean).square() * counted
    return squares.sum(-2) / number.squeeze(-2)


def _parity(groups: Tensor, count: int) -> Tensor:
    """0 for the first, third, ... sample of an environment in its batch, 1 for the others."""
    seen = functional.one_hot(groups, count).cumsum(1)
    return (seen.gather(2, groups[..., None]).squeeze(2) - 1) % 2
