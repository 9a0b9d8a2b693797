"""The network of a trial: sizes, and which network each modality enters."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from cmir.extension_fields import NameOf, OwnSettings, SettingsOf, own_settings, refuse_unused
from cmir.sections.section import Section

UnimodalKind = Annotated[str, NameOf("unimodal")]


class ModelConfig(Section):
    """Sizes of the network. `representation_size` is the paper's d, `hidden_size` its d'."""

    representation_size: int = Field(150, ge=2, le=4096)
    hidden_size: int = Field(128, ge=2, le=4096)
    invariant_size: int | None = Field(
        None,
        ge=1,
        le=4096,
        exclude_if=lambda value: value is None,
        description="width of Z_inv; by default representation_size, that of Z_spu",
    )
    modalities: tuple[str, ...] = Field((), strict=False, description="empty: all of the data set")
    unimodal: dict[str, UnimodalKind] = Field(
        default_factory=dict, description="network of a modality; by shape where not named"
    )
    backbone: dict[str, str] = Field(
        default_factory=dict,
        description="language model of a modality, which reads raw_text or text_bert: a folder, a "
        "name of the hub, or minilm",
    )
    fuse: dict[str, str] = Field(
        default_factory=dict,
        description="stream: modality it is joined to before that one's first layer, as humour: "
        "text (Mai and Han 2026, Eq. 13)",
    )
    transformer_layers: int = Field(1, ge=1, le=12)
    transformer_heads: int = Field(2, ge=1, le=16)
    unimodal_settings: Annotated[OwnSettings, SettingsOf("unimodal")] = own_settings()

    @property
    def invariant_width(self) -> int:
        """Features of Z_inv of a modality."""
        return self.invariant_size or self.representation_size

    @model_validator(mode="after")
    def _settings_are_used(self) -> ModelConfig:
        chosen = [self.unimodal[name] for name in sorted(self.unimodal)]
        key = "model.unimodal.<modality>"
        refuse_unused("unimodal_settings", self.unimodal_settings, key, chosen)
        return self

    @model_validator(mode="after")
    def _heads_divide_the_size(self) -> ModelConfig:
        if self.representation_size % self.transformer_heads:
            raise ValueError(
                f"representation_size must be a multiple of transformer_heads, but got "
                f"{self.representation_size} and {self.transformer_heads}; a range that is "
                f"searched needs such a step"
            )
        return self

    @model_validator(mode="after")
    def _streams_are_fused_once(self) -> ModelConfig:
        for stream, target in self.fuse.items():
            if target in self.fuse:
                raise ValueError(
                    f"fuse.{stream} must name a modality that is not fused itself, but got "
                    f"'{target}'"
                )
            if stream in self.unimodal:
                raise ValueError(
                    f"unimodal.{stream} has no effect: the stream is fused into '{target}' and "
                    "has no network of its own"
                )
        return self
