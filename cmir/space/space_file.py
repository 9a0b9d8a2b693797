"""The sweep file: its keys and what each may be, checked before anything starts."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag, ValidationError, model_validator

from cmir.config import Objective, Section, known_keys, on_validation
from cmir.data.task import TaskKind
from cmir.errors import InputError, explain
from cmir.extension_fields import NameOf
from cmir.metrics.metric_directions import OF_ENDED_TRIALS
from cmir.plugins import load_plugins
from cmir.space.yaml_file import read_yaml

Value = str | bool | int | float | list[str]
When = dict[str, list[Value]]
BaselineName = Annotated[str, NameOf("baseline")]
MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
Module = Annotated[str, Field(pattern=f"^{MODULE.pattern}$")]


def _distinct(values: list[Any]) -> list[Any]:
    if len({json.dumps(value) for value in values}) != len(values):
        raise ValueError(f"choices must differ, but got {values}")
    return values


Distinct = AfterValidator(_distinct)
Choices = Annotated[list[Value], Field(min_length=1), Distinct]


class Choice(Section):
    """One of several values; `when` restricts it to some values of other keys."""

    choices: Choices
    when: When = Field(default_factory=dict)

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that a check should try: all of them."""
        return tuple(self.choices)


class Range(Section):
    """A number from `low` to `high`, both included; log scale or steps where asked for."""

    low: float
    high: float
    log: bool = False
    step: float | None = Field(None, gt=0)
    when: When = Field(default_factory=dict)

    @model_validator(mode="after")
    def _low_is_below_high(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low must not be above high, but got {self.low:g} and {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be above 0 on a log scale, but got {self.low}")
        if self.log and self.step is not None:
            raise ValueError("step and log exclude each other: leave one out")
        return self

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values that a check should try: both ends."""
        return (self.low, self.high)


def _form(value: Any) -> str:
    if isinstance(value, list):
        return "list"
    if isinstance(value, Choice) or (isinstance(value, dict) and "choices" in value):
        return "choice"
    return "range"


Dimension = Annotated[
    Annotated[Choices, Tag("list")]
    | Annotated[Choice, Tag("choice")]
    | Annotated[Range, Tag("range")],
    Discriminator(_form),
]


def _as_pair(objectives: list[str]) -> list[str]:
    first, second = objectives
    on_validation(first)
    if second not in OF_ENDED_TRIALS:
        on_validation(second, OF_ENDED_TRIALS)
    if first == second:
        raise ValueError(f"the two objectives of a pair must differ, but got {first} twice")
    return objectives


ObjectivePair = Annotated[
    list[str], Field(min_length=2, max_length=2), AfterValidator(_as_pair), Tag("pair")
]


class SyntheticSection(Section):
    """What the built-in generator makes where the data is missing.

    A modality is a size (vectors), or a list of size and number of steps (sequences).
    """

    modalities: dict[str, int | list[int]] = Field(default_factory=dict)
    samples: dict[str, int] = Field(default_factory=dict, description="samples of each split")
    task: TaskKind = "regression"
    label_range: tuple[float, float] = Field(
        (-3.0, 3.0), strict=False, description="scale of a regression's labels"
    )
    names: list[str] = Field(
        default_factory=list,
        exclude_if=lambda names: not names,
        description="of the classes or labels",
    )
    shares: list[float] = Field(
        default_factory=list,
        exclude_if=lambda shares: not shares,
        description="how frequent each name is; all alike by default",
    )
    seed: int = Field(0, ge=0)


class DataSection(Section):
    """Where the features are; `if_missing: synthetic` lets the built-in generator stand in."""

    path: str = Field(description="a dataset folder, or the URL of one: s3://bucket/mosei")
    if_missing: Literal["fail", "synthetic"] = "fail"
    synthetic: SyntheticSection = SyntheticSection()


class EarlyStopping(Section):
    """ASHA across trials (Li et al. 2020): after `grace` epochs the best 1/`reduction` go on."""

    enabled: bool = True
    grace: int = Field(5, ge=1)
    reduction: float = Field(3.0, gt=1.0)


class Gates(Section):
    """What a candidate must show before it is registered, on development data."""

    baseline: BaselineName = Field(
        "plain", description="what the winner is compared with: the ERM baseline, or a plugin's"
    )
    finished_trials: int = Field(3, ge=1, description="fewest finished trials of the sweep")
    seeds: int = Field(3, ge=1, description="fewest seeds of the candidate")
    against_plain: Literal["none", "better", "confident", "certain"] = Field(
        "confident",
        description="out of distribution against the baseline: not asked; better on average; with "
        "the confidence below; or with a 95 % interval of the difference that excludes zero",
    )
    confidence: float = Field(
        0.9,
        gt=0.5,
        lt=1.0,
        description="how sure it must be that the winner is better than the baseline, over seeds "
        "and groups, corrected for the number of candidates; a candidate is registered without",
    )
    champion_margin: float = Field(
        0.0, ge=0.0, description="how much worse than the champion it may be out of distribution"
    )
    group_margin: float | None = Field(
        None,
        ge=0.0,
        description="how much worse than the baseline it may be in any group, in mean absolute "
        "error or accuracy; default: a fifth of the training labels' standard deviation",
    )
    noise_loss: float = Field(
        0.5,
        ge=0.0,
        description="largest share of its lead over a constant prediction lost under noise, "
        "averaged over the rates .1 to .7",
    )


class SweepFile(Section):
    """One sweep: the data, the objective, the space and the budget."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    data: DataSection
    objective: Annotated[
        Annotated[Objective, Tag("single")] | ObjectivePair,
        Discriminator(lambda value: "pair" if isinstance(value, list) else "single"),
    ] = Field(
        "ood_val/mae",
        description="split/metric, or a pair: the first stops trials early, both are searched for",
    )
    trials: int = Field(48, ge=1)
    seeds: int = Field(3, ge=1)
    sampler: Literal["tpe", "random"] = Field(
        "tpe", description="random draws every configuration apart from the start points"
    )
    epochs: int = Field(40, ge=1)
    fixed: dict[str, Value] = Field(default_factory=dict)
    search: dict[str, Dimension] = Field(default_factory=dict)
    start_from: list[dict[str, Value]] = Field(default_factory=list)
    early_stopping: EarlyStopping = EarlyStopping()
    keep_models: int = Field(3, ge=0, description="weights of so many best trials are kept")
    gates: Gates = Gates()
    measures: Annotated[list[Literal["split/leak", "unlabelled/disagreement"]], Distinct] = Field(
        default_factory=list,
        exclude_if=lambda measures: not measures,
        description="measured of each trial when it has ended; a second objective always is",
    )
    plugins: list[Module] = Field(
        default_factory=list, description="modules that add views, partitions, penalties, ..."
    )

    @property
    def objectives(self) -> tuple[str, ...]:
        """The one objective, or both of a pair."""
        return (self.objective,) if isinstance(self.objective, str) else tuple(self.objective)

    @property
    def measured(self) -> tuple[str, ...]:
        """What is measured of each trial when it has ended."""
        wanted = [*self.measures, *(name for name in self.objectives if name in OF_ENDED_TRIALS)]
        return tuple(dict.fromkeys(wanted))

    @property
    def first_objective(self) -> str:
        """What epochs, early stopping and whatever takes one objective go by."""
        return self.objectives[0]

    @property
    def dimensions(self) -> dict[str, Choice | Range]:
        """The search dimensions by key; a plain list is a choice."""
        return {
            key: Choice(choices=list(form)) if isinstance(form, list) else form
            for key, form in self.search.items()
        }

    @property
    def question(self) -> dict[str, Any]:
        """What makes two runs the same sweep: everything but its budget of trials and gates."""
        budget = {"trials", "keep_models", "gates", "name"}
        # Sweeps from before there were plugins have no such key, and their fingerprints stay.
        idle = set() if self.plugins else {"plugins"}
        return self.model_dump(mode="json", exclude=budget | idle)

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits of `question`."""
        canonical = json.dumps(self.question, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def read_sweep_file(path: Path) -> SweepFile:
    """Reads and checks one sweep file on its own, without its data.

    Raises:
        InputError: missing or unreadable file, bad YAML, unknown key, wrong type or form.
    """
    return parse_sweep(read_yaml(path, "Give --space one of search_spaces/*.yaml."), str(path))


def parse_sweep(content: Any, where: str) -> SweepFile:
    """Checks the parsed content of a sweep file, its plugins imported first.

    Args:
        content: as YAML gives it.
        where: what every message starts with.

    Raises:
        InputError: a key, type or form that is wrong, or a plugin that cannot be imported.
    """
    if not isinstance(content, dict):
        raise InputError(f"{where}: must hold keys such as 'name:', but got {content!r}.")
    _refuse_unusable_numbers(content, where)
    load_plugins(_named_plugins(content), where)
    try:
        return SweepFile.model_validate(content)
    except ValidationError as error:
        forms = {*Choice.model_fields, *Range.model_fields}
        known = [key for key in known_keys(SweepFile) if "<" not in key]
        raise InputError(explain(error, where, [*known, "fixed", "search", *forms])) from None


def _named_plugins(content: dict[str, Any]) -> list[str]:
    """The modules that a sweep file names; what is no name is left to the check of the whole."""
    given = content.get("plugins")
    names = given if isinstance(given, list) else []
    return [name for name in names if isinstance(name, str) and MODULE.fullmatch(name)]


def _refuse_unusable_numbers(content: dict[str, Any], where: str) -> None:
    """YAML reads `.inf` and `.nan` as numbers; no setting takes them."""
    for key, value in _leaves(content):
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{where}: {key} must be a finite number, but got {value}.")


def _leaves(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(content, list):
        for place, value in enumerate(content):
            yield from _leaves(value, f"{prefix}[{place}]")
    else:
        yield prefix, content
