"""What a promotion found, as Markdown for the registry's pages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from cmir.promotion.candidate import Candidate
from cmir.promotion.gates import Verdict
from cmir.promotion.heldout_scores import ENSEMBLE, HeldoutFindings
from cmir.promotion.promotion_plan import PromotionPlan, PromotionRequest

SYNTHETIC_CAVEAT = "**Trained on the synthetic stand-in: this model says nothing about real data.**"
GATE_COLUMNS = ["gate", "required", "measured", "95 % interval", "passed"]
# The column of MLflow's databases.
LONGEST_DESCRIPTION = 5000


def description(
    plan: PromotionPlan,
    request: PromotionRequest,
    candidates: Sequence[Candidate],
    winner: Candidate,
    verdicts: Sequence[Verdict],
    heldout: HeldoutFindings,
) -> str:
    """What the registered version is, how it was chosen, what it scores and what to beware of."""
    seeds = ", ".join(map(str, plan.seeds))
    inputs = ", ".join(f"`{name}`" for name in plan.data.modalities)
    failed = failed_gates(verdicts)
    lines = [
        f"Trial {winner.record.number} of the sweep `{plan.sweep}` on `{plan.data.name}` "
        f"({plan.data.task}), trained with the seeds {seeds}; predictions are averaged over them.",
        "",
        *([SYNTHETIC_CAVEAT, ""] if plan.is_synthetic else []),
        *([f"**Registered by force in spite of: {failed}.** {request.why}", ""] if failed else []),
        f"Takes {inputs}, raw as in the data file.",
        "",
        f"**Chosen** by the rule `{plan.rule}` (`{plan.metric}`) among {plan.finished} finished "
        f"trials: the best {len(candidates)} were trained again with seeds that the sweep had not "
        "used, the best of these is this one.",
        "",
        *gates_table(verdicts),
        "",
        *heldout_part(heldout, is_candidate=request.is_candidate),
    ]
    return "\n".join(lines)


def linked_files(experiment: str, run: str, files: Iterable[str]) -> list[str]:
    """Where the files of a promotion are, for a version's page."""
    names = ", ".join(f"`{name}`" for name in files)
    return [
        f"**Files** of [its promotion](#/experiments/{experiment}/runs/{run}/artifacts): {names}."
    ]


def fitting(text: str, limit: int = LONGEST_DESCRIPTION) -> str:
    """A text that a registry's database takes, cut at a line's end if need be."""
    if len(text) <= limit:
        return text
    end = "\n\n... the rest stands in `model_card.md`."
    return text[: text.rindex("\n", 0, limit - len(end))] + end


def refusal(
    plan: PromotionPlan, candidates: Sequence[Candidate], verdicts: Sequence[Verdict]
) -> str:
    """Why nothing was registered."""
    lines = [
        f"No model of the sweep `{plan.sweep}` was registered.",
        "",
        *gates_table(verdicts),
    ]
    if candidates:
        lines += ["", *candidates_table(plan, candidates)]
    return "\n".join(lines)


def failed_gates(verdicts: Iterable[Verdict]) -> str:
    """Names of the gates that did not pass, empty if all did."""
    return ", ".join(verdict.name for verdict in verdicts if not verdict.passed)


def candidate_columns(plan: PromotionPlan) -> list[str]:
    """Head of the table of candidates."""
    shown = list(dict.fromkeys([plan.metric, plan.objective, plan.ood_metric]))
    return ["trial", "scheme", "in the sweep", *shown, "std"]


def candidate_rows(plan: PromotionPlan, candidates: Iterable[Candidate]) -> list[list[str]]:
    """One row per candidate: its score in the sweep, then those of the fresh seeds."""
    shown = list(dict.fromkeys([plan.metric, plan.objective, plan.ood_metric]))
    rows = []
    for candidate in candidates:
        record, result = candidate.record, candidate.result
        keys = [*shown, f"{plan.metric}_std"]
        fresh = ["diverged"] * len(keys)
        if result is not None:
            fresh = [f"{result.metrics[key]:.4f}" for key in keys]
        swept = f"{record.ending.metrics.get(plan.metric, math.nan):.4f}"
        rows.append([str(record.number), record.scheme, swept, *fresh])
    return rows


def candidates_table(plan: PromotionPlan, candidates: Iterable[Candidate]) -> list[str]:
    """The candidates in Markdown."""
    return markdown(candidate_columns(plan), candidate_rows(plan, candidates))


def gates_table(verdicts: Iterable[Verdict]) -> list[str]:
    """The gates in Markdown."""
    return markdown(GATE_COLUMNS, verdict_rows(verdicts))


def verdict_rows(verdicts: Iterable[Verdict]) -> list[list[str]]:
    """One row per gate."""
    return [
        [v.name, v.required, v.measured, v.interval, "yes" if v.passed else "NO"] for v in verdicts
    ]


def heldout_rows(heldout: Mapping[str, float]) -> list[list[str]]:
    """`metric, mean over seeds, their deviation, of the average`, one row per split and metric."""
    rows = []
    for key, value in heldout.items():
        split, _, metric = key.partition("/")
        together = heldout.get(f"{split}/{ENSEMBLE}{metric}")
        if together is not None:
            spread = heldout[f"{key}_std"]
            rows.append([key, f"{value:.4f}", f"{spread:.4f}", f"{together:.4f}"])
    return rows


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def ordinal(number: int) -> str:
    """A number as a place in a row.

    Example:
        >>> [ordinal(number) for number in (2, 3, 11, 21)]
        ['2nd', '3rd', '11th', '21st']
    """
    ends = {1: "st", 2: "nd", 3: "rd"}
    end = "th" if number % 100 in (11, 12, 13) else ends.get(number % 10, "th")
    return f"{number}{end}"


def heldout_part(heldout: HeldoutFindings, *, is_candidate: bool = False) -> list[str]:
    """The held-out scores, and how often this data has been read before."""
    if is_candidate:
        return ["**A candidate: held-out data was not read for it.**", ""]
    if heldout.tally is None:
        return ["**The data set has no held-out split: no unbiased score is known.**", ""]
    accesses = heldout.accesses
    times = "for the first time" if accesses == 1 else f"for the {ordinal(accesses)} time"
    caveat = ""
    if accesses > 1:
        caveat = " Each test-set access makes the scores a little more optimistic."
    if heldout.tally.warning:
        caveat += f" **Beware**: {heldout.tally.warning}"
    head = ["held-out", "mean over seeds", "std over seeds", "averaged prediction (served)"]
    return [
        f"Held-out data was read {times} by any command, after the gates.{caveat}",
        "",
        *markdown(head, heldout_rows(heldout.scores)),
        "",
    ]


def settings_table(winner: Candidate) -> list[str]:
    """What the sweep searched, and the values it found."""
    rows = [[f"`{key}`", str(value)] for key, value in winner.record.params.items()]
    return markdown(["searched setting", "value"], rows) if rows else ["Nothing was searched."]
