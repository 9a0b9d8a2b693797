"""What the two parts of a trained model hold, for any data (Mai and Han 2026, App. K).

The paper predicts the label and the noise strength from Z_inv and from Z_spu. On MOSEI it finds
noise at a mean squared error of 2.04 from Z_inv, which is chance, and .87 from Z_spu, and from
Z_spu no sentiment beyond the majority class. Its probes are not described; here they are linear,
with a small network beside them. Asked is the label, who a sample is of, and the environments that
the model was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmir.data import DevelopmentData, SplitData
from cmir.data.synthetic.interventions import has_ground_truth
from cmir.evaluation.bootstrap_groups import CLUSTER_COLUMNS
from cmir.evaluation.probes.environment_questions import Asked, environment_readouts
from cmir.evaluation.probes.ground_truth import VALIDATION, GroundTruth, ground_truth
from cmir.evaluation.probes.readouts import Held, Measure, Readout, readouts
from cmir.evaluation.probes.representations import model_of
from cmir.evaluation.probes.swap_moves import BySplit, swap_moves
from cmir.method.training.reports import TrialResult

# Enough for a probe of some hundred features, and the whole of a small data set.
MOST_FITTED = 4000
ROLES = ("invariant", "spurious")
GROUPS_OF = {"id_val": "known groups", "ood_val": "new groups"}


@dataclass(frozen=True, eq=False)
class Probes:
    """All probes of a model.

    Attributes:
        readouts: `label/id_val` and `label/ood_val`; `group`, who a sample of `id_val` is of, where
            the data says so; of the model's environments `strength`, `erased`, `partition`.
        swaps: what moves when a modality comes from another sample.
        truth: what the parts hold of the true causes, where the data has ground truth.
    """

    readouts: Mapping[str, Readout]
    swaps: BySplit
    truth: GroundTruth | None


def probe(
    result: TrialResult, data: DevelopmentData, seed: int = 0, partitions: Path | None = None
) -> Probes:
    """Probes a finished training: fitted on training rows, scored on validation rows.

    Probes are fitted on at most 4000 training rows, drawn without replacement.

    Args:
        result: of a training on `data`.
        data: only development splits.
        seed: of what is disturbed and swapped, and of the choice of rows.
        partitions: the folder where partitions of the data are kept, if there is one.
    """
    model = model_of(result, data)
    random = np.random.default_rng(seed)
    fit_on = random.permutation(len(data.train))[:MOST_FITTED]
    fit_on.sort()
    truth = ground_truth(model, data, fit_on) if has_ground_truth(data) else None
    asked = Asked(model, data, fit_on, random, partitions)
    found = label_readouts(asked)
    group = group_readout(asked)
    found |= {} if group is None else {"group": group}
    found |= environment_readouts(asked, result.config.environments)
    return Probes(found, swap_moves(model, data, seed), truth)


def label_readouts(asked: Asked) -> dict[str, Readout]:
    """The label on each validation split, as `label/<split>`."""
    model, data = asked.model, asked.data
    measure: Measure = "accuracy" if data.task.kind in ("binary", "classes") else "r2"
    held = [
        Held(f"the label, {GROUPS_OF[name]}", model.parts(data, split.rows), split.labels)
        for name, split in ((name, data.splits[name]) for name in VALIDATION)
    ]
    found = readouts(asked.fitted, data.train.labels[asked.fit_on], held, measure)
    return dict(zip((f"label/{name}" for name in VALIDATION), found, strict=True))


def group_readout(asked: Asked) -> Readout | None:
    """Who a sample of `id_val` is of, among those in training: a closed set.

    The first of speaker, video, source and environment that training and `id_val` share; None
    where they share none.
    """
    data, fit_on = asked.data, asked.fit_on
    for column in CLUSTER_COLUMNS:
        known, told = _names(data.train, column), _names(data.id_val, column)
        if known is None or told is None or len(np.unique(known[fit_on])) < 2:
            continue
        names, codes = np.unique(known[fit_on], return_inverse=True)
        is_met = np.isin(told, names)
        if is_met.any():
            parts = asked.model.parts(data, data.id_val.rows[is_met])
            wanted = np.searchsorted(names, told[is_met]).astype(float)
            held = Held(f"which {column}, of those in training", parts, wanted)
            return readouts(asked.fitted, codes.astype(float), [held], "accuracy")[0]
    return None


def _names(split: SplitData, column: str) -> np.ndarray | None:
    """`(n,)` as text, or None where no sample has one."""
    if column not in split.samples.columns or split.samples[column].null_count() == len(split):
        return None
    return split.named(column)
