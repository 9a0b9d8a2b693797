"""A rival: another way to train on the same data, with a search space of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cmir.ablation.matched_baseline import without_conditions
from cmir.data import DevelopmentData
from cmir.method.baseline_recipes import CONSTRAINTS
from cmir.space.space_file import SweepFile, parse_sweep

# What a rival keeps of the champion's space: the sizes of the network, what its errors are, and how
# it is optimised.
KEPT = ("model.", "training.", "loss.prediction", "loss.class_weights", "loss.label_smoothing")
NOT_KEPT = ("loss.prediction_views",)


@dataclass(frozen=True)
class Rival:
    """A row of the table.

    Attributes:
        name: what it is called, in lower case.
        what: one sentence with its source.
        space: makes of the champion's space the rival's own search dimensions and fixed values,
            both by dotted key; None where the data does not allow it.
    """

    name: str
    what: str
    space: Callable[[SweepFile, DevelopmentData], Changes | None]


@dataclass(frozen=True)
class Changes:
    """What a rival adds to the part of the space that it keeps.

    Attributes:
        search: dimensions by key.
        fixed: values by key; keys with a value of None are not kept.
    """

    search: Mapping[str, Any]
    fixed: Mapping[str, Any]


def rival_file(
    base: SweepFile, changes: Changes, data: DevelopmentData, name: str, epochs: int
) -> SweepFile:
    """The sweep that tunes a rival on the champion's data, first objective and early stopping.

    Args:
        base: the champion's sweep file.
        changes: of the rival.
        data: whose folder is searched on.
        name: of the sweep.
        epochs: longest training, that of the champion's space.
    """
    dumped = base.model_dump(mode="json")
    nothing: dict[str, Any] = {"environments.view": "none", **dict.fromkeys(CONSTRAINTS, 0.0)}
    search = {key: form for key, form in dumped["search"].items() if _is_kept(key)}
    fixed = {key: value for key, value in dumped["fixed"].items() if _is_kept(key)}
    fixed = {**nothing, **fixed, **changes.fixed}
    search = {key: form for key, form in search.items() if key not in changes.fixed}
    search |= changes.search
    dropped = [key for key, value in changes.fixed.items() if value is None]
    fixed = {k: v for k, v in fixed.items() if k not in search and k not in dropped}
    content = {
        **{key: dumped[key] for key in ("seeds", "early_stopping", "plugins")},
        "objective": base.first_objective,
        "name": name,
        "data": {"path": data.found_at},
        "epochs": epochs,
        "keep_models": 0,
        "fixed": fixed,
        "search": {key: without_conditions(form, search) for key, form in search.items()},
    }
    return parse_sweep(content, f"the rival {name}")


def _is_kept(key: str) -> bool:
    return key.startswith(KEPT) and not key.startswith(NOT_KEPT)
