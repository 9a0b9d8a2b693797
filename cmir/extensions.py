"""Extension points: registries of views, partitions, penalties, networks, file formats, baselines.

A view, a partition, a penalty, a unimodal network, a file format and a baseline are each a function
with a decorator of this file above it; those of this project stand in the module that their door
names. The doors lie below the configuration, so that it can check a name and its settings without
importing the method before somebody asks. `docs/extending.md` has an example of each.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel

from cmir.errors import InputError

Function = TypeVar("Function", bound=Callable[..., Any])
Settings = Mapping[str, Mapping[str, Any]]
NAME = re.compile(r"[a-z][a-z0-9_]*")
RESERVED = ("none",)
# A registered version ships this file under another package's name, with the modules beside it.
PACKAGE = __name__.rpartition(".")[0]
# The attribute by which a decorated function is known to whoever imports its module.
MARK = "__cmir_extension__"


@dataclass(frozen=True)
class Extension:
    """What has been added under a name.

    Attributes:
        name: by which it is chosen.
        make: the function.
        settings: fields that the function takes as its keyword `settings`; None: it has none.
    """

    name: str
    make: Callable[..., Any]
    settings: type[BaseModel] | None = None

    @property
    def module(self) -> str:
        """Where the function is defined."""
        return self.make.__module__

    def given(self, settings: Settings) -> Callable[..., Any]:
        """The function, with its own part of the settings of all in place, defaults filled in."""
        if self.settings is None:
            return self.make
        own = self.settings.model_validate(settings.get(self.name, {}))

        def bound(*arguments: Any) -> Any:
            return self.make(*arguments, settings=own)

        return bound

    def filled(self, settings: Settings) -> dict[str, Any]:
        """Its own settings as plain values, defaults filled in; empty where it has none."""
        if self.settings is None:
            return {}
        return self.settings.model_validate(settings.get(self.name, {})).model_dump(mode="json")


Kind = TypeVar("Kind", bound=Extension)


class Door(Mapping[str, Kind], Generic[Kind]):
    """The extensions of one kind by name, in the order in which they were added.

    The module with those of this project is imported when somebody first looks.
    """

    def __init__(self, what: str, home: str) -> None:
        self.what, self._home = what, f"{PACKAGE}.{home}"
        self._found: dict[str, Kind] = {}
        self._is_open = False

    def add(self, entry: Kind) -> None:
        """Adds an extension.

        Raises:
            InputError: the name cannot be used, or another module has it.
        """
        name = entry.name
        if not NAME.fullmatch(name) or name in RESERVED:
            raise InputError(
                f"{entry.module}: the name of a {self.what} must be of small letters, digits and "
                f"_, begin with a letter, and not be {', '.join(RESERVED)}, but is '{name}'."
            )
        required = [key for key, field in _fields(entry).items() if field.is_required()]
        if required:
            raise InputError(
                f"{entry.module}: each setting of the {self.what} '{name}' must have a default, "
                f"but {', '.join(required)} has none."
            )
        if entry.module != self._home:
            self._open()
        before = self._found.get(name)
        if before is not None and before.module != entry.module:
            raise InputError(
                f"{entry.module}: there is a {self.what} '{name}' already, in {before.module}. "
                "Choose another name."
            )
        self._found[name] = entry

    def of(self, name: str) -> Kind | None:
        """The extension of a name; None for `none` and any other word."""
        return None if name in RESERVED else self.get(name)

    def __getitem__(self, name: str) -> Kind:
        return self._open()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._open())

    def __len__(self) -> int:
        return len(self._open())

    def _open(self) -> dict[str, Kind]:
        if not self._is_open:
            self._is_open = True  # Before the import, which comes back here.
            try:
                importlib.import_module(self._home)
            except BaseException:
                self._is_open = False
                raise
        return self._found


@dataclass(frozen=True)
class View(Extension):
    """A way to perturb unimodal vectors; see `view`."""

    rate: float = 1.0
    has_strength: bool = False


@dataclass(frozen=True)
class Partition(Extension):
    """A way to group the training samples; see `partition`."""

    groups: Callable[[Any], int] | None = None
    check: Callable[[Any], None] | None = None
    revision: int | None = None


@dataclass(frozen=True)
class Penalty(Extension):
    """A penalty over the environments of a partition; see `penalty`."""

    memory: Callable[[int, Any], Any] | None = None
    is_share: bool = False
    parts: Callable[[Any, int], Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Unimodal(Extension):
    """A network from the features of one modality to one vector; see `unimodal`."""

    parts: Callable[..., Any] = dict
    reads: Literal["vectors", "means", "steps"] = "steps"

    def given_parts(self, settings: Settings) -> Callable[..., Any]:
        """What makes the network's weights, with its own settings in place."""
        return Extension(self.name, self.parts, self.settings).given(settings)


@dataclass(frozen=True)
class FileFormat(Extension):
    """A reader of feature files; see `file_format`."""

    @property
    def options(self) -> frozenset[str]:
        """The options of `prepare` that it takes: its parameters that must be named."""
        return frozenset(
            name for name, one in self._parameters.items() if one.kind is one.KEYWORD_ONLY
        )

    @property
    def takes_several(self) -> bool:
        """Whether it reads several files at once: its parameter is `*paths`."""
        return any(one.kind is one.VAR_POSITIONAL for one in self._parameters.values())

    @property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.make).parameters


@dataclass(frozen=True)
class Baseline(Extension):
    """What a winner is compared with; see `baseline`."""


VIEWS: Door[View] = Door("view", "method.environments.perturbations")
PARTITIONS: Door[Partition] = Door("partition", "method.environments.partition_schemes")
PENALTIES: Door[Penalty] = Door("penalty", "method.losses.penalty_schemes")
UNIMODAL: Door[Unimodal] = Door("unimodal network", "method.networks.unimodal")
FILE_FORMATS: Door[FileFormat] = Door("file format", "data.formats.readers")
BASELINES: Door[Baseline] = Door("baseline", "method.baseline_recipes")

DOORS: Mapping[str, Door[Any]] = {
    "view": VIEWS,
    "partition": PARTITIONS,
    "penalty": PENALTIES,
    "unimodal": UNIMODAL,
    "file_format": FILE_FORMATS,
    "baseline": BASELINES,
}


def view(
    name: str,
    *,
    rate: float = 1.0,
    has_strength: bool = False,
    settings: type[BaseModel] | None = None,
) -> Callable[[Function], Function]:
    """Adds a view: `f(features, count, rates, generators)` makes K perturbed copies of each sample.

    Features are `(replica, modality, batch, d)`, rates `(replica, modality)`, and the result is
    `(replica, modality, view, batch, d)`; random numbers of replica r come from generator r.

    Args:
        name: value of `environments.view`.
        rate: of a modality whose rate is not given.
        has_strength: whether `environments.strength` multiplies the rates.
        settings: of its own, searched as `environments.view_settings.<name>.<setting>`.
    """
    return lambda make: _added(VIEWS, View(name, make, settings, rate, has_strength))


def partition(
    name: str,
    *,
    groups: Callable[[Any], int] | None = None,
    check: Callable[[Any], None] | None = None,
    revision: int | None = None,
    settings: type[BaseModel] | None = None,
) -> Callable[[Function], Function]:
    """Adds a partition: `f(wanted)` gives each training sample its group, `(n,)` from 0 on.

    `wanted` is a `cmir.method.environments.partition_schemes.Wanted`: the data, the number of
    groups, a seed, and on demand the reference predictor.

    Args:
        name: value of `environments.partition`.
        groups: where it has its own number of groups, that number for `DevelopmentData`; else
            `environments.groups` says how many it shall make.
        check: raises InputError for `DevelopmentData` that it cannot group; cheap.
        revision: where it is costly, a number under which its groups are kept on disk for all
            processes of a sweep: raise it when the function changes.
        settings: of its own, searched as `environments.partition_settings.<name>.<setting>`.
    """
    return lambda make: _added(PARTITIONS, Partition(name, make, settings, groups, check, revision))


def penalty(
    name: str,
    *,
    memory: Callable[[int, Any], Any] | None = None,
    is_share: bool = False,
    parts: Callable[[Any, int], Mapping[str, Any]] | None = None,
    settings: type[BaseModel] | None = None,
) -> Callable[[Function], Function]:
    """Adds a penalty: `f(batch)` gives one value per replica `(replica,)`, and its memory.

    `batch` is a `cmir.method.losses.penalty_schemes.PenaltyBatch`.

    Args:
        name: value of `loss.penalty`.
        memory: what it knows of an environment before the first step: from the number of
            environments and the `TrialConfig` to `(environment, numbers)`; default: nothing.
        is_share: whether its weight is a share, at most 1.
        parts: weights that it trains beside the network's, by names that begin with `penalty.`:
            from the `Network` and the number of environments to a `Part` each; default: none.
        settings: of its own, searched as `loss.penalty_settings.<name>.<setting>`.
    """
    return lambda make: _added(PENALTIES, Penalty(name, make, settings, memory, is_share, parts))


def unimodal(
    name: str,
    *,
    parts: Callable[..., Any],
    reads: Literal["vectors", "means", "steps"],
    settings: type[BaseModel] | None = None,
) -> Callable[[Function], Function]:
    """Adds a unimodal network: `f(weights, name, inputs, config)` gives `(replica, batch, d)`.

    Args:
        name: value of `model.unimodal.<modality>`.
        parts: its weights: `parts(name, size, config)` names each a `Part`, names beginning with
            `name`; size is D of the features, config a `ModelConfig`.
        reads: `vectors`: features without steps; `means`: the mean of a sequence's steps; `steps`:
            the whole sequence with its mask.
        settings: of its own, which `parts` takes as well, searched as
            `model.unimodal_settings.<name>.<setting>`.
    """
    return lambda make: _added(UNIMODAL, Unimodal(name, make, settings, parts, reads))


def file_format(name: str) -> Callable[[Function], Function]:
    """Adds a file format: `f(path)` or `f(*paths)` gives a `cmir.data.formats.source.Source`.

    Its parameters that must be named are the options of `prepare` that it takes: any of `label`,
    `task`, `names`, `threshold`, `splits` and `steps`.

    Args:
        name: first argument of `prepare`.
    """
    return lambda make: _added(FILE_FORMATS, FileFormat(name, make))


def baseline(name: str) -> Callable[[Function], Function]:
    """Adds a baseline: `f(config)` gives the configurations of which the best is the opponent.

    Args:
        name: value of `gates.baseline`.
    """
    return lambda make: _added(BASELINES, Baseline(name, make))


def adopt(module: Any) -> None:
    """Adds what a module's decorated functions say of themselves and these doors do not know yet.

    In a registered version these doors are a copy, which the decorators of a plugin do not reach.
    """
    for function in filter(inspect.isfunction, list(vars(module).values())):
        if hasattr(function, MARK):
            kind, entry = getattr(function, MARK)
            if entry.name not in DOORS[kind]:
                DOORS[kind].add(entry)


def _fields(entry: Extension) -> Mapping[str, Any]:
    return {} if entry.settings is None else entry.settings.model_fields


def _added(door: Door[Any], entry: Extension) -> Any:
    door.add(entry)
    kind = next(name for name, one in DOORS.items() if one is door)
    setattr(entry.make, MARK, (kind, entry))
    return entry.make
