"""The search space of a sweep: conditions, what a sampler may suggest, trials built from it.

A `SearchSpace` is checked as a whole before anything starts: every key known, every condition
resolvable, and a trial built at the ends of every range, alone and with those of every other.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import combinations
from typing import Any

from cmir.config import (
    DEFAULT_COUNT,
    DEFAULT_GROUPS,
    DEFAULT_STRENGTH,
    TrialConfig,
    default_rate,
    known_keys,
    number_kind,
    trial_config,
    words_of,
)
from cmir.dotted_keys import field_at, is_by_modality
from cmir.errors import InputError, hint_for, nearest
from cmir.space.space_file import Choice, Range, SweepFile, Value

Assignment = dict[str, Value]
TAKEN = {"objective": "objective", "seeds": "seeds", "training.epochs": "epochs"}


@dataclass(frozen=True)
class SearchSpace:
    """The dimensions of a sweep and what is fixed.

    Attributes:
        file: the sweep file.
        where: what the message of an error starts with.
    """

    file: SweepFile
    where: str

    @cached_property
    def dimensions(self) -> dict[str, Choice | Range]:
        """The dimensions in an order in which conditions come after what they depend on."""
        found = self.file.dimensions
        graph = {key: set(form.when) & set(found) for key, form in found.items()}
        try:
            order = TopologicalSorter(graph).static_order()
            return {key: found[key] for key in order}
        except CycleError as error:
            circle = " -> ".join(error.args[1])
            raise InputError(f"{self.where}: the conditions go in a circle: {circle}.") from None

    def is_active(self, key: str, so_far: Mapping[str, Value]) -> bool:
        """Whether a dimension's condition holds, given the values of those before it."""
        known = {**self.file.fixed, **so_far}
        conditions = self.dimensions[key].when.items()
        return all(parent in known and known[parent] in allowed for parent, allowed in conditions)

    def is_integer(self, key: str) -> bool:
        """Whether a range holds whole numbers only: so says the setting that it searches."""
        return number_kind(key) is int

    def trial(self, values: Mapping[str, Value], where: str | None = None) -> TrialConfig:
        """The trial of one assignment of the active dimensions, the rest at fixed or default."""
        return trial_config(
            {**self.file.fixed, **values, "training.epochs": self.file.epochs},
            where or self.where,
            objective=self.file.first_objective,
            seeds=tuple(range(self.file.seeds)),
        )

    def complete(self, values: Mapping[str, Value]) -> Assignment:
        """A start point with the active dimensions it leaves out set to their defaults."""
        full: Assignment = {}
        for key in self.dimensions:
            if self.is_active(key, full):
                full[key] = values[key] if key in values else default_of(key, {**full, **values})
        return full

    def corners(self) -> list[tuple[str, Assignment]]:
        """For every end of a range and every choice, an assignment that has it, by name."""
        return [self._corner(wanted) for wanted in self._ends()] or [("fixed", {})]

    def pairs(self) -> list[tuple[str, Assignment]]:
        """The same for every two of them, as a penalty and its weight may contradict each other."""
        both = (one | other for one, other in combinations(self._ends(), 2))
        return [self._corner(wanted) for wanted in both if len(wanted) == 2]

    def _ends(self) -> list[Assignment]:
        forms = self.dimensions.items()
        return [{key: value} for key, form in forms for value in self._typed_ends(key, form)]

    def _corner(self, wanted: Assignment) -> tuple[str, Assignment]:
        name = " and ".join(f"search.{key} = {value!r}" for key, value in wanted.items())
        return name, self._first_values(self._with_conditions(wanted))

    def _with_conditions(self, wanted: Assignment) -> Assignment:
        """Adds to the wanted values what their conditions require, first allowed value first."""
        for key in list(wanted):
            for parent, allowed in self.dimensions[key].when.items():
                if parent in self.dimensions and parent not in wanted:
                    wanted = self._with_conditions({**wanted, parent: allowed[0]})
        return wanted

    def _first_values(self, wanted: Assignment) -> Assignment:
        values: Assignment = {}
        for key, form in self.dimensions.items():
            if self.is_active(key, values):
                values[key] = wanted.get(key, self._typed_ends(key, form)[0])
        return values

    def _typed_ends(self, key: str, form: Choice | Range) -> tuple[Value, ...]:
        """All choices, or both ends; of whole numbers also the second: it shows a wrong step."""
        if isinstance(form, Choice) or not self.is_integer(key):
            return form.ends
        low, high, step = int(form.low), int(form.high), int(form.step or 1)
        return tuple(dict.fromkeys((low, min(low + step, high), high)))


def checked_space(file: SweepFile, where: str, modalities: Sequence[str] = ()) -> SearchSpace:
    """The search space of a sweep file, checked as far as it can be without training.

    Args:
        file: the parsed sweep file.
        where: the file's name, for messages.
        modalities: names that `<modality>` may stand for; empty: any.

    Raises:
        InputError: one line per fault.
    """
    space = SearchSpace(file, where)
    faults = [*_key_faults(file, modalities), *_form_faults(file), *_condition_faults(file)]
    if not faults:
        faults = [*_start_faults(space)]
    _raise(faults, where)
    for name, values in [*space.corners(), *space.pairs()]:
        space.trial(values, f"{where}: with {name}")
    return space


def check_modalities(space: SearchSpace, modalities: Sequence[str]) -> None:
    """Checks what a space that was checked without data says about modalities.

    Raises:
        InputError: a key names a modality that is not among these.
    """
    _raise(_key_faults(space.file, modalities), space.where)


def _raise(faults: Sequence[str], where: str) -> None:
    if faults:
        raise InputError("\n".join(f"{where}: {fault}" for fault in faults))


def default_of(key: str, values: Mapping[str, Value]) -> Any:
    """The value that a setting has when it is left out, given the schemes chosen."""
    section, _, rest = key.partition(".")
    if section == "environments" and rest.startswith("rate."):
        return default_rate(str(values.get("environments.view", "none")))
    defaults: dict[str, Any] = {
        "environments.count": DEFAULT_COUNT,
        "environments.strength": DEFAULT_STRENGTH,
        "environments.groups": DEFAULT_GROUPS,
    }
    usual = TrialConfig().flat() | defaults
    field = field_at(TrialConfig, key)
    if key in usual or field is None or is_by_modality(field):
        return usual.get(key)
    return field.get_default(call_default_factory=True)


def _key_faults(file: SweepFile, modalities: Sequence[str]) -> list[str]:
    faults = []
    for place, keys in (("fixed", file.fixed), ("search", file.search)):
        for key in keys:
            if key in TAKEN:
                faults.append(f"{place}.{key} is set by the top-level key '{TAKEN[key]}'.")
            elif not _is_known(key, modalities):
                faults.append(f"{place}.{key} is not a known key.{_suggestion(key, modalities)}")
    twice = sorted(set(file.fixed) & set(file.search))
    faults += [f"{key} stands under fixed and under search: leave one out." for key in twice]
    return faults


def _is_known(key: str, modalities: Sequence[str]) -> bool:
    return key in _all_keys(modalities) or (
        not modalities and f"{key.rpartition('.')[0]}.<modality>" in known_keys()
    )


def _all_keys(modalities: Sequence[str]) -> list[str]:
    names = modalities or ("<modality>",)
    return [key.replace("<modality>", name) for key in known_keys() for name in names]


def _suggestion(key: str, modalities: Sequence[str]) -> str:
    keys = _all_keys(modalities)
    if difflib.get_close_matches(key, keys, n=1, cutoff=0.6):
        return nearest(key, keys)
    in_section = [known for known in keys if known.split(".")[0] == key.split(".")[0]]
    return nearest(key, in_section or keys)


def _form_faults(file: SweepFile) -> list[str]:
    faults = []
    for key, form in file.dimensions.items():
        kind = number_kind(key)
        if isinstance(form, Range) and kind is None and _is_known(key, ()):
            faults.append(f"search.{key} does not hold a number: give a list of choices.")
        if isinstance(form, Range) and kind is int:
            ends = (form.low, form.high, form.step or 1)
            if not all(float(number).is_integer() for number in ends):
                faults.append(f"search.{key} must have whole numbers, but got {list(ends)}.")
        if isinstance(form, Choice) and kind is not None:
            words = words_of(key)
            texts = [v for v in form.choices if isinstance(v, str) and v not in words]
            faults += [
                f"search.{key} must be a list of numbers, but got the text '{text}'."
                f"{hint_for(text)}"
                for text in texts
            ]
    return faults


def _condition_faults(file: SweepFile) -> list[str]:
    faults = []
    for key, form in file.dimensions.items():
        for parent, allowed in form.when.items():
            faults += _one_condition(file, f"search.{key}.when.{parent}", parent, allowed)
    return faults


def _one_condition(file: SweepFile, place: str, parent: str, allowed: list[Value]) -> list[str]:
    decided = [*file.search, *file.fixed]
    if parent not in decided:
        return [f"{place}: '{parent}' is neither searched nor fixed.{nearest(parent, decided)}"]
    form = file.dimensions.get(parent)
    if isinstance(form, Range):
        return [f"{place}: '{parent}' is a range; a condition needs a list of choices."]
    possible = form.choices if form else [file.fixed[parent]]
    return [
        f"{place}: '{parent}' never is {value!r}. It is one of {possible}."
        for value in allowed
        if value not in possible
    ]


def _start_faults(space: SearchSpace) -> list[str]:
    faults = []
    for place, start in enumerate(space.file.start_from):
        name = f"start_from[{place}]"
        unknown = [key for key in start if key not in space.dimensions]
        faults += [
            f"{name}.{key} is not under search.{nearest(key, list(space.dimensions))}"
            for key in unknown
        ]
        if not unknown:
            faults += _start_value_faults(space, name, start)
    return faults


def _start_value_faults(space: SearchSpace, name: str, start: Mapping[str, Value]) -> list[str]:
    full = space.complete(start)
    idle = [key for key in start if key not in full]
    faults = [f"{name}.{key} is given, but its condition does not hold there." for key in idle]
    for key, value in full.items():
        if not contains(space.dimensions[key], value):
            origin = "" if key in start else " (its default: name it in the start point)"
            faults.append(f"{name}.{key} must lie in the space, but got {value!r}{origin}.")
    return faults


def contains(form: Choice | Range, value: Any) -> bool:
    """Whether a value lies in a dimension."""
    if isinstance(form, Choice):
        return value in form.choices
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and form.low <= value <= form.high
