"""What a promotion starts from: a sweep's record, its data, the trials worth training again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cmir.data import DevelopmentData, MultimodalDataset
from cmir.errors import InputError, nearest
from cmir.hidden_secrets import without_secrets
from cmir.plugins import load_plugins
from cmir.promotion.candidate import fresh_seeds, seeds_of
from cmir.promotion.gates import ood_metric
from cmir.promotion.selection import Ranking, best_first, check_measured, ranking_of
from cmir.registry.heldout_access import ledger_lines
from cmir.runner.paths import Paths, is_control
from cmir.runner.studies.records import TrialRecord
from cmir.runner.studies.storage import journal_storage, storage_at
from cmir.runner.studies.study import records_of, study_attributes
from cmir.space.space_file import Gates
from cmir.sweep.preparation import SYNTHETIC

CHAMPION, CANDIDATE = "champion", "candidate"
ALIAS = re.compile(r"(?!latest$|v\d+$)[A-Za-z][\w-]*")


@dataclass(frozen=True)
class PromotionRequest:
    """What the command line asks for.

    Attributes:
        sweep: its name; None: the latest one here.
        rule: of selection, a name in `RULES`; empty: the usual one, see `ranking_of`.
        top: number of trials that are trained again.
        seeds: number of fresh seeds.
        alias: that the registered version gets; `candidate`: without a test-set access.
        dry_run: stop before held-out data is read; write nothing.
        storage: of the study, in place of a journal file.
        force: go on in spite of failed gates.
        why: reason for it, which the version carries.
    """

    sweep: str | None = None
    rule: str = ""
    top: int = 3
    seeds: int = 5
    alias: str = CHAMPION
    dry_run: bool = False
    storage: str | None = None
    force: bool = False
    why: str = ""

    @property
    def is_candidate(self) -> bool:
        """Whether the version only becomes the candidate: held-out data is not read for it."""
        return self.alias == CANDIDATE


@dataclass(frozen=True, eq=False)
class PromotionPlan:
    """A promotion that can start.

    Attributes:
        sweep: its name.
        space_name: of the sweep file; ends in `-synthetic` for the stand-in.
        objective: of the sweep, `split/metric`; the first of a pair.
        ranking: the rule of selection.
        finished: number of finished trials.
        seconds: of training by the clock, the sum over all trials.
        ranked: the finished trials, best first.
        shortlist: those of them to train again.
        tuned_baseline: trials of sweeps that tuned the ERM baseline for an ablation, on
            the same data and objective, best first.
        seeds: fresh ones, which no trial of the sweep has seen.
        gates: what the winner must show.
        dataset: the whole data set, of which only `development` is used before the gates.
        data: its development part.
        parent_run: MLflow run of the sweep, if it has one.
        paths: where files are.
    """

    sweep: str
    space_name: str
    objective: str
    ranking: Ranking
    finished: int
    seconds: float
    ranked: Sequence[TrialRecord]
    shortlist: Sequence[TrialRecord]
    tuned_baseline: Sequence[TrialRecord]
    seeds: tuple[int, ...]
    gates: Gates
    dataset: MultimodalDataset
    data: DevelopmentData
    parent_run: str | None
    paths: Paths

    @property
    def rule(self) -> str:
        """Name of the rule of selection."""
        return self.ranking.rule

    @property
    def metric(self) -> str:
        """The `split/metric` by which the rule ranks, the first of two."""
        return self.ranking.metric

    @property
    def model_name(self) -> str:
        """The registered model's name."""
        return f"cmir-{self.space_name}"

    @property
    def is_synthetic(self) -> bool:
        """Whether the built-in generator stood in for missing data."""
        return self.space_name.endswith(SYNTHETIC)

    @property
    def ood_metric(self) -> str:
        """The objective's metric on `ood_val`, which the gates compare."""
        return ood_metric(self.objective)


def plan_promotion(request: PromotionRequest, paths: Paths) -> PromotionPlan:
    """Finds the sweep and its data, and ranks its trials; trains nothing, writes nothing.

    Raises:
        InputError: no sweep, an unknown name or rule, or data that is not that of the sweep
            or was changed since it was prepared.
    """
    _check_alias(request.alias)
    # Before anything is trained: a ledger that cannot be read would refuse the access at the end.
    ledger_lines(paths)
    sweep, attributes, records = _read_study(request, paths)
    load_plugins(attributes["question"].get("plugins", ()), f"sweep {sweep}")
    dataset = paths.dataset(attributes["dataset"])
    dataset.verify()
    data = dataset.development()
    _check_data(data, attributes, sweep)
    objectives = _objectives(attributes["question"])
    ranking = ranking_of(request.rule, objectives, data.task)
    check_measured(ranking, records)
    ranked = ranking.best_first(records)
    return PromotionPlan(
        sweep=sweep,
        space_name=str(attributes["space_name"]),
        objective=objectives[0],
        ranking=ranking,
        finished=sum(record.outcome == "finished" for record in records),
        seconds=sum(record.ending.seconds for record in records),
        ranked=ranked,
        shortlist=ranked[: request.top],
        tuned_baseline=_tuned_baseline(
            str(attributes["space_name"]), data, ranking.metric, objectives[0], paths
        ),
        seeds=fresh_seeds(seeds_of(records), request.seeds),
        gates=Gates.model_validate(attributes.get("gates", {})),
        dataset=dataset,
        data=data,
        parent_run=attributes.get("mlflow_parent_run"),
        paths=paths,
    )


def _objectives(question: Mapping[str, Any]) -> list[str]:
    """The one objective of a sweep, or both of a pair."""
    kept = question["objective"]
    return [kept] if isinstance(kept, str) else list(kept)


def _tuned_baseline(
    space: str, data: DevelopmentData, metric: str, objective: str, paths: Paths
) -> list[TrialRecord]:
    found: list[TrialRecord] = []
    for name in paths.sweeps():
        if not (is_control(name) and name.startswith(f"{space}-plain-")):
            continue
        storage = journal_storage(paths.journal(name))
        question = study_attributes(storage, name).get("question", {})
        asked = (question.get("data_checksum"), question.get("objective"))
        if asked == (data.checksum, objective):
            found += records_of(storage, name)
    return best_first(found, metric)


def _read_study(
    request: PromotionRequest, paths: Paths
) -> tuple[str, dict[str, Any], list[TrialRecord]]:
    name = _sweep_name(request, paths)
    if request.storage is None:
        storage = journal_storage(paths.journal(name))
    else:
        storage = storage_at(request.storage)
    try:
        attributes, records = study_attributes(storage, name), records_of(storage, name)
    except KeyError:
        where = without_secrets(request.storage or str(paths.journal(name)))
        raise InputError(f"{where}: holds no sweep '{name}'.{_make_one()}") from None
    missing = [key for key in ("question", "dataset", "space_name") if key not in attributes]
    if missing:
        raise InputError(
            f"the sweep '{name}' was cut off before it began: its record lacks "
            f"{', '.join(missing)}. Run it again: its command continues it."
        )
    return name, attributes, records


def _sweep_name(request: PromotionRequest, paths: Paths) -> str:
    if request.storage is not None:
        if request.sweep is None:
            raise InputError("--storage holds any number of sweeps: name one with --sweep NAME.")
        return request.sweep
    known = paths.sweeps()
    asked = [name for name in known if not is_control(name)]
    if request.sweep is None:
        if not asked:
            raise InputError(f"{paths.studies}: there is no sweep to promote.{_make_one()}")
        return asked[-1]
    if request.sweep not in known:
        raise InputError(
            f"--sweep {request.sweep}: there is no such sweep in {paths.studies}."
            f"{nearest(request.sweep, known)}"
        )
    return request.sweep


def _check_alias(alias: str) -> None:
    if not ALIAS.fullmatch(alias):
        raise InputError(
            f"--alias must be a word of letters, digits, _ and - that begins with a letter, and "
            f"neither 'latest' nor a version such as 'v1', but got '{alias}'."
        )


def _check_data(data: DevelopmentData, attributes: dict[str, Any], sweep: str) -> None:
    checksum = attributes["question"].get("data_checksum")
    if checksum != data.checksum:
        raise InputError(
            f"{data.path}: has changed since the sweep '{sweep}' was run on it (checksum "
            f"{data.checksum[:12]} instead of {str(checksum)[:12]}): its scores do not hold for "
            "this data. Restore the data set, or run the sweep anew with --fresh."
        )


def _make_one() -> str:
    return " Make one with `python workflows/sweep.py --space search_spaces/mosei.yaml`."
