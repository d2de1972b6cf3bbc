"""The ``[pii]`` section of the configuration."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from stages.pii.detect.settings import DetectSettings

Action = Literal["flag", "redact", "drop"]
EntityName = Annotated[str, StringConstraints(pattern=r"^[A-Z]+(_[A-Z]+)*$")]

DEFAULT_POLICIES: dict[str, Action] = {
    "PERSON": "flag",
    "ORGANIZATION": "flag",
    "LOCATION": "flag",
    "STREET_ADDRESS": "flag",
    "NRP": "flag",
    "DATE_TIME": "flag",
    "URL": "flag",
}


class PiiSettings(BaseModel):
    """What happens to personal data in the texts and identifiers of an event."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    policies: dict[EntityName, Action] = Field(
        default={},
        description=(
            "What to do with an entity. flag: count it and leave the text; redact: put a typed "
            "placeholder such as <EMAIL_ADDRESS> in its place; drop: replace the whole text by "
            "[WITHHELD]. Names, organisations, places, dates and URLs are flagged by default; "
            "every other entity is redacted: e-mail and IP addresses, phone, social security, "
            "card, account, passport, licence and tax numbers, wallets, secrets."
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

    def action(self, entity: str) -> Action:
        """The action for an entity: the configured one, the default one, else ``redact``."""
        return self.policies.get(entity) or DEFAULT_POLICIES.get(entity, "redact")
