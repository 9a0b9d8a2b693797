"""Registered versions, who was champion when, and two versions beside each other, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient

from cmir.data import DevelopmentData, load_dataset
from cmir.errors import InputError
from cmir.evaluation.paired_tests import Difference
from cmir.promotion.comparison import difference, scores_of
from cmir.promotion.heldout_scores import ENSEMBLE
from cmir.promotion.selection import metric_of
from cmir.registry.alias_history import moves
from cmir.registry.loadable import why_not_loadable
from cmir.registry.model_registry import ACCESSES, CHECKSUM
from cmir.registry.versions import (
    Version,
    ensemble_of_version,
    recipe_of_version,
    version,
    versions,
)
from cmir.runner.paths import Paths

VERSION_COLUMNS = [
    *("version", "alias", "sweep", "trial", "ood_val", "ood_test", "test-set accesses", "notes"),
]
HISTORY_COLUMNS = ["when (UTC)", "alias", "version", "before", "what", "why"]
COMPARISON_COLUMNS = ["metric", "A - B", "95 % interval", "P(A better)"]


def version_rows(client: MlflowClient, model: str) -> list[list[str]]:
    """A row for each version of a registered model, in `VERSION_COLUMNS`.

    Scores are of the objective's metric: `ood_val` the mean over the seeds, `ood_test` that of the
    averaged prediction, which is served. The notes say of a version that cannot be loaded why.
    """
    return [_version_row(one) for one in versions(client, model)]


def history_rows(client: MlflowClient, model: str) -> list[list[str]]:
    """A row for each move of an alias, in `HISTORY_COLUMNS`, the first one first."""
    return [
        [
            move.when.removesuffix("+00:00"),
            move.alias,
            move.version,
            move.before or "nobody",
            move.kind,
            move.why,
        ]
        for move in moves(client, model)
    ]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two versions on the same validation samples.

    Attributes:
        a: the first.
        b: the second.
        differences: A less B, by `split/metric`.
    """

    a: Version
    b: Version
    differences: Mapping[str, Difference]


def compare_versions(
    client: MlflowClient, model: str, wanted: Sequence[str], folder: Path | None
) -> Comparison:
    """Compares two versions by their own weights on validation data that neither was trained on.

    Args:
        client: of the registry.
        model: name of the registered model.
        wanted: two numbers or aliases.
        folder: of the data set; None: the recorded one.

    Raises:
        InputError: no such version, versions of different data, or other data in the folder.
    """
    a, b = (version(client, model, one) for one in wanted)
    data = _shared_data(client, a, b, folder)
    metric = metric_of(a.tags.get("objective", "ood_val/mae"))
    splits = {name: data.splits[name] for name in ("id_val", "ood_val")}
    own, other = (scores_of(ensemble_of_version(one), data, splits) for one in (a, b))
    names = dict.fromkeys([metric, data.task.group_metric])
    differences = {
        f"{split}/{name}": difference(own[split], other[split], splits[split], name, data.task)
        for split in splits
        for name in names
    }
    return Comparison(a, b, differences)


def comparison_rows(found: Comparison) -> list[list[str]]:
    """A row for each metric, in `COMPARISON_COLUMNS`."""
    return [
        [
            key,
            f"{d.estimate:+.4f}",
            f"[{d.low:+.4f}, {d.high:+.4f}]",
            f"{d.p_better:.2f}",
        ]
        for key, d in found.differences.items()
    ]


def _shared_data(
    client: MlflowClient, a: Version, b: Version, folder: Path | None
) -> DevelopmentData:
    if a.tags.get(CHECKSUM) != b.tags.get(CHECKSUM):
        raise InputError(
            f"versions {a.number} and {b.number} of {a.model} must be of the same development data "
            "to be compared in pairs, but are not: one may have been trained on the other's "
            "validation samples."
        )
    recipe = recipe_of_version(client, a) or recipe_of_version(client, b)
    if folder is None and recipe is None:
        raise InputError(
            f"versions {a.number} and {b.number} of {a.model} do not say where their data is: give "
            "its folder with --data."
        )
    recorded = recipe.dataset if recipe else ""
    dataset = load_dataset(folder) if folder else Paths().dataset(recorded)
    data = dataset.development()
    if data.checksum != a.tags.get(CHECKSUM):
        raise InputError(
            f"{data.path}: must be the data of versions {a.number} and {b.number} (development "
            f"checksum {str(a.tags.get(CHECKSUM))[:12]}), but has {data.checksum[:12]}. Give its "
            "folder with --data."
        )
    return data


def _version_row(one: Version) -> list[str]:
    metric = metric_of(one.tags.get("objective", "ood_val/mae"))
    swept, spread = (one.tags.get(f"ood_val/{name}") for name in (metric, f"{metric}_std"))
    served = one.tags.get(f"ood_test/{ENSEMBLE}{metric}")
    inside = f"{float(swept):.4f}" if swept else ""
    if swept and spread:
        inside += f" ± {float(spread):.4f}"
    return [
        one.number,
        ", ".join(one.aliases),
        one.tags.get("sweep", ""),
        one.tags.get("trial", "baseline" if "baseline" in one.tags else ""),
        f"{metric} {inside}" if inside else "",
        f"{metric} {float(served):.4f}" if served else "",
        one.tags.get(ACCESSES, ""),
        _notes(one),
    ]


def _notes(one: Version) -> str:
    notes = []
    if "forced" in one.tags:
        notes.append(f"forced past {one.tags['forced']}: {one.tags.get('forced_why', '')}")
    if "rolled_back" in one.tags:
        notes.append(f"rolled back {one.tags['rolled_back']}")
    if obstacle := why_not_loadable(one):
        notes.append(f"cannot be loaded: {obstacle}")
    return "; ".join(notes)
