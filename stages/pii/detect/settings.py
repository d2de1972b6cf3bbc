"""What the detectors look for."""

from __future__ import annotations

from difflib import get_close_matches

from pydantic import BaseModel, ConfigDict, Field, field_validator

from .rules import PATTERN_ENTITIES
from .spans import NAME_ENTITIES

ENTITIES = PATTERN_ENTITIES | NAME_ENTITIES


class DetectSettings(BaseModel):
    """Settings of personal-data detection."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    entities: tuple[str, ...] | None = Field(
        default=None, description="Entities to look for, by name; all when absent."
    )
    threshold: float = Field(
        default=0.5, ge=0.0, le=1.0, description="Least score of a pattern match that counts."
    )
    phone_regions: tuple[str, ...] = Field(
        default=("US", "GB", "DE", "FR", "ES", "IT", "NL", "PL", "IN", "AU", "BR"),
        description="Regions (ISO 3166) in whose national format phone numbers are sought; "
        "numbers with a country code are found whatever the region.",
    )
    names: bool = Field(default=True, description="Whether to look for names as well.")
    ner_model: str | None = Field(
        default=None,
        description="Name or folder of an installed spaCy model; the shipped one when absent.",
    )
    ner_languages: tuple[str, ...] = Field(
        default=("en",), description="Languages (ISO 639-1) of the texts the name model reads."
    )

    @field_validator("entities")
    @classmethod
    def _known(cls, entities: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for entity in entities or ():
            if entity not in ENTITIES:
                near = get_close_matches(entity, sorted(ENTITIES), n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"no such entity: {entity!r}{hint}")
        return entities
