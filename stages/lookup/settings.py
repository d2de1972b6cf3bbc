"""The ``[lookup]`` section of the configuration."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

HOUR_MS = 3_600_000


class LookupSettings(BaseModel):
    """Models and their prices, users and their tenants, the join of responses and prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: Path | None = Field(
        default=None,
        description=(
            "A TOML file of models and prices of your own. It is read after the shipped list; an "
            "entry replaces the shipped one of the same provider and id."
        ),
    )
    users: Path | None = Field(
        default=None,
        description=(
            "A TOML file that says to which tenant and organisation a user belongs and from when. "
            "Without it every user is unknown."
        ),
    )
    orphan_after_hours: float = Field(
        default=24.0,
        gt=0,
        le=87_600,
        description=(
            "How long, in log time, a response waits for its prompt before it is stored with what "
            "it has. A prompt that comes later still completes it."
        ),
    )
    join_retention_hours: float = Field(
        default=168.0,
        gt=0,
        le=87_600,
        description=(
            "How long, in log time, prompts and responses are kept for their other side to come; "
            "not shorter than orphan_after_hours."
        ),
    )
    orphans_per_chunk: int = Field(
        default=500,
        ge=1,
        le=100_000,
        description="Most responses that become orphans with one chunk; the rest follow.",
    )

    @property
    def orphan_after_ms(self) -> int:
        return round(self.orphan_after_hours * HOUR_MS)

    @property
    def join_retention_ms(self) -> int:
        return round(self.join_retention_hours * HOUR_MS)

    @model_validator(mode="after")
    def _retention_covers_orphans(self) -> LookupSettings:
        if self.join_retention_hours < self.orphan_after_hours:
            raise ValueError("join_retention_hours must not be less than orphan_after_hours")
        return self
