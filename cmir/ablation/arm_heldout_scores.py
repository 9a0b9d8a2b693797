"""The test-set access of an ablation: all trained arms are scored together, counted once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from cmir.ablation.ablation_plan import AblationPlan
from cmir.ablation.arm import Arm
from cmir.ablation.arm_results import ArmResult, noise_metrics, split_scores
from cmir.ablation.arm_scores import Columns, Yardstick
from cmir.data import HeldoutData
from cmir.method.networks.sized_network import network_for
from cmir.method.training.language_features import features_with_language
from cmir.method.training.split_scores import split_metrics
from cmir.registry.heldout_access import heldout_splits, read_heldout, tally
from cmir.registry.model_registry import Registry
from cmir.runner.paths import Paths
from cmir.shared_files import written_whole


@dataclass(frozen=True)
class HeldoutAccess:
    """What the held-out splits say of the arms.

    Attributes:
        splits: those that exist.
        columns: scores and differences by fingerprint.
        accesses: how often held-out data has been read, by any command, this time included.
        is_new: whether it was read now; else what an earlier run of the command read is shown.
        warning: that the ledger lacks accesses, empty if it does not.
    """

    splits: tuple[str, ...]
    columns: Mapping[str, Columns]
    accesses: int
    is_new: bool
    warning: str = ""


def read_arms(
    plan: AblationPlan,
    arms: Mapping[str, Arm],
    results: Mapping[str, ArmResult],
    folder: Path,
    full: str,
    registry: Registry,
    paths: Paths,
) -> HeldoutAccess:
    """Counts one test-set access and scores all finished arms; nothing is read a second time.

    Args:
        plan: of the ablation.
        arms: by fingerprint.
        results: by fingerprint.
        folder: where the scores are kept.
        full: fingerprint of the full configuration, with which all are compared.
        registry: that counts, under the same name as promotion.
        paths: where the ledger is.

    Raises:
        InputError: the test-set access could not be counted; nothing was read.
    """
    # The differences are to the full configuration, which a longer sweep may change.
    kept = folder / f"heldout-{plan.dataset.checksum[:12]}-{full}.json"
    finished = [name for name in arms if results[name].outcome == "finished"]
    splits = heldout_splits(plan.dataset)
    known: dict[str, Columns] = json.loads(kept.read_text()) if kept.exists() else {}
    if set(finished) <= set(known):
        columns = {name: known[name] for name in finished}
        so_far = tally(plan.dataset, registry, paths).accesses
        return HeldoutAccess(splits, columns, so_far, is_new=False)
    chosen = {name: arms[name] for name in finished}
    columns, before = read_heldout(
        plan.dataset,
        lambda data: _scores(plan, data, chosen, results, full, paths.language),
        lambda found: found.get(full, {}),
        registry=registry,
        paths=paths,
        purpose=f"ablation of {plan.name}, {len(chosen)} arms",
    )
    with written_whole(kept) as draft:
        draft.write_text(json.dumps(columns, indent=1), encoding="utf-8")
    return HeldoutAccess(splits, columns, before.accesses + 1, is_new=True, warning=before.warning)


def _scores(
    plan: AblationPlan,
    data: HeldoutData,
    arms: Mapping[str, Arm],
    results: Mapping[str, ArmResult],
    full: str,
    cache: Path,
) -> dict[str, Columns]:
    yardstick = Yardstick(plan.metric, data.splits, data.task)
    scores = {}
    for name, arm in arms.items():
        result, model = results[name].trained(cache), arm.config.model
        features = features_with_language(data, model, result.language, torch.device("cpu"))
        network = network_for(plan.data, model)
        scores[name] = split_scores(network, result.weights, features, data.splits)
    found: dict[str, Columns] = {}
    for name, arrays in scores.items():
        by_seed = noise_metrics(arrays, data.splits, data.task)
        for split in data.splits.values():
            metrics = split_metrics(arrays[split.name], split, data.task)
            by_seed |= {key: values.tolist() for key, values in metrics.items()}
        found[name] = yardstick.scores(by_seed)
        if name != full and full in scores:
            found[name] |= yardstick.differences(arrays, scores[full])
    return found
