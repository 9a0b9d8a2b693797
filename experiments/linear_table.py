"""Selection among the draws, and the tables of the linear unit tests beside the published ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.linear_examples import EXAMPLES, NAMES
from experiments.linear_methods import METHODS
from experiments.linear_record import FULL, Line

USUAL_ENVIRONMENTS = 3

# Aubin et al. 2021: mean test error over environments and data seeds.
PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "ERM": {"1": 13.36, "2": 0.421, "3": 0.480},
    "IRMv1": {"1": 11.15, "2": 0.450, "3": 0.485},
    "oracle": {"1": 10.42, "2": 0.000, "3": 0.013},
}
# The same for IRMv1 on example 3, by number of environments.
PUBLISHED_BY_ENVIRONMENTS: Mapping[int, float] = {
    2: 0.500, 3: 0.485, 4: 0.447, 5: 0.327, 6: 0.144, 7: 0.053, 10: 0.014,
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """The test error of one method on one example, at the draw that validation picked.

    Attributes:
        draw: number of the picked draw.
        errors: mean over environments, one for each data seed.
    """

    draw: int
    errors: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over data seeds."""
        return float(np.mean(self.errors))

    @property
    def spread(self) -> float:
        """Standard deviation over data seeds; not a number for a single one."""
        return float(np.std(self.errors, ddof=1)) if len(self.errors) > 1 else float("nan")


def select(lines: Sequence[Line]) -> Cell:
    """Picks one draw for all data seeds, as published, and reads the test errors of this one.

    The draw has the lowest validation error, averaged over data seeds and summed over environments;
    validation comes from the distribution of training. A draw that diverged is never picked.
    """
    lines = sorted(lines, key=lambda line: line.job.data_seed)
    validation = np.array([line.validation for line in lines]).mean(0).sum(1)
    draw = int(np.where(np.isfinite(validation), validation, np.inf).argmin())
    return Cell(draw, tuple(float(np.mean(line.test[draw])) for line in lines))


def cells_of(lines: Sequence[Line]) -> dict[tuple[str, int, str], Cell]:
    """By example, number of environments and method."""
    groups: dict[tuple[str, int, str], list[Line]] = {}
    for line in lines:
        job = line.job
        groups.setdefault((job.example, job.environments, job.method), []).append(line)
    return {key: select(own) for key, own in groups.items()}


def example_rows(lines: Sequence[Line]) -> list[dict[str, str]]:
    """One row for each method and for what is published of it, one column for each example."""
    cells = cells_of([line for line in lines if line.job.environments == USUAL_ENVIRONMENTS])
    shown = [name for name in NAMES if any(example == name for example, _, _ in cells)]
    rows = []
    for method in METHODS:
        own = {name: cells.get((name, USUAL_ENVIRONMENTS, method)) for name in shown}
        if not any(own.values()):
            continue
        texts = {name: _text(name, cell) for name, cell in own.items()}
        rows.append({"error": method, **texts, "data seeds": _counts(own.values())})
        if method in PUBLISHED:
            known = {name: _number(name, PUBLISHED[method].get(name)) for name in shown}
            rows.append(
                {"error": f"{method}, published", **known, "data seeds": str(FULL.data_seeds)}
            )
    return rows


def environment_rows(lines: Sequence[Line], example: str = "3") -> list[dict[str, str]]:
    """One row for each number of environments, one column for each method."""
    cells = {key: cell for key, cell in cells_of(lines).items() if key[0] == example}
    methods = [name for name in METHODS if any(method == name for _, _, method in cells)]
    rows = []
    for count in sorted({count for _, count, _ in cells}):
        own = {method: cells.get((example, count, method)) for method in methods}
        rows.append(
            {
                "environments": str(count),
                **{method: _text(example, cell) for method, cell in own.items()},
                "IRMv1 published": _number(example, PUBLISHED_BY_ENVIRONMENTS.get(count)),
                "data seeds": _counts(own.values()),
            }
        )
    return rows


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """A table for a document, its columns aligned for a terminal too."""
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in rows[0]}
    head = dict(zip(widths, widths, strict=True))
    rule = {name: "-" * width for name, width in widths.items()}
    return "\n".join(
        "| " + " | ".join(row[name].ljust(width) for name, width in widths.items()) + " |"
        for row in (head, rule, *rows)
    )


def _text(example: str, cell: Cell | None) -> str:
    if cell is None:
        return ""
    mean = _number(example, cell.mean)
    return f"{mean} ± {_number(example, cell.spread)}" if len(cell.errors) > 1 else mean


def _number(example: str, value: float | None) -> str:
    if value is None:
        return ""
    _, kind = EXAMPLES[example.removesuffix("s")]
    return f"{value:.2f}" if kind == "mse" else f"{value:.3f}".removeprefix("0")


def _counts(cells: Iterable[Cell | None]) -> str:
    numbers = sorted({len(cell.errors) for cell in cells if cell is not None})
    return " to ".join(str(number) for number in dict.fromkeys((numbers[0], numbers[-1])))
