"""Robustness curves of several models in one picture, drawn from their tables."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from cmir.errors import InputError
from cmir.sweep.plot_axes import SCHEME_STYLES, dress, empty_figure, label_of

Panel = tuple[str, str, str]

COLUMNS = 4
TITLE: Mapping[str, str] = {
    "gaussian": "Gaussian noise",
    "unseen": "Laplace noise or dropout",
    "missing_modality": "Modality missing",
    "missing_steps": "Steps missing",
    "swapped": "Swapped with another sample",
    "delayed": "Delayed",
}
LEVEL: Mapping[str, str] = {"features": "at feature level", "vectors": "at embedding level"}
SEVERITY: Mapping[str, str] = {
    "gaussian": "noise rate",
    "unseen": "noise rate",
    "missing_steps": "share of steps",
    "swapped": "share of samples",
    "delayed": "lag / length",
}


def robustness_curves(tables: Mapping[str, pl.DataFrame], objective: str) -> Figure:
    """A panel for each corruption, a curve for each model: mean and deviation over the seeds.

    All panels share their height. Curves begin at the clean score; of missing modalities, which
    have no order, there are points.

    Args:
        tables: name of a model to its table from `evaluate_robustness`.
        objective: `split/metric`, such as `ood_val/mae`.

    Raises:
        InputError: no model or more than there are colours, or a table without the metric.
    """
    if not 1 <= len(tables) <= len(SCHEME_STYLES):
        raise InputError(
            f"tables: must be of 1 to {len(SCHEME_STYLES)} models, the number of colours, but got "
            f"{len(tables)}."
        )
    chosen = {name: _of_objective(name, table, objective) for name, table in tables.items()}
    panels = _panels(list(chosen.values()))
    figure, places = _grid(len(panels))
    for axes, panel in zip(places, panels, strict=True):
        for (name, table), (colour, marker) in zip(chosen.items(), SCHEME_STYLES, strict=False):
            draw = _draw_points if panel[0] == "missing_modality" else _draw_curve
            draw(axes, table, panel, name, colour, marker)
        _name_panel(axes, panel)
    figure.supylabel(label_of(objective), fontsize=10)
    _legend(figure, chosen)
    return figure


def _of_objective(name: str, table: pl.DataFrame, objective: str) -> pl.DataFrame:
    split, _, metric = objective.partition("/")
    found = table.filter((pl.col("split") == split) & (pl.col("metric") == metric))
    if found.is_empty():
        known = table.select(pl.concat_str("split", "metric", separator="/")).to_series()
        raise InputError(
            f"objective: must be one of {', '.join(sorted(set(known)))} in the table of '{name}', "
            f"but got '{objective}'."
        )
    return found


def _panels(tables: Sequence[pl.DataFrame]) -> list[Panel]:
    """Corruption, where and modality of each panel, in the tables' order.

    Missing modalities share one panel for each where.
    """
    panels: dict[Panel, None] = {}
    for table in tables:
        corrupted = table.filter(pl.col("corruption") != "clean")
        curves = corrupted.select("corruption", "where", "modality").rows()
        for corruption, where, modality in curves:
            alone = corruption != "missing_modality"
            panels[corruption, where, modality if alone else ""] = None
    return list(panels)


def _grid(count: int) -> tuple[Figure, list[Axes]]:
    columns = min(COLUMNS, max(count, 1))
    rows = max(1, math.ceil(count / columns))
    title = "Scores under corruption, mean ± standard deviation over the seeds"
    figure = empty_figure(2.2 + 2.6 * columns, 1.4 + 2.3 * rows, title)
    places = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten().tolist()
    for axes in places[count:]:
        axes.remove()
    for axes in places[:count]:
        dress(axes)
    return figure, places[:count]


def _draw_curve(
    axes: Axes, table: pl.DataFrame, panel: Panel, name: str, colour: str, marker: str
) -> None:
    corruption, where, modality = panel
    corrupted = table.filter(corruption=corruption, where=where, modality=modality)
    if corrupted.is_empty():
        return
    curve = pl.concat([table.filter(corruption="clean"), corrupted.sort("severity")])
    severity, mean, std = curve["severity"], curve["mean"], curve["std"]
    axes.plot(severity, mean, color=colour, marker=marker, markersize=4, label=name)
    axes.fill_between(severity, mean - std, mean + std, color=colour, alpha=0.18, linewidth=0)


def _draw_points(
    axes: Axes, table: pl.DataFrame, panel: Panel, name: str, colour: str, marker: str
) -> None:
    corrupted = table.filter(corruption=panel[0], where=panel[1])
    if corrupted.is_empty():
        return
    points = pl.concat([table.filter(corruption="clean"), corrupted])
    axes.errorbar(
        points["modality"],
        points["mean"],
        yerr=points["std"],
        linestyle="",
        color=colour,
        marker=marker,
        markersize=4,
        label=name,
    )


def _legend(figure: Figure, models: Collection[str]) -> None:
    """All models, also those that the first panel lacks."""
    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=4, label=name)
        for name, (colour, marker) in zip(models, SCHEME_STYLES, strict=False)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=9)


def _name_panel(axes: Axes, panel: Panel) -> None:
    corruption, where, modality = panel
    whose = f"{modality}, " if modality else ""
    axes.set_title(f"{TITLE[corruption]}\n{whose}{LEVEL[where]}", loc="left", fontsize=9)
    axes.set_xlabel(SEVERITY.get(corruption, ""), fontsize=9)
    axes.tick_params(labelsize=8)
    if corruption == "missing_modality":
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
