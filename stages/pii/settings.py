"""The ``[pii]`` section of the configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from stages.pii.detect.settings import DetectSettings
from stages.pii.policies import Policies


class PiiSettings(BaseModel):
    """How personal data is found, and what becomes of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policies: Policies = Field(
        default=Policies(),
        description=(
            "What to do with each entity. Redacted by default: whatever identifies a person "
            "directly, and secrets. Flagged: names, organisations, places."
        ),
    )
    cache_characters: int = Field(
        default=16_000_000,
        ge=0,
        le=2_000_000_000,
        description=(
            "Characters of screened texts kept in memory, so that system prompts, history and "
            "documents seen before are not scanned again; 0 keeps none."
        ),
    )
    cache_strings: int = Field(
        default=50_000,
        ge=0,
        le=10_000_000,
        description="Short strings without personal data (ids, tags, keys) kept in memory.",
    )
    detect: DetectSettings = Field(
        default=DetectSettings(), description="What the detectors look for."
    )
