"""The ``[embed]`` section of the configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["auto", "f32", "bf16"]


class EmbedSettings(BaseModel):
    """How texts become vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["inline", "off"] = Field(
        default="inline",
        description="inline: prompts and responses get a vector as they pass; off: none.",
    )
    precision: Precision = Field(
        default="auto",
        description=(
            "Arithmetic of the encoder: bf16 is twice as fast where the CPU has it and keeps a "
            "cosine of 0.9999 to f32; auto takes bf16 on such a CPU and f32 elsewhere."
        ),
    )
    threads: int = Field(default=1, ge=1, le=256, description="CPU threads of the encoder.")
    batch_size: int = Field(
        default=16, ge=1, le=128, description="Most texts in one run of the encoder."
    )
    cache_entries: int = Field(
        default=10_000,
        ge=0,
        le=10_000_000,
        description="Vectors kept in memory by text hash, 1.5 KiB each; 0 keeps none.",
    )
