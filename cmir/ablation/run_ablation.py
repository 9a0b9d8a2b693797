"""Runs or continues an ablation: tunes the baseline, trains what is missing, compares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from mlflow import MlflowClient

from cmir.ablation.ablation_plan import AblationPlan, AblationRequest
from cmir.ablation.ablation_report import description
from cmir.ablation.ablation_runs import publish
from cmir.ablation.ablation_table import ablation_table, scored
from cmir.ablation.arm import Arm, distinct
from cmir.ablation.arm_heldout_scores import HeldoutAccess, read_arms
from cmir.ablation.arm_results import VALIDATION, ArmResult, results_of, validation_scores
from cmir.ablation.arm_scores import Yardstick, measured
from cmir.ablation.arms import arms
from cmir.ablation.forest_plot import forest
from cmir.ablation.matched_baseline import tuning_file, untuned_baseline
from cmir.config import TrialConfig
from cmir.errors import InputError
from cmir.method.environments.partitions import Partitions
from cmir.method.training.fitting import check
from cmir.promotion.selection import best_first
from cmir.registry.heldout_access import heldout_splits
from cmir.registry.model_registry import Registry
from cmir.runner.job_list import JobList
from cmir.runner.paths import Paths, control_name
from cmir.runner.provenance import code_checksum, provenance
from cmir.runner.runner import Display, Jobs, Runner, Session, TrackedRun, silent
from cmir.runner.scheduling.trials_in_flight import Progress
from cmir.space.space_file import SweepFile
from cmir.sweep.run_sweep import SweepOutcome, SweepRequest, SweepStart, run_sweep


@dataclass(frozen=True)
class Watch:
    """Told of what happens.

    Attributes:
        on_tuning: the tuning of the baseline starts; returns the hooks of its progress.
        on_arms: all arms, once they are known.
        display: told of the trainings of arms.
    """

    on_tuning: Callable[[SweepStart], Progress] = lambda start: Progress()
    on_arms: Callable[[Sequence[Arm]], None] = lambda rows: None
    display: Display = silent


@dataclass(frozen=True, eq=False)
class AblationOutcome:
    """What an ablation ended with.

    Attributes:
        table: on validation data, see `ablation_table`.
        heldout: the same on the held-out splits, where they were asked for.
        access: of the held-out splits.
        files: the picture, the text and the tables.
        trouble: why MLflow lacks something, empty if it has all.
    """

    table: pl.DataFrame
    heldout: pl.DataFrame | None
    access: HeldoutAccess | None
    files: Sequence[Path]
    trouble: str


def folder_of(plan: AblationPlan, paths: Paths) -> Path:
    """Where the tables and pictures of an ablation are kept."""
    return paths.ablation(plan.name)


def study_of(plan: AblationPlan, kind: str = "ablation") -> str:
    """The study that keeps the trainings of an ablation, or of another comparison."""
    return f"{plan.name}.{kind}"


def ablate(
    plan: AblationPlan,
    request: AblationRequest,
    client: MlflowClient,
    runner: Runner,
    watch: Watch,
) -> AblationOutcome:
    """Runs what is missing of an ablation and shows all of it.

    Args:
        plan: from `plan_ablation`.
        request: what was asked for.
        client: of the tracking store.
        runner: that trains.
        watch: told of what happens.

    Raises:
        InputError: another process runs this ablation, or there are no held-out splits to read.
        KeyboardInterrupt: what ended is kept; the same call continues.
    """
    if request.final and not heldout_splits(plan.dataset):
        raise InputError(
            f"--final: the data set '{plan.data.name}' has no held-out split. Leave --final out, "
            "or make one with `prepare.py --shift`."
        )
    runner.paths.make()
    tuned, note = None, ""
    if "plain" in plan.families:
        tuned, note = tune_baseline(plan, runner, watch)
    rows = arms(plan.full, plan.data, tuned, note, plan.families)
    watch.on_arms(rows)
    refused = _refused(rows, plan, runner.paths)
    jobs = _jobs(rows, plan, refused)
    with runner.opened(jobs) as session:
        session.train(watch.display)
        session.close()
        if session.study.missing:
            raise KeyboardInterrupt
        assert isinstance(jobs.source, JobList)
        records = jobs.source.own(session.study.records()).values()
        found = results_of(records, study_of(plan), runner.paths, plan.data)
        return _conclude(plan, request, rows, {**found, **refused}, client, runner, session)


def tune_baseline(
    plan: AblationPlan, runner: Runner, watch: Watch
) -> tuple[TrialConfig | None, str]:
    """The ERM baseline of equal size after a sweep of its own, and how it was tuned.

    The sweep is named after what it asks, so that the same ablation continues it. None where the
    space searches nothing that the ERM baseline has, or no trial finished.
    """
    baseline, _ = untuned_baseline(plan.full, plan.data)
    file = tuning_file(plan.file, plan.full, baseline, plan.data.found_at)
    if not file.search:
        return None, ""
    name = control_name(plan.space_name, file.fingerprint)
    file = file.model_copy(update={"name": name, "trials": plan.budget})
    outcome = tuning(file, folder_of(plan, runner.paths), runner, watch.on_tuning)
    ranked = best_first(outcome.records, file.first_objective)
    if not ranked:
        return None, ""
    return ranked[0].trial(plan.full.seeds), f"best of {outcome.counted} trials ({name})"


def tuning(
    file: SweepFile, folder: Path, runner: Runner, show: Callable[[SweepStart], Progress]
) -> SweepOutcome:
    """The sweep of a file that is made here, kept in a folder so that anybody can read it.

    Raises:
        KeyboardInterrupt: it was stopped before its budget was spent.
    """
    path = folder / f"{file.name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(file.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    sweep = SweepRequest(path, {}, runner.placement, storage=runner.storage)
    outcome = run_sweep(sweep, runner.paths, show)
    if not outcome.is_complete:
        raise KeyboardInterrupt
    return outcome


def _refused(rows: Sequence[Arm], plan: AblationPlan, paths: Paths) -> dict[str, ArmResult]:
    """The arms that do not fit the data, with the reason; they are not trained."""
    partitions, found = Partitions(plan.data, paths.partitions), {}
    for fingerprint, arm in distinct(rows).items():
        try:
            check(plan.data, arm.config, partitions)
        except InputError as error:
            found[fingerprint] = ArmResult("refused", str(error))
    return found


def _jobs(rows: Sequence[Arm], plan: AblationPlan, refused: Mapping[str, ArmResult]) -> Jobs:
    wanted = {name: arm for name, arm in distinct(rows).items() if name not in refused}
    labels = {name: arm.name for name, arm in wanted.items()}
    params = {"objective": plan.full.objective, "seeds": ", ".join(map(str, plan.full.seeds))}
    configs = [arm.config for arm in wanted.values()]
    return compared_jobs(plan, "ablation", configs, labels, params)


def compared_jobs(
    plan: AblationPlan,
    kind: str,
    configs: Sequence[TrialConfig],
    labels: Mapping[str, str],
    params: Mapping[str, Any],
) -> Jobs:
    """Trainings that are compared with the full configuration, and scored where they are trained.

    Args:
        plan: names study, space and data.
        kind: what they are for, see `study_of`.
        configs: with fresh seeds.
        labels: fingerprint to what a training is called.
        params: of the MLflow run.
    """
    name = study_of(plan, kind)
    source = "workflows/ablate.py" if kind == "ablation" else f"workflows/{kind}.py"
    tags = provenance() | {
        kind: plan.name,
        "kind": kind,
        "origin": plan.origin,
        "data": plan.data.name,
        "data.checksum": plan.data.checksum,
    }
    return Jobs(
        name,
        plan.data,
        JobList(configs, labels, plan.data.checksum, code_checksum(), name),
        plan.full.training.epochs,
        tracked=TrackedRun(plan.space_name, params, tags, kind="arm", source=source),
        threads=1,
        score=validation_scores,
    )


def _conclude(
    plan: AblationPlan,
    request: AblationRequest,
    rows: Sequence[Arm],
    results: Mapping[str, ArmResult],
    client: MlflowClient,
    runner: Runner,
    session: Session,
) -> AblationOutcome:
    wanted, full = distinct(rows), rows[0].fingerprint
    folder = folder_of(plan, runner.paths)
    validation = {name: plan.data.splits[name] for name in VALIDATION}
    yardstick = Yardstick(plan.metric, validation, plan.data.task)
    columns = scored(wanted, results, yardstick, full)
    table = ablation_table(rows, results, columns, measured(plan.metric, VALIDATION))
    access = heldout = None
    if request.final:
        registry = Registry(client, plan.model_name)
        access = read_arms(plan, wanted, results, folder, full, registry, runner.paths)
        keys = measured(plan.metric, access.splits)
        heldout = ablation_table(rows, results, access.columns, keys)
    text = description(plan, table, heldout, access)
    files = _write(folder, plan, table, heldout, text)
    trouble = publish(client, session, rows, results, (table, heldout), files, text)
    return AblationOutcome(table, heldout, access, files, trouble)


def _write(
    folder: Path, plan: AblationPlan, table: pl.DataFrame, heldout: pl.DataFrame | None, text: str
) -> list[Path]:
    """The tables, the picture and the text as files."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {"ablation": table} | ({} if heldout is None else {"heldout": heldout})
    files = [folder / "forest.png", folder / "ablation.md"]
    forest(table, plan.metric, f"{plan.name} on {plan.data.name}").savefig(files[0])
    files[1].write_text(f"{text}\n", encoding="utf-8")
    for name, frame in tables.items():
        frame.write_csv(folder / f"{name}.csv")
        frame.write_parquet(folder / f"{name}.parquet")
        files += [folder / f"{name}.csv", folder / f"{name}.parquet"]
    return files
