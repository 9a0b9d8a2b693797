"""Against what tells environments apart: an adversary that reads the environment off Z_inv (DANN),
and noise along what an environment has of its own (SAL)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from cmir.method.losses.class_losses import ClassLoss
from cmir.method.networks.replicas import Part, linear, linear_parts, linear_relu

ADVERSARY = "penalty.adversary"
SAL_DECAY = 0.95


def adversary_parts(inputs: int, hidden: int, count: int) -> dict[str, Part]:
    """The weights of the adversary: FC(inputs to d') ReLU FC(d' to the number of environments)."""
    first = linear_parts(f"{ADVERSARY}.first", inputs, hidden)
    return first | linear_parts(f"{ADVERSARY}.second", hidden, count)


def dann(weights: Mapping[str, Tensor], features: Tensor, groups: Tensor) -> Tensor:
    """The error of an adversary that names the environment, with its gradient reversed.

    The cross-entropy of the environment given the representation: the adversary's weights go down
    its gradient, the representation goes up it (Ganin et al. 2016, Eq. 9 and 13-15). Where it has
    won nothing, the value is the entropy of the environments. Pitfalls: where the environment can
    be told from the label, the adversary takes that from the representation as well; and what hides
    from it may still be read by another one.

    Args:
        weights: by name, among them those of `adversary_parts`.
        features: `(replica, batch, features)`.
        groups: `(replica, batch)`, the environment of each sample.

    Returns:
        `(replica,)`.
    """
    shown = reversed_gradient(features)
    hidden = linear_relu(weights, f"{ADVERSARY}.first", shown)
    scores = linear(weights, f"{ADVERSARY}.second", hidden)
    return ClassLoss("cross_entropy").errors(scores, groups).mean(1)


def reversed_gradient(values: Tensor) -> Tensor:
    """The same values; their gradient has the other sign.

    Example:
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> y = 2 * reversed_gradient(x)
        >>> y.item(), torch.autograd.grad(y, x)[0].item()
        (6.0, -2.0)
    """
    # The difference is zero to the bit.
    return values.detach() - (values - values.detach())


def confounded(
    features: Tensor, groups: Tensor, count: int, sparsity: float, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """What a representation has of each sample's environment: the selection of SAL.

    h minimises, over tables of one vector for each environment e and within a coordinate,
    mean_{i in e} (z_i - mean z - h_e)^2 / 2 + lambda s |h_e| (Wang et al. 2017, "Select-Additive
    Learning", selection phase): the mean of e less that of all, moved to zero by lambda s and not
    past it, with s the standard deviation of the coordinate. There h is a network that is trained
    on the speaker's number after the first training; of a number it is a table, whose best entries
    are known, from a moving average with decay .95. What all environments share says nothing of
    any, and is left out.

    Args:
        features: `(replica, batch, features)`.
        groups: `(replica, batch)` integers in [0, count).
        count: number of environments.
        sparsity: lambda, in standard deviations.
        memory: `(replica, count, features + 1)`: sums of the moving averages and, last, the weight
            that they have gathered; before the first step zeros, `(replica, count, 1)`.

    Returns:
        `(replica, batch, features)` without gradient, and the new memory.
    """
    fixed = features.detach()
    members = functional.one_hot(groups, count).to(fixed.dtype).transpose(1, 2)
    sizes = members.sum(-1, keepdim=True)
    now = functional.pad(members @ fixed / sizes.clamp(min=1), (0, 1), value=1.0)
    memory = functional.pad(memory, (now.shape[-1] - memory.shape[-1], 0))
    memory = torch.where(sizes > 0, SAL_DECAY * memory + (1 - SAL_DECAY) * now, memory)
    known = memory[..., -1:] > 0
    means = memory[..., :-1] / memory[..., -1:].clamp(min=1e-12)
    overall = (means * known).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
    own, threshold = means - overall, sparsity * fixed.std(1, keepdim=True)
    selected = own.sign() * (own.abs() - threshold).clamp(min=0) * known
    return members.transpose(1, 2) @ selected, memory
