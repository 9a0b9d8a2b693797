"""The matrix products of one training step, by themselves: the limit that a step is held against.

They follow from the network's layout and from what the objective asks for. Nothing else of a step
is among them: no bias, no activation, no loss, no optimiser, no drawing of batches and views. Where
the step does with fewer products than the formulas have, so does the limit: vectors that are
swapped or erased are not encoded again. The exchange of vectors itself is not among the products:
it can be done without one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cmir.config import TrialConfig
from cmir.method.networks.model import Network


@dataclass(frozen=True)
class Product:
    """`(batch, rows, inputs) @ (batch, inputs, outputs)` and its two products backward.

    Attributes:
        needs_input_gradient: False where the left side is data: then there is one backward.
    """

    batch: int
    rows: int
    inputs: int
    outputs: int
    needs_input_gradient: bool = True

    @property
    def operations(self) -> int:
        """Floating-point operations, forward and backward."""
        passes = 3 if self.needs_input_gradient else 2
        return 2 * passes * self.batch * self.rows * self.inputs * self.outputs


def products_of(network: Network, trial: TrialConfig, replicas: int, batch: int) -> list[Product]:
    """The products of a step of `replicas` copies, with the weights of all constraints above zero.

    The clean samples and their K views are separate products through one weight, as the objective
    has them: what the clean samples give must not depend on how many views there are.

    Args:
        network: vectors and pooled sequences only; those of Transformers are not listed.
        trial: gives the views, and whether the label is predicted from them too.
        replicas: networks in the stack.
        batch: samples of each in a step.
    """
    found, size = [], trial.model.representation_size
    for name, part in network.layout.parts.items():
        if name.endswith(".weight"):
            layer = name.removesuffix(".weight")
            *leading, inputs, outputs = part.shape
            count = replicas * (leading[0] if leading else 1)
            is_data = layer.startswith("unimodal.") and not layer.endswith(".second")
            found.append(Product(count, batch, inputs, outputs, not is_data))
    found += _of_views(network, trial, replicas, batch)
    # C of Eq. 6, samples by samples.
    found.append(Product(replicas * len(network.sizes), batch, size, batch))
    return found


def _of_views(network: Network, trial: TrialConfig, replicas: int, batch: int) -> Iterator[Product]:
    """What the views add: encoded anew with noise, else picked from what is known already.

    `erase` picks what the encoder makes of the zero vector too: one row more.
    """
    view, rows = trial.environments.view, trial.environments.views * batch
    size, hidden = trial.model.representation_size, trial.model.hidden_size
    each = replicas * len(network.sizes)
    encoded = {"none": 0, "noise": rows, "erase": 1, "swap": 0}[view]
    if encoded:
        yield Product(each, encoded, size, hidden, needs_input_gradient=view == "noise")
        yield Product(each, encoded, hidden, hidden)
        yield Product(each, encoded, hidden, size)
    if rows == 0 or trial.loss.prediction_views == "clean":
        return
    if view == "noise":
        yield Product(replicas, rows, len(network.sizes) * size, hidden)
    else:
        # The predictor's first layer, modality by modality.
        yield Product(each, batch, size, hidden)
        if encoded:
            yield Product(each, encoded, size, hidden)
    yield Product(replicas, rows, hidden, hidden)
    yield Product(replicas, rows, hidden, 1)


class Bench:
    """Products with random operands on a device, all memory taken beforehand."""

    def __init__(self, products: Sequence[Product], device: torch.device) -> None:
        self.products = list(products)
        self.operands = [_operands(one, device) for one in products]
        self.results = [_results(one, device) for one in products]

    def run(self) -> None:
        """All products once: forward, then backward."""
        for (left, right, _), (forward, _, _) in zip(self.operands, self.results, strict=True):
            torch.bmm(left, right, out=forward)
        for one, operands, results in zip(self.products, self.operands, self.results, strict=True):
            left, right, slope = operands
            if one.needs_input_gradient:
                torch.bmm(slope, right.transpose(1, 2), out=results[1])
            torch.bmm(left.transpose(1, 2), slope, out=results[2])


def operations(products: Sequence[Product]) -> int:
    """Floating-point operations of all of them."""
    return sum(one.operations for one in products)


def _operands(one: Product, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    left = torch.randn(one.batch, one.rows, one.inputs, device=device)
    right = torch.randn(one.batch, one.inputs, one.outputs, device=device)
    return left, right, torch.randn(one.batch, one.rows, one.outputs, device=device)


def _results(one: Product, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    forward = torch.empty(one.batch, one.rows, one.outputs, device=device)
    by_left = torch.empty(one.batch, one.rows, one.inputs, device=device)
    return forward, by_left, torch.empty(one.batch, one.inputs, one.outputs, device=device)
