"""Settings of the validate stage."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ValidateSettings(BaseModel):
    """Limits of what is taken for an event. All times are measured against the log timestamp."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ahead_seconds: int = Field(
        default=300,
        ge=0,
        description="How far an event's timestamp may lie after its log timestamp.",
    )
    behind_seconds: int = Field(
        default=30 * 86_400,
        ge=0,
        description="How far an event's timestamp may lie before its log timestamp.",
    )
    max_bytes: int = Field(
        default=8 * 1024 * 1024,
        ge=1,
        description="Largest record value, in bytes.",
    )
    max_depth: int = Field(
        default=64,
        ge=8,
        le=200,
        description="Deepest nesting of objects and arrays; the event itself is depth 1.",
    )
