"""The matrix products of one training step, by themselves: the limit that a step is held against.

They follow from the network's layout and from what the objective asks for. Nothing else of a step
is among them: no bias, no activation, no loss, no optimiser, no drawing of batches and views. The
exchange of vectors in the view `swap` is not among them either: it can be done without a product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cmir.config import TrialConfig
from cmir.learning.model import Network

UNIMODAL, ENCODER, DECODER, PREDICTOR = "unimodal.", "encoder.", "decoder.", "predictor."


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
    views, found = trial.environments.views * batch, []
    predicted = views if trial.loss.prediction_views == "all" else 0
    perturbed = {f"{ENCODER}{layer}": views for layer in ("first", "second", "invariant")}
    for name, part in network.layout.parts.items():
        if not name.endswith(".weight"):
            continue
        layer = name.removesuffix(".weight")
        *leading, inputs, outputs = part.shape
        count = replicas * (leading[0] if leading else 1)
        is_data = layer.startswith(UNIMODAL) and not layer.endswith(".second")
        extra = predicted if layer.startswith(PREDICTOR) else perturbed.get(layer, 0)
        for rows in filter(None, (batch, extra)):
            found.append(Product(count, rows, inputs, outputs, not is_data))
    size = trial.model.representation_size
    # C of Eq. 6, samples by samples.
    found.append(Product(replicas * len(network.sizes), batch, size, batch))
    return found


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
