"""Which arms an ablation has: each differs from the full configuration in one thing.

All functions here are pure: from the full configuration and the data's metadata to arms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from cmir.ablation.arm import (
    FAMILIES,
    FULL,
    PARTITION_KEYS,
    PENALTY_KEYS,
    VIEW_KEYS,
    Arm,
    changed,
    draws_views,
    effective,
    is_penalised,
    partition_settings,
    view_settings,
)
from cmir.ablation.matched_baseline import untuned_baseline
from cmir.config import DEFAULT_COUNT, LossConfig, TrialConfig
from cmir.data import DevelopmentData
from cmir.errors import InputError, nearest
from cmir.extensions import PARTITIONS, PENALTIES, VIEWS, Partition
from cmir.method.networks.features import used_modalities

COLUMNS = ("speaker", "video")
MOST_VIEWS = 10
STAND_IN: Mapping[str, Any] = {"loss.penalty": "vrex", "loss.penalty_weight": 1.0}
STAND_IN_GROUPS = 4


@dataclass(frozen=True)
class Origin:
    """What the arms are derived from.

    Attributes:
        full: the configuration that is taken apart.
        data: whose modalities and metadata columns decide which arms exist.
        tuned: the ERM baseline as its own tuning left it, None where there was none.
        tuned_note: how it was tuned.
    """

    full: TrialConfig
    data: DevelopmentData
    tuned: TrialConfig | None = None
    tuned_note: str = ""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities that the model sees."""
        return used_modalities(self.data, self.full.model)

    def arm(
        self,
        name: str,
        family: str,
        values: Mapping[str, Any],
        without: Sequence[str] = (),
        note: str = "",
    ) -> Arm:
        """The full configuration with some keys set anew."""
        if values.get("loss.penalty", self.full.loss.penalty) != self.full.loss.penalty:
            without = (*without, "loss.penalty_settings")
        config = changed(self.full, values, without)
        return Arm(name, family, effective(config, self.modalities), note)


def arms(
    full: TrialConfig,
    data: DevelopmentData,
    tuned: TrialConfig | None = None,
    tuned_note: str = "",
    families: Sequence[str] = FAMILIES,
) -> list[Arm]:
    """The full configuration, then the arms of the chosen families.

    Arms whose training is the same by construction have equal configurations; each keeps its row.

    Args:
        full: the configuration that is taken apart, with the seeds of all arms.
        data: what trials may see.
        tuned: the ERM baseline after its own tuning; left out where None.
        tuned_note: how it was tuned.
        families: names in `FAMILIES`.

    Raises:
        InputError: an unknown family, or a configuration that does not fit the data.
    """
    origin = Origin(full, data, tuned, tuned_note)
    found = [origin.arm(FULL, FULL, {})]
    for family in chosen_families(families):
        found += BUILDERS[family](origin)
    return found


def chosen_families(names: Sequence[str]) -> tuple[str, ...]:
    """The families in their fixed order.

    Raises:
        InputError: an unknown one.
    """
    for name in names:
        if name not in FAMILIES:
            raise InputError(f"--families: '{name}' is no family of arms.{nearest(name, FAMILIES)}")
    return tuple(family for family in FAMILIES if family in names)


def constraint_arms(origin: Origin) -> list[Arm]:
    """Without each constraint: its mechanism removed, and apart from that its weight zero.

    Removing the invariance takes the views away altogether, with the prediction over them; with
    the weight at zero a full configuration that predicts over views still does. The two forms
    of the other constraints are one training: a term of weight zero has no gradient, and neither
    the decoder nor the spurious part reaches the prediction.
    """
    full, family = origin.full, "constraints"
    no_views = "" if full.environments.views else "the full configuration has no views"
    clean = full.loss.prediction_views == "clean" or bool(no_views)
    alike = "no term looks at the views then" if clean else "prediction over views stays"
    found = [
        origin.arm("no views, no invariance", family, {}, VIEW_KEYS, no_views),
        origin.arm("invariance weight 0", family, {"loss.invariance": 0.0}, (), no_views or alike),
    ]
    for term in _split_terms(full):
        key = f"loss.{term}"
        has_term = getattr(full.loss, term) > 0
        note = "removed or weight 0: no gradient" if has_term else "its weight is 0 already"
        name = term.replace("_", " ")
        found.append(origin.arm(f"no {name}", family, {key: 0.0}, (), note))
        found.append(origin.arm(f"{name} weight 0", family, {key: 0.0}, (), note))
    note = "removed or weight 0: no gradient"
    if full.loss.penalty_anneal_epochs:
        note = "with weight 0 the annealing epochs still keep seeds from stopping early"
    if not is_penalised(full):
        note = "the full configuration has no penalty"
    gone = (*PARTITION_KEYS, *PENALTY_KEYS)
    found.append(origin.arm("no partition, no penalty", family, {}, gone, note))
    found.append(origin.arm("penalty weight 0", family, {"loss.penalty_weight": 0.0}, (), note))
    return found


def _split_terms(full: TrialConfig) -> tuple[str, ...]:
    """The terms that hold the two parts apart: the paper's, and ours where it is used."""
    own = ("label_leak",) if full.loss.label_leak > 0 else ()
    return ("mutual_information", "reconstruction", *own)


def baseline_arms(origin: Origin) -> list[Arm]:
    """The ERM baseline of equal size, tuned with the sweep's budget, and untuned."""
    config, note = untuned_baseline(origin.full, origin.data)
    untuned = Arm("ERM, untuned", "plain", effective(config, origin.modalities), note)
    if origin.tuned is None:
        return [untuned]
    tuned = effective(origin.tuned, origin.modalities)
    return [Arm("ERM, tuned", "plain", tuned, f"{origin.tuned_note}; {note}"), untuned]


def random_arms(origin: Origin) -> list[Arm]:
    """The control: a random partition with as many groups, under the same penalty."""
    values, note = _penalty(origin)
    groups = {"environments.partition": "random", "environments.groups": _groups(origin)}
    return [origin.arm("random partition", "random", {**values, **groups}, PARTITION_KEYS, note)]


def count_arms(origin: Origin) -> list[Arm]:
    """K = 1..10 views, the strongest as in the full configuration, or growing with K.

    The budget is the strength of the last view, e = K. `noise` perturbs view e by alpha_1 * e, so
    the budget is alpha_1 * K: fixed means alpha_1 = budget / K, growing leaves alpha_1 as it is.
    `erase` and `swap` act in view e at rate * e / K, so the budget is the rate: fixed leaves the
    rate as it is, growing multiplies it by K over the full configuration's, at most 1. No views,
    no arms.
    """
    full = origin.full
    if not draws_views(full):
        return []
    found = []
    for count in range(1, MOST_VIEWS + 1):
        for name, values in _budgets(origin, count).items():
            found.append(origin.arm(f"K = {count}, budget {name}", "count", values))
    return found


def scheme_arms(origin: Origin) -> list[Arm]:
    """Each view scheme and each partition, all else as in the full configuration."""
    found = [_view_arm(origin, view) for view in ("none", *VIEWS)]
    return [*found, *(_partition_arm(origin, name) for name in _partitions(origin.data))]


def penalty_arms(origin: Origin) -> list[Arm]:
    """Each penalty with the same weight on the partition, on k-means where it has none."""
    values, note = _penalty(origin)
    partition = partition_settings(origin.full)
    if origin.full.environments.partition == "none":
        partition = {"environments.partition": "kmeans", "environments.groups": STAND_IN_GROUPS}
        note += ", on k-means"
    weight = values.get("loss.penalty_weight", origin.full.loss.penalty_weight)
    found = []
    for name, one in PENALTIES.items():
        settings = {**values, **partition, "loss.penalty": name}
        if one.is_share:
            settings["loss.penalty_weight"] = min(1.0, weight)
        found.append(origin.arm(f"penalty {name}", "penalties", settings, (), note))
    return found


BUILDERS: Mapping[str, Callable[[Origin], list[Arm]]] = {
    "constraints": constraint_arms,
    "plain": baseline_arms,
    "random": random_arms,
    "count": count_arms,
    "schemes": scheme_arms,
    "penalties": penalty_arms,
}


def _budgets(origin: Origin, count: int) -> dict[str, dict[str, Any]]:
    """The settings of K = `count` with the budget fixed and growing."""
    settings = view_settings(origin.full, origin.modalities)
    usual = settings["environments.count"]
    number = {"environments.count": count}
    if count == usual:
        return {"fixed": settings, "grows": settings}
    if origin.full.environments.has_strength:
        strength = settings["environments.strength"] * usual / count
        fixed = {**settings, **number, "environments.strength": strength}
        return {"fixed": fixed, "grows": settings | number}
    grown = {
        key: min(1.0, value * count / usual)
        for key, value in settings.items()
        if key.startswith("environments.rate.")
    }
    return {"fixed": settings | number, "grows": settings | number | grown}


def _view_arm(origin: Origin, view: str) -> Arm:
    full, name = origin.full, f"view {view}"
    if view == full.environments.view:
        return origin.arm(name, "schemes", {})
    if view == "none":
        return origin.arm(name, "schemes", {}, VIEW_KEYS)
    values: dict[str, Any] = {
        "environments.view": view,
        "environments.count": full.environments.count or DEFAULT_COUNT,
    }
    note = "the rates of the full configuration" if full.environments.rate else ""
    if full.loss.invariance == 0 and full.loss.prediction_views == "clean":
        values["loss.invariance"] = weight = LossConfig().invariance
        note = f"invariance weight {weight:g}: the full configuration has none"
    without = ("environments.strength", "environments.view_settings")
    return origin.arm(name, "schemes", values, without, note)


def _partition_arm(origin: Origin, partition: str) -> Arm:
    values, note = _penalty(origin)
    values |= {"environments.partition": partition}
    known = PARTITIONS.of(partition)
    if known is None:
        available = origin.data.train.samples[partition].n_unique()
        values["environments.groups"] = min(_groups(origin), available)
    elif known.groups is None:
        values["environments.groups"] = _groups(origin)
    if partition == origin.full.environments.partition:
        start = "environments.partition_settings."
        own = partition_settings(origin.full).items()
        values |= {key: value for key, value in own if key.startswith(start)}
    return origin.arm(f"partition {partition}", "schemes", values, PARTITION_KEYS, note)


def _partitions(data: DevelopmentData) -> list[str]:
    columns = [name for name in COLUMNS if name in data.environment_columns]
    samples = data.train.samples
    # One video of each speaker: both columns are one partition.
    if columns == list(COLUMNS) and _is_one_partition(*(samples[name] for name in COLUMNS)):
        columns = columns[:1]
    possible = {name: one for name, one in PARTITIONS.items() if _takes(one, data)}
    counted = [name for name, one in possible.items() if one.groups is None]
    return [*counted, *columns, *(name for name in possible if name not in counted)]


def _takes(partition: Partition, data: DevelopmentData) -> bool:
    try:
        return partition.check is None or partition.check(data) is None
    except InputError:
        return False


def _is_one_partition(one: pl.Series, other: pl.Series) -> bool:
    pairs = pl.DataFrame([one, other]).n_unique()
    return pairs == one.n_unique() == other.n_unique()


def _penalty(origin: Origin) -> tuple[dict[str, Any], str]:
    """The full configuration's penalty, or the stand-in where it has none."""
    if is_penalised(origin.full):
        return {}, ""
    return dict(STAND_IN), "the full configuration has no penalty: vrex, weight 1"


def _groups(origin: Origin) -> int:
    """Number of groups of the full configuration's partition, or of the stand-in."""
    environments = origin.full.environments
    if not is_penalised(origin.full):
        return STAND_IN_GROUPS
    partition = PARTITIONS.of(environments.partition)
    if partition is not None and partition.groups is not None:
        return partition.groups(origin.data)
    assert environments.group_count is not None
    return environments.group_count
