"""How a trial is trained: the optimiser, early stopping, and what of a language model moves."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cmir.sections.section import PER_REPLICA, Section

Precision = Literal["full", "reduced"]

DEFAULT_BACKBONE_LEARNING_RATE = 2e-5
DEFAULT_ADAPTER_LEARNING_RATE = 2e-4
OF_TRAINED_BACKBONES = ("backbone_learning_rate", "backbone_batch_size", "backbone_rank")


DEFAULT_MODULATION = 0.5


def _is_not_given(value: object) -> bool:
    return value is None


def _is_none(value: object) -> bool:
    return value == "none"


class TrainingConfig(Section):
    """Optimisation with AdamW and early stopping per replica."""

    batch_size: int = Field(48, ge=2)
    learning_rate: float = Field(5e-4, gt=0.0, json_schema_extra=PER_REPLICA)
    weight_decay: float = Field(0.01, ge=0.0, json_schema_extra=PER_REPLICA)
    epochs: int = Field(40, ge=1)
    patience: int = Field(10, ge=1, description="epochs without a better objective")
    folds: int | None = Field(
        None,
        ge=2,
        exclude_if=_is_not_given,
        description="of groups with the objective cv/<metric>: each seed leaves out one; 3 if not",
    )
    gradient_clip: float = Field(1.0, gt=0.0, description="largest gradient norm per replica")
    backbone_learning_rate: float | None = Field(
        None,
        gt=0.0,
        description="of fine-tuned language models; where not given 2e-5, of adapters 2e-4",
    )
    backbone_batch_size: int | None = Field(
        None, ge=1, description="samples a language model holds at once; the whole batch if not"
    )
    backbone_layers: Literal["all"] | int | None = Field(
        None,
        exclude_if=_is_not_given,
        description="layers of a language model that are trained: all of it, also where not given; "
        "the top k, over the outputs of those below, which are kept on disk; 0: none",
    )
    backbone_rank: int | None = Field(
        None,
        ge=1,
        exclude_if=_is_not_given,
        description="of the adapters that are trained in place of those layers' own weights",
    )
    precision: Precision = Field(
        "full",
        description="of matrix products in training: float32, or reduced to TF32 on a GPU and "
        "bfloat16 on a CPU",
    )
    averaging: Literal["none", "polynomial", "swad"] = Field(
        "polynomial",
        description="of the weights over steps; the average is evaluated and kept; swad: over the "
        "epochs before the network overfits, and evaluated at the end",
    )
    modulation: Literal["none", "ogm", "ogm_ge"] = Field(
        "none",
        exclude_if=_is_none,
        description="of gradients: smaller for modalities that are ahead; ge: with noise",
    )
    modulation_strength: float | None = Field(
        None, gt=0.0, exclude_if=_is_not_given, description="alpha of OGM; where not given .5"
    )

    @model_validator(mode="after")
    def _modulation_is_used(self) -> TrainingConfig:
        if self.modulation_strength is not None and self.modulation == "none":
            raise ValueError(
                "modulation_strength has no effect with modulation 'none': leave it out, or give "
                "it a condition (when: {training.modulation: [...]})"
            )
        return self

    @model_validator(mode="after")
    def _backbone_layers_are_some(self) -> TrainingConfig:
        layers = self.backbone_layers
        if isinstance(layers, int) and layers < 0:
            raise ValueError(f"backbone_layers must be all, or at least 0, but got {layers}")
        for name in OF_TRAINED_BACKBONES:
            if layers == 0 and getattr(self, name) is not None:
                raise ValueError(
                    f"{name} has no effect with backbone_layers 0, which trains nothing of a "
                    "language model: leave it out, or give it a condition (when: "
                    "{training.backbone_layers: [...]})"
                )
        return self

    @property
    def keeps_backbone(self) -> bool:
        """Whether language models stay as they are: they give features, and train none."""
        return self.backbone_layers == 0

    @property
    def backbone_rate(self) -> float:
        """The learning rate of language models, or of their adapters."""
        if self.backbone_learning_rate is not None:
            return self.backbone_learning_rate
        is_whole = self.backbone_rank is None
        return DEFAULT_BACKBONE_LEARNING_RATE if is_whole else DEFAULT_ADAPTER_LEARNING_RATE
