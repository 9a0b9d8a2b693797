"""The rivals by name, each with its source and its search space.

All keep the champion's sizes, optimiser and prediction loss to be searched, and none of its views,
partitions and constraints, unless they are what the rival is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cmir.ablation.arms import COLUMNS
from cmir.config import is_cross_validated
from cmir.data import DevelopmentData
from cmir.errors import InputError, nearest
from cmir.method.networks.features import used_modalities
from cmir.rivals.rival import Changes, Rival
from cmir.space.search_space import SearchSpace
from cmir.space.space_file import SweepFile

WEIGHTS: Mapping[str, Any] = {"low": 0.1, "high": 100.0, "log": True}
TERMS: Mapping[str, Any] = {"low": 1.0e-6, "high": 1.0, "log": True}


def known_rivals(base: SweepFile, data: DevelopmentData) -> list[Rival]:
    """All rivals of a space on its data; those that the data does not allow are left out."""
    every = [ERM, *_unimodal(base, data), DROPOUT, *_penalties(), SWAD, MODULATION, PAPER]
    return [one for one in every if one.space(base, data) is not None]


def chosen_rivals(rivals: Sequence[Rival], names: Sequence[str]) -> list[Rival]:
    """Those that are named, in their fixed order; all where nothing is named.

    Raises:
        InputError: there is no such rival.
    """
    known = [one.name for one in rivals]
    for name in names:
        if name not in known:
            raise InputError(f"--only: '{name}' is no rival here.{nearest(name, known)}")
    return [one for one in rivals if not names or one.name in names]


def modalities_of(base: SweepFile, data: DevelopmentData) -> tuple[str, ...]:
    """The modalities that the champion's space trains on."""
    space = SearchSpace(base, base.name)
    _, values = next(iter(space.corners()))
    return used_modalities(data, space.trial(values).model)


def _erm(base: SweepFile, data: DevelopmentData) -> Changes:
    return Changes({}, {})


def _dropout(base: SweepFile, data: DevelopmentData) -> Changes | None:
    names = modalities_of(base, data)
    if len(names) < 2:
        return None
    rates = {f"environments.rate.{name}": {"low": 0.0, "high": 0.9} for name in names}
    fixed = {
        "environments.view": "erase",
        "environments.count": 1,
        "loss.prediction_views": "all",
    }
    return Changes(rates, fixed)


def _paper(base: SweepFile, data: DevelopmentData) -> Changes:
    search: dict[str, Any] = {
        "environments.count": {"low": 1, "high": 10},
        "environments.strength": {"low": 1.0e-8, "high": 1.0, "log": True},
        "loss.invariance": dict(TERMS),
        "loss.mutual_information": dict(TERMS),
        "loss.reconstruction": dict(TERMS),
    }
    return Changes(search, {"environments.view": "noise"})


def _swad(base: SweepFile, data: DevelopmentData) -> Changes | None:
    if is_cross_validated(base.first_objective):
        return None
    is_kept = base.fixed.get("training.backbone_layers") == 0
    if not is_kept and any(key.startswith("model.backbone.") for key in base.fixed):
        return None
    return Changes({}, {"training.averaging": "swad"})


def _modulated(base: SweepFile, data: DevelopmentData) -> Changes | None:
    if len(modalities_of(base, data)) < 2:
        return None
    strength = {"training.modulation_strength": {"low": 0.1, "high": 1.0}}
    return Changes(strength, {"training.modulation": "ogm_ge"})


ERM = Rival("erm", "Empirical risk minimisation: the mean error, all modalities as they are.", _erm)
DROPOUT = Rival(
    "modality dropout",
    "Whole modalities are erased at random in training, each at a rate of its own (Neverova et al. "
    "2016, ModDrop).",
    _dropout,
)
PAPER = Rival(
    "cmir as printed",
    "Gaussian noise on the unimodal vectors, with all three constraints (Mai and Han 2026, "
    "Eq. 3-9), over the ranges of its figures.",
    _paper,
)
SWAD = Rival(
    "swad",
    "Weights averaged over all steps of the epochs before the network overfits (Cha et al. 2021).",
    _swad,
)
MODULATION = Rival(
    "ogm_ge",
    "Smaller gradients for modalities that are ahead, and noise on them (Peng et al. 2022).",
    _modulated,
)
PENALTIES: Mapping[str, str] = {
    "vrex": "Variance of the groups' risks (Krueger et al. 2021).",
    "irm": "Gradient by the scale of the scores, in every group (Arjovsky et al. 2019).",
    "group_dro": "The worst groups weigh more (Sagawa et al. 2020).",
    "coral": "Moments of the representation, alike in every group (Sun and Saenko 2016).",
    "fishr": "Variance of the gradients, alike in every group (Rame et al. 2022).",
    "mmd": "Distribution of the representation, alike in every group (Li et al. 2018).",
    "dann": "An adversary that reads the group off the representation (Ganin et al. 2016).",
    "sal": "Noise along what the representation has of each group (Wang et al. 2017, SAL).",
    "mixup": "Samples between two samples of different groups (Zhang et al. 2018, Mixup).",
}


# What is searched of penalties that are a loss of their own at weight 1.
OF_SHARES: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "group_dro": {"loss.group_dro_step": {"low": 1.0e-3, "high": 1.0, "log": True}},
    "sal": {
        "loss.penalty_settings.sal.noise": {"low": 0.1, "high": 10.0, "log": True},
        "loss.penalty_settings.sal.sparsity": {"low": 0.0, "high": 0.5},
    },
    "mixup": {"loss.penalty_settings.mixup.concentration": {"low": 0.1, "high": 2.0, "log": True}},
}


def _unimodal(base: SweepFile, data: DevelopmentData) -> list[Rival]:
    """Each modality alone; none where there is one only."""
    names = modalities_of(base, data)
    if len(names) < 2:
        return []
    return [
        Rival(f"{name} alone", f"ERM on {name} and nothing else.", _alone(name)) for name in names
    ]


def _alone(name: str) -> Any:
    def space(base: SweepFile, data: DevelopmentData) -> Changes | None:
        if any(key.startswith("model.fuse.") for key in (*base.fixed, *base.search)):
            return None
        own = ("model.unimodal.", "model.backbone.", "model.unimodal_settings.")
        others = [
            key
            for key in (*base.fixed, *base.search)
            if key.startswith(own) and not key.startswith(tuple(f"{one}{name}" for one in own))
        ]
        fixed: dict[str, Any] = {"model.modalities": [name], **dict.fromkeys(others)}
        if not any(key == f"model.backbone.{name}" for key in base.fixed):
            tuned = [k for k in (*base.fixed, *base.search) if k.startswith("training.backbone_")]
            fixed |= dict.fromkeys(tuned)
        return Changes({}, fixed)

    return space


def _penalties() -> list[Rival]:
    return [Rival(name, what, _penalised(name)) for name, what in PENALTIES.items()]


def _penalised(name: str) -> Any:
    def space(base: SweepFile, data: DevelopmentData) -> Changes:
        column = next((c for c in COLUMNS if c in data.environment_columns), None)
        own = OF_SHARES.get(name, {"loss.penalty_weight": WEIGHTS})
        search: dict[str, Any] = {key: dict(form) for key, form in own.items()}
        search["environments.groups"] = {"low": 2, "high": _most_groups(data, column)}
        fixed = {"loss.penalty": name, "environments.partition": column or "kmeans"}
        return Changes(search, fixed)

    return space


def _most_groups(data: DevelopmentData, column: str | None) -> int:
    if column is None:
        return 8
    return max(2, min(8, data.train.samples[column].n_unique()))
