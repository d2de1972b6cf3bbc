"""The ``[embed]`` section of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

Precision = Literal["auto", "f32", "bf16"]
Provider = Literal["local", "openai", "cohere", "sentence-transformers"]


class EmbedSettings(BaseModel):
    """How texts become vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["inline", "deferred", "off"] = Field(
        default="inline",
        description=(
            "inline: prompts and responses get a vector as they pass; deferred: they pass without, "
            "and memory-graph enrich fills it in; off: none."
        ),
    )
    provider: Provider = Field(
        default="local",
        description=(
            "Who makes the vectors: local, the encoder that comes with the worker; openai and "
            "cohere, their services or one that speaks like them; sentence-transformers, any of "
            "its models on this machine (an extra)."
        ),
    )
    model: str = Field(
        default="",
        description=(
            "The provider's model: text-embedding-3-small, embed-v4.0 or all-MiniLM-L6-v2 where it "
            "is not given. The local encoder has one only."
        ),
    )
    dimensions: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description=(
            "Length of the vectors, where the provider can shorten them; absent: the model's own."
        ),
    )
    projection: Path | None = Field(
        default=None,
        description=(
            "A fitted projection to fewer dimensions (memory-graph embed fit), for models that "
            "cannot shorten their vectors themselves."
        ),
    )
    base_url: str = Field(
        default="",
        pattern=r"^(https?://[^\s/?#@]+(/[^\s?#]*)?)?$",
        description=(
            "Address of the service, without user or password in it; empty: the provider's own."
        ),
    )
    api_key: SecretStr = Field(default=SecretStr(""), description="Key of the service.")
    timeout_seconds: float = Field(
        default=15.0, gt=0, le=300, description="Time for one call to the service."
    )
    retries: int = Field(
        default=2,
        ge=0,
        le=10,
        description=(
            "How often a call that failed for now is repeated before the texts go on without a "
            "vector."
        ),
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
        description="Vectors kept in memory by text hash, 4 bytes a dimension; 0 keeps none.",
    )

    @property
    def is_here(self) -> bool:
        """Whether the model runs in this process."""
        return self.provider in ("local", "sentence-transformers")

    @model_validator(mode="after")
    def _fits_the_provider(self) -> EmbedSettings:
        if self.provider == "local" and (self.model or self.dimensions or self.base_url):
            raise ValueError("model, dimensions and base_url need a provider other than local")
        if self.dimensions is not None and self.projection is not None:
            raise ValueError("give dimensions or projection, not both")
        return self
