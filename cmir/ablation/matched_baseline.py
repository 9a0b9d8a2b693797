"""The ERM baseline made a fair one: as many trained parameters, and a tuning of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cmir.ablation.arm import PARTITION_KEYS, PENALTY_KEYS, VIEW_KEYS, changed
from cmir.config import TrialConfig
from cmir.data import DevelopmentData
from cmir.method.baseline_recipes import CONSTRAINTS
from cmir.method.losses.objective import Objective, prediction_loss
from cmir.method.networks.sized_network import network_for
from cmir.space.search_space import Assignment, SearchSpace, contains
from cmir.space.space_file import SweepFile, parse_sweep

UNSEARCHED = (
    "environments.",
    "model.",
    "loss.penalty_settings.",
    *CONSTRAINTS,
)
FORMS = ("loss.off_diagonal", "loss.normalise", "loss.decorrelation", "loss.reduction")
LARGEST_HIDDEN = 4096


def trained_parameters(config: TrialConfig, data: DevelopmentData) -> int:
    """Number of parameters of one seed that receive a gradient.

    The spurious part is trained by the mutual-information term or the reconstruction, the decoder
    by the reconstruction alone, unimodal predictors by the standard form of the invariance; a term
    of weight zero trains nothing.
    """
    idle = _idle_parts(config)
    network = network_for(data, config.model)
    parts = Objective(network, config, prediction_loss(config, data.task)).layout.parts
    return sum(math.prod(part.shape) for name, part in parts.items() if not name.startswith(idle))


def untuned_baseline(full: TrialConfig, data: DevelopmentData) -> tuple[TrialConfig, str]:
    """The ERM baseline with equal settings and as many trained parameters, and their numbers.

    `model.hidden_size` is chosen so that the trained parameters match those of the full
    configuration as closely as a whole number can: the ERM baseline has no use for the decoder and
    the spurious part, so its layers become wider.
    """
    nothing = dict.fromkeys(CONSTRAINTS, 0.0)
    baseline = changed(full, nothing, (*VIEW_KEYS, *PARTITION_KEYS, *PENALTY_KEYS))
    wanted = trained_parameters(full, data)
    low, high = 2, LARGEST_HIDDEN
    while low < high:
        middle = (low + high) // 2
        if _parameters_at(baseline, middle, data) < wanted:
            low = middle + 1
        else:
            high = middle
    near = [size for size in (low - 1, low) if size >= 2]
    best = min(near, key=lambda size: abs(_parameters_at(baseline, size, data) - wanted))
    matched = changed(baseline, {"model.hidden_size": best})
    found = trained_parameters(matched, data)
    return matched, f"hidden {best}: {found:,} trained parameters against {wanted:,}"


def tuning_file(space: SweepFile, full: TrialConfig, baseline: TrialConfig, data: str) -> SweepFile:
    """The sweep that tunes the ERM baseline: what else the space searches, on the same objective.

    Args:
        space: of the full configuration.
        full: whose values are the first start point, before those of the space; points that do not
            lie in what is searched are left out.
        baseline: from `untuned_baseline`; what is not searched is fixed at its values.
        data: the dataset folder.
    """
    search = {key: form for key, form in space.search.items() if not _is_constraint(key)}
    dumped = space.model_dump(mode="json")
    fixed = {
        key: value
        for key, value in baseline.flat().items()
        if key not in search and key not in ("objective", "seeds", "training.epochs")
    }
    content: dict[str, Any] = {
        **{key: dumped[key] for key in ("seeds", "early_stopping", "plugins")},
        "objective": space.first_objective,
        "epochs": full.training.epochs,
        "name": "plain",
        "data": {"path": data},
        "keep_models": 0,
        "fixed": fixed,
        "search": {key: without_conditions(dumped["search"][key], search) for key in search},
    }
    file = parse_sweep(content, "tuning of the ERM baseline")
    return file.model_copy(update={"start_from": _starts(file, [full.flat(), *space.start_from])})


def _starts(file: SweepFile, points: Sequence[Mapping[str, Any]]) -> list[Assignment]:
    """The points as whole assignments of what the file searches, each once."""
    space = SearchSpace(file, "tuning of the ERM baseline")
    found: list[Assignment] = []
    for point in points:
        start = space.complete({key: point[key] for key in file.search if key in point})
        lies_inside = all(contains(space.dimensions[key], value) for key, value in start.items())
        if start and lies_inside and start not in found:
            found.append(start)
    return found


def _parameters_at(baseline: TrialConfig, size: int, data: DevelopmentData) -> int:
    return trained_parameters(changed(baseline, {"model.hidden_size": size}), data)


def _idle_parts(config: TrialConfig) -> tuple[str, ...]:
    loss = config.loss
    is_trained = {
        "decoder.": loss.reconstruction > 0,
        "encoder.spurious": max(loss.reconstruction, loss.mutual_information, loss.label_leak) > 0,
        "unimodal_predictor.": loss.invariance > 0 and config.environments.views > 0,
    }
    return tuple(name for name, trained in is_trained.items() if not trained)


def _is_constraint(key: str) -> bool:
    others = (*VIEW_KEYS, *PARTITION_KEYS, *PENALTY_KEYS, *FORMS)
    return key.startswith(UNSEARCHED) or key in others


def without_conditions(form: Any, search: Mapping[str, Any]) -> Any:
    """A dimension without the conditions on settings that are no longer searched."""
    if not isinstance(form, dict):
        return form
    return {**form, "when": {k: v for k, v in form.get("when", {}).items() if k in search}}
