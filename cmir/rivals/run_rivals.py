"""Runs or continues a comparison with rivals: tunes each, trains all again, compares."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from mlflow import MlflowClient

from cmir.ablation.ablation_plan import AblationPlan
from cmir.ablation.ablation_table import Cells
from cmir.ablation.arm_heldout_scores import HeldoutAccess
from cmir.ablation.arm_results import VALIDATION, ArmResult, results_of
from cmir.ablation.arm_scores import Yardstick, measured
from cmir.ablation.run_ablation import compared_jobs, study_of, tuning
from cmir.config import TrialConfig
from cmir.data import HeldoutData
from cmir.errors import InputError
from cmir.method.training.split_scores import worst_metric
from cmir.pages import page
from cmir.promotion.selection import best_first
from cmir.registry.heldout_access import heldout_splits, read_heldout, tally
from cmir.registry.model_registry import Registry
from cmir.rivals.known_rivals import chosen_rivals, known_rivals
from cmir.rivals.rival import Rival, rival_file
from cmir.rivals.rival_scores import (
    ADAPTED,
    CHAMPION,
    LATE_FUSION,
    Trained,
    heldout_rows,
    validation_rows,
)
from cmir.rivals.rivals_table import About, latex, rival_cells, rivals_table
from cmir.runner.job_list import JobList
from cmir.runner.paths import Paths, rival_name
from cmir.runner.runner import Display, Jobs, Runner, silent
from cmir.runner.scheduling.trials_in_flight import Progress
from cmir.runner.tracking.local_store import first_line
from cmir.runner.tracking.sweep_tracker import NOTE
from cmir.shared_files import written_whole
from cmir.sweep.run_sweep import SweepStart

KIND = "rivals"
PAGE = "rivals/rivals.md.j2"
DERIVED: Mapping[str, str] = {
    LATE_FUSION: "A linear model over the scores of the models of one modality each, fitted on "
    "validation speakers that it does not judge (stacking, Wolpert 1992).",
    f"{CHAMPION}{ADAPTED}": "The champion with features standardised by the unlabelled split that "
    "is predicted (after Li et al. 2017, AdaBN).",
    f"erm{ADAPTED}": "ERM with features standardised by the unlabelled split that is predicted.",
}


@dataclass(frozen=True)
class RivalsRequest:
    """What the command line asks for.

    Attributes:
        only: names of rivals; empty: all.
        test_set: read the held-out splits once, for all rows together.
        why: reason of this access, for the ledger.
    """

    only: Sequence[str] = ()
    test_set: bool = False
    why: str = ""


@dataclass(frozen=True)
class Watch:
    """Told of what happens.

    Attributes:
        on_tuning: the tuning of a rival starts; returns the hooks of its progress.
        display: told of the trainings with fresh seeds.
    """

    on_tuning: Callable[[str, SweepStart], Progress] = lambda name, start: Progress()
    display: Display = silent


@dataclass(frozen=True, eq=False)
class Tuned:
    """A rival after its tuning: its best configuration with fresh seeds, None if none finished."""

    rival: Rival
    config: TrialConfig | None
    trials: int
    seconds: float


@dataclass(frozen=True, eq=False)
class RivalsOutcome:
    """What a comparison ended with.

    Attributes:
        table: on validation data.
        shown: the same as cells.
        heldout: on the held-out splits, where they were asked for.
        files: CSV, Markdown and LaTeX.
        trouble: why MLflow lacks something, empty if it has all.
    """

    table: pl.DataFrame
    shown: Sequence[Cells]
    heldout: HeldoutAccess | None
    files: Sequence[Path]
    trouble: str


def folder_of(plan: AblationPlan, paths: Paths) -> Path:
    """Where the spaces and tables of a comparison are kept."""
    return paths.studies / f"{plan.name}.rivals"


def compare_rivals(
    plan: AblationPlan,
    request: RivalsRequest,
    client: MlflowClient,
    runner: Runner,
    watch: Watch,
) -> RivalsOutcome:
    """Runs what is missing and shows all of it.

    Args:
        plan: names the champion, its space and the trials of each rival (`budget`).
        request: what was asked for.
        client: of the tracking store.
        runner: that trains.
        watch: told of what happens.

    Raises:
        InputError: an unknown rival, or no held-out splits to read.
        KeyboardInterrupt: what ended is kept; the same call continues.
    """
    if request.test_set and not heldout_splits(plan.dataset):
        raise InputError(
            f"--test-set: the data set '{plan.data.name}' has no held-out split. Leave it out, or "
            "make one with `prepare.py --shift`."
        )
    rivals = chosen_rivals(known_rivals(plan.file, plan.data), request.only)
    runner.paths.make()
    tuned = [_tuned(one, plan, runner, watch) for one in rivals]
    jobs = _jobs(plan, tuned)
    with runner.opened(jobs) as session:
        session.train(watch.display)
        session.close()
        if session.study.missing:
            raise KeyboardInterrupt
        assert isinstance(jobs.source, JobList)
        records = jobs.source.own(session.study.records())
        results = results_of(records.values(), study_of(plan, KIND), runner.paths, plan.data)
        parent = None if session.tracker is None else session.tracker.parent
        return _concluded(plan, request, tuned, results, client, runner, parent)


def _tuned(rival: Rival, plan: AblationPlan, runner: Runner, watch: Watch) -> Tuned:
    """A sweep of its own, named after what it asks, so that the same command continues it."""
    changes = rival.space(plan.file, plan.data)
    assert changes is not None
    epochs = plan.full.training.epochs
    file = rival_file(plan.file, changes, plan.data, "rival", epochs)
    name = rival_name(plan.space_name, _slug(rival.name), file.fingerprint)
    trials = plan.budget if file.search else 1
    file = file.model_copy(update={"name": name, "trials": trials})
    folder = folder_of(plan, runner.paths)
    outcome = tuning(file, folder, runner, lambda start: watch.on_tuning(rival.name, start))
    ranked = best_first(outcome.records, file.first_objective)
    seconds = sum(record.ending.seconds for record in outcome.records)
    config = ranked[0].trial(plan.full.seeds) if ranked else None
    return Tuned(rival, config, outcome.counted, seconds)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _jobs(plan: AblationPlan, tuned: Sequence[Tuned]) -> Jobs:
    named = {plan.full.fingerprint: CHAMPION}
    configs = [plan.full]
    for one in tuned:
        if one.config is not None:
            named.setdefault(one.config.fingerprint, one.rival.name)
            configs.append(one.config)
    params = {"objective": plan.full.objective, "trials": plan.budget}
    return compared_jobs(plan, KIND, configs, named, params)


def _concluded(
    plan: AblationPlan,
    request: RivalsRequest,
    tuned: Sequence[Tuned],
    results: Mapping[str, ArmResult],
    client: MlflowClient,
    runner: Runner,
    parent: str | None,
) -> RivalsOutcome:
    rows = _trained(plan, tuned, results, runner.paths)
    about = _about(plan, tuned, results, rows)
    validation = {name: plan.data.splits[name] for name in VALIDATION}
    yardstick = Yardstick(plan.metric, validation, plan.data.task)
    worst = worst_metric(plan.data.task)
    table = rivals_table(about, validation_rows(rows, plan.data), yardstick)
    title = f"rivals of {plan.name}, {plan.metric} on validation data"
    shown = [rival_cells(table, plan.metric, VALIDATION, worst, title)]
    access = None
    if request.test_set:
        access, held = _heldout(plan, request, rows, about, client, runner.paths)
        title = f"the same on held-out data, {plan.metric}"
        shown.append(rival_cells(held, plan.metric, access.splits, worst, title))
    files = _write(folder_of(plan, runner.paths), table, shown)
    return RivalsOutcome(table, shown, access, files, _publish(client, parent, shown, files))


def _trained(
    plan: AblationPlan, tuned: Sequence[Tuned], results: Mapping[str, ArmResult], paths: Paths
) -> list[Trained]:
    wanted = [(CHAMPION, plan.full), *((one.rival.name, one.config) for one in tuned)]
    rows = []
    for name, config in wanted:
        found = None if config is None else results[config.fingerprint]
        if found is not None and found.outcome == "finished":
            rows.append(
                Trained(
                    name,
                    found.trained(paths.language),
                    found.scores,
                    is_unimodal=name.endswith(" alone"),
                    is_adapted=f"{name}{ADAPTED}" in DERIVED,
                )
            )
    if not rows or rows[0].name != CHAMPION:
        raise InputError(
            f"the champion of {plan.name} did not finish with its fresh seeds: there is nothing to "
            "compare rivals with. The reason is in MLflow."
        )
    return rows


def _about(
    plan: AblationPlan,
    tuned: Sequence[Tuned],
    results: Mapping[str, ArmResult],
    rows: Sequence[Trained],
) -> dict[str, About]:
    finished = {row.name: row.result.seconds for row in rows}
    about = {CHAMPION: About(plan.origin, plan.budget, finished[CHAMPION])}
    for one in tuned:
        name = one.rival.name
        seconds = one.seconds + finished.get(name, 0.0)
        outcome = "finished" if name in finished else _why(one, results)
        about[name] = About(one.rival.what, one.trials, seconds, outcome)
    adapted = [f"{row.name}{ADAPTED}" for row in rows if row.is_adapted]
    unimodal = [row.name for row in rows if row.is_unimodal]
    derived = [*adapted, *([LATE_FUSION] if len(unimodal) > 1 else [])]
    return about | {name: About(DERIVED[name]) for name in derived}


def _why(one: Tuned, results: Mapping[str, ArmResult]) -> str:
    return "no trial finished" if one.config is None else results[one.config.fingerprint].outcome


def _heldout(
    plan: AblationPlan,
    request: RivalsRequest,
    rows: Sequence[Trained],
    about: Mapping[str, About],
    client: MlflowClient,
    paths: Paths,
) -> tuple[HeldoutAccess, pl.DataFrame]:
    """One counted access for all rows; of the same rows nothing is read a second time."""
    names = ".".join(row.result.config.fingerprint for row in rows)
    digest = hashlib.sha256(f"{plan.dataset.checksum} {names}".encode()).hexdigest()
    kept = folder_of(plan, paths) / f"heldout-{digest[:12]}.parquet"
    splits = tuple(heldout_splits(plan.dataset))
    registry = Registry(client, plan.model_name)
    if kept.is_file():
        so_far = tally(plan.dataset, registry, paths).accesses
        return HeldoutAccess(splits, {}, so_far, is_new=False), pl.read_parquet(kept)

    def measure(data: HeldoutData) -> pl.DataFrame:
        yardstick = Yardstick(plan.metric, data.splits, plan.data.task)
        return rivals_table(about, heldout_rows(rows, plan.data, data), yardstick)

    table, before = read_heldout(
        plan.dataset,
        measure,
        lambda found: {key: found[key][0] for key in measured(plan.metric, splits)},
        registry=registry,
        paths=paths,
        purpose=f"rivals of {plan.name}: {request.why}",
    )
    with written_whole(kept) as draft:
        table.write_parquet(draft)
    accesses = before.accesses + 1
    return HeldoutAccess(splits, {}, accesses, is_new=True, warning=before.warning), table


def _write(folder: Path, table: pl.DataFrame, shown: Sequence[Cells]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "rivals.csv": table.write_csv(),
        "rivals.md": page(PAGE, shown=shown) + "\n",
        "rivals.tex": "\n\n".join(latex(cells) for cells in shown) + "\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def _publish(
    client: MlflowClient, parent: str | None, shown: Sequence[Cells], files: Sequence[Path]
) -> str:
    """The table on the run of the comparison; why MLflow lacks it, empty if it has it."""
    if parent is None:
        return ""
    try:
        client.set_tag(parent, NOTE, page(PAGE, shown=shown))
        for file in files:
            client.log_artifact(parent, str(file))
    except Exception as error:  # MLflow, requests and SQLAlchemy each raise their own.
        return first_line(error)
    return ""
