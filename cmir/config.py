"""The configuration of one trial: frozen models that refuse unknown keys and unused settings.

A trial is one configuration times its seeds. Every field states its range; fields marked
`PER_REPLICA` may differ between the replicas of one stack, all others shape the network or the
data flow and must agree ("structural").
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from cmir.dotted_keys import field_at, fields_of, flattened, kinds_of, nested
from cmir.errors import InputError, explain
from cmir.extension_fields import NameOf, OwnSettings, SettingsOf, own_settings, refuse_unused
from cmir.extensions import PARTITIONS, PENALTIES, VIEWS
from cmir.sections.model_config import ModelConfig as ModelConfig
from cmir.sections.model_config import UnimodalKind as UnimodalKind
from cmir.sections.section import PER_REPLICA
from cmir.sections.section import Section as Section
from cmir.sections.training_config import OF_TRAINED_BACKBONES
from cmir.sections.training_config import Precision as Precision
from cmir.sections.training_config import TrainingConfig as TrainingConfig

View = Annotated[str, NameOf("view", ("none",))]
PartitionName = Annotated[str, NameOf("partition", ("none",), is_open=True)]
Penalty = Annotated[str, NameOf("penalty")]
Rate = Annotated[float, Field(ge=0.0, le=1.0)]


def on_validation(objective: str, or_else: Iterable[str] = ()) -> str:
    """The objective, if it is a metric on a validation split; `or_else` are named beside them."""
    split, _, metric = objective.partition("/")
    if split not in ("id_val", "ood_val", CV) or not metric:
        others = "".join(f" (or {name})" for name in or_else)
        raise ValueError(
            f"objective must be <split>/<metric> with a validation split, id_val, ood_val or {CV}"
            f"{others}, but got '{objective}'. Held-out data is read by promotion alone"
        )
    return objective


def is_cross_validated(objective: str) -> bool:
    """Whether folds of the training groups are left out for it.

    Example:
        >>> is_cross_validated("cv/mae"), is_cross_validated("ood_val/mae")
        (True, False)
    """
    return objective.startswith(f"{CV}/")


Objective = Annotated[str, AfterValidator(on_validation)]
PredictionLoss = Literal["mse", "mae", "bce", "cross_entropy", "label_bce"]

# Cross-validation over the groups of the training split, see `cmir.method.training.folds`.
CV = "cv"
DEFAULT_FOLDS = 3
DEFAULT_COUNT = 4
DEFAULT_STRENGTH = 0.1
DEFAULT_GROUPS = 4


class EnvironmentsConfig(Section):
    """How samples are told apart: perturbed views of each sample, and a partition of the samples.

    `view` makes K = `count` perturbed copies of every sample's unimodal vectors (environments
    e = 1..K, the clean copy is environment 0). `noise` adds Gaussian noise of standard deviation
    `strength * e * rate[m]` (Mai and Han 2026, Eq. 3); `erase` zeroes and `swap` replaces the
    vector of modality m by another sample's with probability `rate[m] * e / K`.
    `partition` groups the training samples into `groups` environments: `random`, `kmeans`,
    `label_kmeans` or the name of a metadata column; `error`, `eiil` and `oracle` have their own
    number of them (`cmir.method.environments.partition_schemes`).
    """

    view: View = "none"
    count: int | None = Field(None, ge=1, le=32, description="K, number of perturbed views")
    strength: float | None = Field(
        None, ge=0.0, json_schema_extra=PER_REPLICA, description="alpha_1 of Eq. 3, noise only"
    )
    rate: dict[str, Rate] = Field(
        default_factory=dict, json_schema_extra=PER_REPLICA, description="per modality, in [0, 1]"
    )
    partition: PartitionName = "none"
    groups: int | None = Field(None, ge=2, le=64, description="number of groups of the partition")
    view_settings: Annotated[OwnSettings, SettingsOf("view")] = own_settings()
    partition_settings: Annotated[OwnSettings, SettingsOf("partition")] = own_settings()

    @model_validator(mode="after")
    def _settings_are_used(self) -> EnvironmentsConfig:
        unused = {
            "count": self.count is not None and self.view == "none",
            "strength": self.strength is not None and not self.has_strength,
            "rate": bool(self.rate) and self.view == "none",
            "groups": self.groups is not None and (self.group_count or 1) == 1,
        }
        for name, is_unused in unused.items():
            if is_unused:
                scheme = "partition" if name == "groups" else "view"
                raise ValueError(
                    f"{name} has no effect with {scheme} '{getattr(self, scheme)}': leave it out, "
                    f"or give it a condition (when: {{environments.{scheme}: [...]}})"
                )
        for scheme in ("view", "partition"):
            given = getattr(self, f"{scheme}_settings")
            key, chosen = f"environments.{scheme}", getattr(self, scheme)
            refuse_unused(f"{scheme}_settings", given, key, [chosen])
        return self

    @property
    def views(self) -> int:
        """Number K of perturbed views, 0 for `none`."""
        return 0 if self.view == "none" else (self.count or DEFAULT_COUNT)

    @property
    def has_strength(self) -> bool:
        """Whether the view has a strength, as `noise` has alpha_1."""
        view = VIEWS.of(self.view)
        return view is not None and view.has_strength

    @property
    def noise_strength(self) -> float:
        """alpha_1 of Eq. 3; 0 where the view has no strength."""
        if not self.has_strength:
            return 0.0
        return DEFAULT_STRENGTH if self.strength is None else self.strength

    @property
    def group_count(self) -> int | None:
        """Number of groups to make, 1 for `none`; None where the partition has its own number."""
        partition = PARTITIONS.of(self.partition)
        if partition is not None and partition.groups is not None:
            return None
        return 1 if self.partition == "none" else (self.groups or DEFAULT_GROUPS)

    def rate_of(self, modality: str) -> float:
        """Rate of one modality: as given, else 1 for noise and .5 for erase and swap."""
        return self.rate.get(modality, default_rate(self.view))


class LossConfig(Section):
    """The terms of the objective (Mai and Han 2026, Eq. 9) and their forms.

    A weight multiplies a term that may be absent: `invariance` without views and the `penalty`
    without a partition are zero terms. For `group_dro` the term is what its loss adds to the mean
    error, so that a weight of 1 is GroupDRO and 0 ERM.
    """

    prediction: Literal["auto", PredictionLoss] = "auto"
    prediction_views: Literal["clean", "all"] = "clean"
    class_weights: Literal["none", "balanced"] = Field(
        "none",
        exclude_if=lambda value: value == "none",
        description="of classes or labels: all alike, or the rarer the more",
    )
    label_smoothing: float = Field(
        0.0,
        ge=0.0,
        lt=1.0,
        exclude_if=lambda value: value == 0,
        description="share of each class label that is spread evenly",
    )
    invariance: float = Field(0.01, ge=0.0, json_schema_extra=PER_REPLICA)
    invariance_form: Literal["representations", "predictions"] = Field(
        "representations", description="Eq. 4, or the standard form of App. H"
    )
    mutual_information: float = Field(0.01, ge=0.0, json_schema_extra=PER_REPLICA)
    decorrelation: Literal["samples", "cross_covariance", "hsic"] = Field(
        "samples", description="of both parts: Eq. 5-6 as printed, or between their features"
    )
    reconstruction: float = Field(0.01, ge=0.0, json_schema_extra=PER_REPLICA)
    label_leak: float = Field(
        0.0,
        ge=0.0,
        json_schema_extra=PER_REPLICA,
        exclude_if=lambda value: value == 0,
        description="weight of the share of Z_spu that the label explains",
    )
    label_erasure: bool = Field(
        False,
        exclude_if=lambda value: not value,
        description="the label is erased from Z_spu in closed form, after training",
    )
    off_diagonal: float = Field(
        1.0, ge=0.0, le=1.0, json_schema_extra=PER_REPLICA, description="alpha of Eq. 6"
    )
    normalise: Literal["features", "batch"] = Field(
        "features", description="axis of Nor in Eq. 5, which the paper leaves open"
    )
    reduction: Literal["sum", "mean"] = Field(
        "mean", description="over features and pairs of Eq. 4-8: averaged, or summed as printed"
    )
    penalty: Penalty = Field("vrex", description="over the environments of the partition")
    penalty_weight: float = Field(1.0, ge=0.0, json_schema_extra=PER_REPLICA)
    penalty_anneal_epochs: int = Field(0, ge=0, description="epochs before the penalty counts")
    group_dro_step: float = Field(
        0.01, gt=0.0, json_schema_extra=PER_REPLICA, description="eta of GroupDRO"
    )
    penalty_settings: Annotated[OwnSettings, SettingsOf("penalty")] = own_settings()

    @model_validator(mode="after")
    def _a_share_is_at_most_one(self) -> LossConfig:
        if self.penalty_weight > 1 and PENALTIES[self.penalty].is_share:
            raise ValueError(
                f"penalty_weight must be at most 1 with penalty '{self.penalty}', but got "
                f"{self.penalty_weight}: 1 is the penalty itself, 0 ERM. Where several "
                "penalties are searched, give the weight a condition (when: {loss.penalty: "
                f"[vrex, ...]}}) and {self.penalty} keeps the default of 1"
            )
        return self

    @model_validator(mode="after")
    def _settings_are_used(self) -> LossConfig:
        refuse_unused("penalty_settings", self.penalty_settings, "loss.penalty", [self.penalty])
        return self


class TrialConfig(Section):
    """One configuration and its seeds: what `cmir.method.training.fit` needs beside the data."""

    objective: Objective = "ood_val/mae"
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0, 1, 2), strict=False, min_length=1)
    environments: EnvironmentsConfig = EnvironmentsConfig()
    loss: LossConfig = LossConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _seeds_differ(self) -> TrialConfig:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ, but got {list(self.seeds)}")
        return self

    @model_validator(mode="after")
    def _folds_are_used(self) -> TrialConfig:
        if self.training.folds is not None and not is_cross_validated(self.objective):
            raise ValueError(
                f"training.folds has no effect with the objective '{self.objective}': leave it "
                f"out, or choose {CV}/<metric>"
            )
        return self

    @model_validator(mode="after")
    def _annealing_ends(self) -> TrialConfig:
        counts = self.loss.penalty_weight > 0 and self.environments.partition != "none"
        if counts and self.loss.penalty_anneal_epochs >= self.training.epochs:
            raise ValueError(
                f"loss.penalty_anneal_epochs must be below training.epochs, or the penalty never "
                f"counts, but got {self.loss.penalty_anneal_epochs} and {self.training.epochs}"
            )
        return self

    @model_validator(mode="after")
    def _parts_can_be_compared(self) -> TrialConfig:
        own, size = self.model.invariant_width, self.model.representation_size
        if own != size and self.loss.decorrelation == "samples":
            raise ValueError(
                f"loss.decorrelation 'samples' compares parts of one width, but model."
                f"invariant_size is {own} and model.representation_size {size}: choose "
                "cross_covariance or hsic"
            )
        return self

    @model_validator(mode="after")
    def _backbone_settings_are_used(self) -> TrialConfig:
        for name in ("backbone_layers", *OF_TRAINED_BACKBONES):
            if getattr(self.training, name) is not None and not self.model.backbone:
                raise ValueError(
                    f"training.{name} has no effect without a language model in training: leave it "
                    "out, or name one with model.backbone.<modality>"
                )
        return self

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that name this configuration, seeds included."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    @property
    def structure(self) -> dict[str, Any]:
        """The settings, by dotted key, on which the configurations of one stack must agree."""
        flat = self.flat().items()
        return {key: value for key, value in flat if key != "seeds" and is_structural(key)}

    def flat(self) -> dict[str, Any]:
        """Dotted key to value, e.g. `{"loss.invariance": 0.01, ...}`; settings not given left out.

        Example:
            >>> TrialConfig(seeds=(7,)).flat()["training.batch_size"]
            48
        """
        return dict(flattened(self.model_dump(mode="json", exclude_none=True)))


def trial_config(flat: Mapping[str, Any], where: str = "configuration", **rest: Any) -> TrialConfig:
    """Builds a trial from dotted keys, such as a sampler's suggestion.

    Args:
        flat: dotted key to value, e.g. `{"environments.rate.vision": 0.5}`.
        where: what the message of an error starts with, e.g. the file's name.
        rest: top-level fields (`objective`, `seeds`).

    Raises:
        InputError: unknown key (with the nearest valid one), wrong type, value out of range,
            or a setting that its scheme does not use.

    Example:
        >>> trial_config({"environments.view": "swap"}).environments.views
        4
    """
    try:
        return TrialConfig.model_validate(nested(flat, where) | rest)
    except ValidationError as error:
        raise InputError(explain(error, where, known_keys())) from None


def is_structural(key: str) -> bool:
    """Whether the configurations of one stack must agree in a setting.

    Example:
        >>> is_structural("environments.view"), is_structural("environments.rate.vision")
        (True, False)
    """
    section, _, rest = key.partition(".")
    model = TrialConfig.model_fields[section].annotation
    if not (isinstance(model, type) and issubclass(model, Section)):
        return True
    return model.model_fields[rest.partition(".")[0]].json_schema_extra != PER_REPLICA


def known_keys(model: type[BaseModel] = TrialConfig) -> tuple[str, ...]:
    """All dotted keys of a configuration; a mapping field stands as `key.<modality>`."""
    return tuple(fields_of(model))


def number_kind(key: str) -> type[int] | type[float] | None:
    """`int` or `float` for a key that holds a number, None for any other or an unknown key."""
    field = field_at(TrialConfig, key)
    kinds = () if field is None else kinds_of(field)
    return int if int in kinds else float if float in kinds else None


def words_of(key: str) -> tuple[str, ...]:
    """The words that a key may hold beside numbers.

    Example:
        >>> words_of("training.backbone_layers"), words_of("training.epochs")
        (('all',), ())
    """
    field = field_at(TrialConfig, key)
    kinds = () if field is None else kinds_of(field)
    return tuple(word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind))


def default_rate(view: str) -> float:
    """Rate of a modality in a view where none is given.

    Example:
        >>> default_rate("swap"), default_rate("none")
        (0.5, 0.0)
    """
    found = VIEWS.of(view)
    return 0.0 if found is None else found.rate
