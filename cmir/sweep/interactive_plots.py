"""Optuna's own pictures of a sweep as one page to click in; needs the extra `interactive`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.util import find_spec
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from cmir.runner.studies.records import TrialRecord
from cmir.space.shown_study import ShownStudy
from cmir.sweep.leaderboard import is_lower_better, ranked, value_of
from cmir.sweep.parallel_coordinates import are_numbers, is_wide, leading_settings

NAME = "interactive.html"
FEWEST, MOST_TRIALS = 2, 1000
HEAD = "<!doctype html><meta charset='utf-8'><title>{of}</title><h3>{of}: {objective}</h3>"


def can_draw() -> bool:
    """Whether plotly is installed."""
    return find_spec("plotly") is not None


def interactive_page(records: Sequence[TrialRecord], objective: str, of: str) -> str:
    """Parallel coordinates of the best finished trials, and a slice for each setting, as HTML.

    The page holds plotly itself (4 to 5 MB), so that it can be read without a network.

    Args:
        records: of one sweep.
        objective: `split/metric`.
        of: the sweep and its data in words.

    Returns:
        the page; empty where fewer than two trials have finished, or they do not differ.
    """
    ended = ranked(records, objective)[:MOST_TRIALS]
    settings = leading_settings(ended, objective)
    if len(ended) < FEWEST or not settings:
        return ""
    study = _study(ended, objective, settings)
    figures = [
        draw(study, params=settings, target_name=objective)
        for draw in (optuna.visualization.plot_parallel_coordinate, optuna.visualization.plot_slice)
    ]
    parts = [
        figure.to_html(full_html=False, include_plotlyjs=place == 0)
        for place, figure in enumerate(figures)
    ]
    return "\n".join([HEAD.format(of=of, objective=objective), *parts])


def _study(ended: Sequence[TrialRecord], objective: str, settings: Sequence[str]) -> optuna.Study:
    """The trials as a study in memory, numbered by rank: Optuna wants numbers without gaps."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lower = is_lower_better(objective)
    columns = {key: _distribution(key, ended) for key in settings}
    empty = optuna.create_study(direction="minimize" if lower else "maximize")
    return ShownStudy(empty, [_trial(place, one, columns) for place, one in enumerate(ended)])


def _trial(place: int, record: TrialRecord, columns: Mapping[str, BaseDistribution]) -> FrozenTrial:
    held = {key: column for key, column in columns.items() if key in record.params}
    return FrozenTrial(
        number=place,
        trial_id=place,
        state=TrialState.COMPLETE,
        value=value_of(record),
        datetime_start=datetime.fromtimestamp(record.started),
        datetime_complete=datetime.fromtimestamp(record.ended),
        params={key: _as(column, record.params[key]) for key, column in held.items()},
        distributions=held,
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


def _as(column: BaseDistribution, value: Any) -> Any:
    return str(value) if isinstance(column, CategoricalDistribution) else float(value)


def _distribution(key: str, ended: Sequence[TrialRecord]) -> BaseDistribution:
    values = [record.params[key] for record in ended if key in record.params]
    if are_numbers(values):
        low, high = float(min(values)), float(max(values))
        return FloatDistribution(low, high, log=is_wide(low, high))
    return CategoricalDistribution(sorted({str(value) for value in values}))
