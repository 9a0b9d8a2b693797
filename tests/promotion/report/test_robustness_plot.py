"""Robustness curves: every panel and model is there, at the heights of the table."""

from __future__ import annotations

import io

import numpy as np
import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmir.errors import InputError
from cmir.promotion.report.robustness_plot import robustness_curves

MAE = "ood_val/mae"


def table(height: float, corruptions: tuple[str, ...] = ("gaussian", "delayed")) -> pl.DataFrame:
    rows = [("clean", "none", "none", 0.0, height)]
    if "gaussian" in corruptions:
        rows += [("gaussian", "vectors", "all", rate, height + rate) for rate in (0.3, 0.7)]
    if "delayed" in corruptions:
        rows += [("delayed", "features", "text", rate, height) for rate in (0.1, 0.5)]
    if "missing_modality" in corruptions:
        rows += [
            ("missing_modality", "vectors", "audio", 1.0, height + 1),
            ("missing_modality", "vectors", "audio+text", 2.0, height + 2),
        ]
    columns = ["corruption", "where", "modality", "severity", "mean"]
    return pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        split=pl.lit("ood_val"), metric=pl.lit("mae"), std=pl.lit(0.1)
    )


def drawn(figure: Figure) -> list[Axes]:
    figure.savefig(io.BytesIO(), format="png", dpi=30)
    return list(figure.axes)


def curve(axes: Axes, name: str) -> tuple[list[float], list[float]]:
    (line,) = [line for line in axes.get_lines() if line.get_label() == name]
    return list(np.asarray(line.get_xdata())), list(np.asarray(line.get_ydata()))


def test_each_corruption_has_a_panel_and_each_model_a_curve_from_its_clean_score() -> None:
    panels = drawn(robustness_curves({"plain": table(1.0), "swap": table(0.5)}, MAE))
    assert [axes.get_title("left") for axes in panels] == [
        "Gaussian noise\nall, at embedding level",
        "Delayed\ntext, at feature level",
    ]
    assert curve(panels[0], "plain") == ([0.0, 0.3, 0.7], [1.0, 1.3, 1.7])
    assert curve(panels[1], "swap") == ([0.0, 0.1, 0.5], [0.5, 0.5, 0.5])


def test_panels_share_their_height() -> None:
    first, second = drawn(robustness_curves({"plain": table(1.0)}, MAE))
    assert first.get_ylim() == second.get_ylim()


def test_missing_modalities_are_points_beside_the_clean_score() -> None:
    (axes,) = drawn(robustness_curves({"plain": table(1.0, ("missing_modality",))}, MAE))
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["none", "audio", "audio+text"]
    (bars,) = axes.containers
    assert list(np.asarray(bars[0].get_ydata())) == [1.0, 2.0, 3.0]


def test_a_model_without_some_corruption_is_drawn_where_it_has_one_and_named() -> None:
    figure = robustness_curves({"a": table(1.0), "b": table(0.5, ("delayed",))}, MAE)
    first, second = drawn(figure)
    assert curve(second, "b")[1] == [0.5, 0.5, 0.5]
    assert [line.get_label() for line in first.get_lines()] == ["a"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


@pytest.mark.parametrize(
    ("tables", "objective", "message"),
    [
        ({}, MAE, "tables: must be of 1 to 7 models"),
        (
            {"a": table(1.0)},
            "ood_val/corr",
            "one of ood_val/mae in the table of 'a', but got 'ood_val/corr'",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    tables: dict[str, pl.DataFrame], objective: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        robustness_curves(tables, objective)
