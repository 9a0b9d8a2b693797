"""What an ablation starts from: the full configuration, its data, the seeds of all arms."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from cmir.ablation.arm import FAMILIES, changed
from cmir.ablation.arms import chosen_families
from cmir.config import TrialConfig, trial_config
from cmir.data import DevelopmentData, MultimodalDataset, load_dataset
from cmir.errors import InputError, nearest
from cmir.hidden_secrets import without_secrets
from cmir.method.training.fitting import check
from cmir.method.training.split_scores import WORST
from cmir.promotion.candidate import fresh_seeds
from cmir.promotion.promotion_plan import PromotionRequest, plan_promotion
from cmir.promotion.selection import best_first, metric_of
from cmir.registry.heldout_access import ledger_lines
from cmir.runner.paths import Paths
from cmir.runner.studies.storage import journal_storage, storage_at
from cmir.runner.studies.study import counts, records_of, study_attributes
from cmir.space.space_file import SweepFile, parse_sweep, read_sweep_file
from cmir.space.yaml_file import read_yaml
from cmir.sweep.preparation import SYNTHETIC, prepare_sweep, sweep_name

BUDGET_WITHOUT_SWEEP = 8


@dataclass(frozen=True)
class AblationRequest:
    """What the command line asks for.

    Attributes:
        space: the sweep file.
        sweep: name of the sweep whose best trial is taken apart; None: the latest of the space.
        config: file of a configuration that is taken apart instead.
        budget: trials of the tuning of the ERM baseline; None: as many as the sweep spent.
        seeds: number of fresh seeds of every arm.
        epochs: longest training; None: the configuration's.
        families: of arms.
        final: read the held-out splits once all arms are trained.
        storage: of the studies; None: a journal file each.
        artifacts: see `Paths`.
    """

    space: Path
    sweep: str | None = None
    config: Path | None = None
    budget: int | None = None
    seeds: int = 5
    epochs: int | None = None
    families: Sequence[str] = FAMILIES
    final: bool = False
    storage: str | None = None
    artifacts: str | None = None


@dataclass(frozen=True, eq=False)
class AblationPlan:
    """An ablation that can start.

    Attributes:
        name: of the ablation: the sweep's, or that of space and configuration.
        origin: where the full configuration comes from, in words.
        file: the sweep file, with the question that the sweep really asked.
        space_name: under which everything is logged; ends in `-synthetic` for the stand-in.
        full: the configuration that is taken apart, with the seeds of all arms.
        budget: trials of the tuning of the ERM baseline.
        families: of arms, in their fixed order.
        dataset: the whole data set, of which only `development` is used without `--final`.
        data: its development part.
    """

    name: str
    origin: str
    file: SweepFile
    space_name: str
    full: TrialConfig
    budget: int
    families: Sequence[str]
    dataset: MultimodalDataset
    data: DevelopmentData

    @property
    def metric(self) -> str:
        """What arms are compared in: the objective's metric, of the worst environment's its own.

        A maximum over groups is no quantity whose groups could be resampled.
        """
        return metric_of(self.full.objective).removeprefix(WORST)

    @property
    def is_synthetic(self) -> bool:
        """Whether the built-in generator stood in for missing data."""
        return self.space_name.endswith(SYNTHETIC)

    @property
    def model_name(self) -> str:
        """The registered model's name, under which test-set accesses are counted."""
        return f"cmir-{self.space_name}"


def plan_ablation(request: AblationRequest, paths: Paths) -> AblationPlan:
    """Finds configuration and data and checks them; trains nothing.

    Raises:
        InputError: no sweep or no finished trial, an unknown family, a faulty configuration, or
            data that is not that of the sweep.
    """
    families = chosen_families(request.families)
    # Before anything is trained: a ledger that cannot be read would refuse the access at the end.
    ledger_lines(paths)
    plan = _of_sweep if request.config is None else _of_file
    return plan(request, families, paths)


def _of_sweep(request: AblationRequest, families: Sequence[str], paths: Paths) -> AblationPlan:
    name = _sweep_of(request, paths)
    storage = _storage(request, name, paths)
    wanted = PromotionRequest(sweep=name, top=1, seeds=request.seeds, storage=request.storage)
    promotion = plan_promotion(wanted, paths)
    _check_space(request, name, promotion.space_name)
    attributes, records = study_attributes(storage, name), records_of(storage, name)
    ranked = best_first(records, promotion.objective)
    if not ranked:
        raise InputError(
            f"the sweep '{name}' has no finished trial to take apart. Run it on, or give a "
            "configuration with --config FILE."
        )
    full = _shortened(ranked[0].trial(promotion.seeds), request.epochs)
    question = {k: v for k, v in attributes["question"].items() if k != "data_checksum"}
    return AblationPlan(
        name=name,
        origin=f"trial {ranked[0].number} of the sweep {name}, the best of {len(records)}",
        file=parse_sweep({**question, "name": "space"}, str(request.space)),
        space_name=promotion.space_name,
        full=full,
        budget=request.budget or sum(counts(record) for record in records),
        families=families,
        dataset=promotion.dataset,
        data=promotion.data,
    )


def _of_file(request: AblationRequest, families: Sequence[str], paths: Paths) -> AblationPlan:
    assert request.config is not None
    prepared = prepare_sweep(request.space, {}, paths)
    file, data = prepared.file, prepared.data
    seeds = fresh_seeds(range(file.seeds), request.seeds)
    given = {"training.epochs": file.epochs, **read_configuration(request.config)}
    config = trial_config(given, str(request.config), objective=file.first_objective, seeds=seeds)
    full = _shortened(config, request.epochs)
    check(data, full)
    return AblationPlan(
        name=f"{file.name}-{_word(request.config.stem)}",
        origin=f"the configuration {request.config}",
        file=file,
        space_name=file.name,
        full=full,
        budget=request.budget or BUDGET_WITHOUT_SWEEP,
        families=families,
        dataset=load_dataset(data.path),
        data=data,
    )


def read_configuration(path: Path) -> dict[str, Any]:
    """Dotted keys of a YAML or JSON file; `objective` and `seeds`, as MLflow keeps them, left out.

    Raises:
        InputError: no such file, or it holds no dotted keys.
    """
    takes = "--config takes YAML or JSON with dotted keys, such as a trial's model/config.json."
    content = read_yaml(path, takes)
    if not isinstance(content, Mapping):
        raise InputError(
            f"{path}: must hold dotted keys such as 'environments.view: swap', but got {content!r}."
        )
    return {str(k): v for k, v in content.items() if k not in ("objective", "seeds")}


def _storage(request: AblationRequest, sweep: str, paths: Paths) -> BaseStorage:
    if request.storage is not None:
        return storage_at(request.storage)
    return journal_storage(paths.journal(sweep))


def _sweep_of(request: AblationRequest, paths: Paths) -> str:
    known = paths.sweeps()
    if request.storage is not None:
        known = list(optuna.get_all_study_names(storage_at(request.storage)))
    if request.sweep is not None:
        if request.sweep not in known:
            where = paths.studies if request.storage is None else without_secrets(request.storage)
            raise InputError(
                f"--sweep {request.sweep}: there is no such sweep in {where}."
                f"{nearest(request.sweep, known) if known else ''}"
            )
        return request.sweep
    base = read_sweep_file(request.space).name
    for name in (base, f"{base}{SYNTHETIC}"):
        latest = sweep_name(name, known, fresh=False)
        if latest in known:
            return latest
    raise InputError(
        f"{request.space}: there is no sweep of this space in {paths.studies} yet. Run `python "
        f"workflows/sweep.py --space {request.space}` first, or give --config FILE."
    )


def _check_space(request: AblationRequest, sweep: str, space: str) -> None:
    asked = read_sweep_file(request.space).name
    if space.removesuffix(SYNTHETIC) != asked.removesuffix(SYNTHETIC):
        raise InputError(
            f"--sweep {sweep}: must be a sweep of {request.space} (name: {asked}), but its space "
            f"is '{space}'. Give --space that file."
        )


def _shortened(config: TrialConfig, epochs: int | None) -> TrialConfig:
    return config if epochs is None else changed(config, {"training.epochs": epochs})


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "config"
