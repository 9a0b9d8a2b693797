"""The pictures of a sweep by the names of their files, each drawn from the records alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from matplotlib.figure import Figure

from cmir.runner.studies.records import TrialRecord
from cmir.sweep.learning_curves import learning_curves
from cmir.sweep.pairs.front_plot import front_of_both
from cmir.sweep.parallel_coordinates import parallel_coordinates
from cmir.sweep.plot_axes import stamp
from cmir.sweep.sweep_plots import (
    in_against_out_of_distribution,
    objective_over_trials,
    parameter_importance,
    schemes_side_by_side,
)

PICTURES: dict[str, Callable[[Sequence[TrialRecord], str], Figure]] = {
    "objective_over_trials": objective_over_trials,
    "parameter_importance": parameter_importance,
    "in_against_out_of_distribution": in_against_out_of_distribution,
    "schemes_side_by_side": schemes_side_by_side,
    "learning_curves": learning_curves,
    "parallel_coordinates": parallel_coordinates,
}


def pictures(
    records: Sequence[TrialRecord], objectives: Sequence[str], starts: int, of: str
) -> Iterator[tuple[str, Figure]]:
    """Every picture with the name of its file.

    Args:
        records: of one sweep.
        objectives: `split/metric`, the first of a pair in all pictures but that of both.
        starts: number of start points, the first trials of the sweep.
        of: the sweep and its data in words, which stands on each.
    """
    over_trials = partial(objective_over_trials, start_points=range(starts))
    for name, draw in (PICTURES | {"objective_over_trials": over_trials}).items():
        figure = draw(records, objectives[0])
        stamp(figure, of)
        yield f"{name}.png", figure
    if len(objectives) > 1:
        figure = front_of_both(records, objectives)
        stamp(figure, of)
        yield "pareto_front.png", figure
