from __future__ import annotations

import torch
from torch import nn

from cmir.method.language.pretrained.adapters import LowRank, add_adapters


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Sequential(nn.Linear(6, 2)))


def random() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_a_layer_starts_as_it_was() -> None:
    part, given = small(), torch.randn(5, 4)
    before = part(given)
    add_adapters(part, 2, random())
    assert torch.equal(part(given), before)


def test_every_matrix_gets_one_and_nothing_else_is_trained() -> None:
    part = small()
    add_adapters(part, 2, random())
    trained = {name: tuple(w.shape) for name, w in part.named_parameters() if w.requires_grad}
    assert trained == {"0.down": (2, 4), "0.up": (6, 2), "2.0.down": (2, 6), "2.0.up": (2, 2)}


def test_it_adds_a_product_of_low_rank() -> None:
    base, given = nn.Linear(4, 6), torch.randn(5, 4)
    adapted = LowRank(base, 2, random())
    with torch.no_grad():
        adapted.up.normal_()
        matrix = base.weight + adapted.up @ adapted.down
        torch.testing.assert_close(adapted(given), given @ matrix.T + base.bias)


def test_its_gradient_is_that_of_the_three_products() -> None:
    base, given = nn.Linear(4, 6), torch.randn(3, 5, 4, requires_grad=True)
    adapted, goal = LowRank(base, 2, random()), torch.randn(3, 5, 6)
    with torch.no_grad():
        adapted.up.normal_()
    wanted = (given, adapted.down, adapted.up)
    spelled = base(given) + (given @ adapted.down.T) @ adapted.up.T
    slopes = torch.autograd.grad((spelled * goal).sum(), wanted)
    found = torch.autograd.grad((adapted(given) * goal).sum(), wanted)
    for one, other in zip(found, slopes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_in_mixed_precision_its_gradients_are_those_of_its_weights_kind() -> None:
    adapted = LowRank(nn.Linear(4, 6), 2, random())
    with torch.autocast("cpu", torch.bfloat16):
        found = adapted(torch.randn(5, 4))
    assert found.dtype == torch.bfloat16
    found.sum().backward()
    assert adapted.up.grad is not None
    assert adapted.up.grad.dtype == torch.float32


def test_the_start_follows_the_seed() -> None:
    one, same = LowRank(nn.Linear(4, 6), 2, random()), LowRank(nn.Linear(4, 6), 2, random())
    other = LowRank(nn.Linear(4, 6), 2, torch.Generator().manual_seed(4))
    assert torch.equal(one.down, same.down)
    assert not torch.allclose(one.down, other.down)
