"""The ``[lookup]`` section of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

HOUR_MS = 3_600_000


class LookupSettings(BaseModel):
    """Models and their prices, users and their tenants, the join of responses and prompts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    registry: Literal["file", "grpc"] = Field(
        default="file",
        description=(
            "Where models and prices come from: file, the shipped list and your own over it; grpc, "
            "a registry service (llm.registry.v1)."
        ),
    )
    models: Path | None = Field(
        default=None,
        description=(
            "A TOML file of models and prices of your own. It is read after the shipped list; an "
            "entry replaces the shipped one of the same provider and id. With a registry service "
            "only its providers' names count."
        ),
    )
    registry_address: str = Field(
        default="127.0.0.1:50051", min_length=1, description="The registry's host and port."
    )
    registry_plaintext: bool = Field(default=False, description="Talk to the registry without TLS.")
    registry_ca: Path | None = Field(
        default=None,
        description="PEM file of the authorities that the registry's certificate must come from; "
        "absent: the system's.",
    )
    registry_token: SecretStr = Field(
        default=SecretStr(""), description="Bearer token for the registry; sent over TLS only."
    )
    registry_deadline_seconds: float = Field(
        default=2.0, gt=0, le=60, description="Time for one call to the registry."
    )
    registry_cache_seconds: float = Field(
        default=300.0,
        gt=0,
        le=86_400,
        description="How long the registry's answers are remembered, also that a model is unknown.",
    )
    directory: Literal["file", "http"] = Field(
        default="file",
        description=(
            "Where users' tenants come from: file, the file named in users; http, a directory "
            "service."
        ),
    )
    users: Path | None = Field(
        default=None,
        description=(
            "A TOML file that says to which tenant and organisation a user belongs and from when. "
            "Without it every user is unknown."
        ),
    )
    directory_url: str = Field(
        default="http://127.0.0.1:8085",
        pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$",
        description="Address of the directory service, without user or password in it.",
    )
    directory_token: SecretStr = Field(
        default=SecretStr(""), description="Bearer token for the directory service."
    )
    directory_ca: Path | None = Field(
        default=None,
        description="PEM file of the authorities that the directory's certificate must come from; "
        "absent: the system's.",
    )
    directory_deadline_seconds: float = Field(
        default=2.0, gt=0, le=60, description="Time for one call to the directory service."
    )
    directory_cache_seconds: float = Field(
        default=300.0,
        gt=0,
        le=86_400,
        description="How long a user's memberships are remembered, also that a user is unknown.",
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

    @model_validator(mode="after")
    def _no_token_in_the_clear(self) -> LookupSettings:
        if self.registry_plaintext and self.registry_token.get_secret_value():
            raise ValueError("registry_token needs TLS: leave registry_plaintext out")
        address = urlsplit(self.directory_url)
        here = address.hostname in ("localhost", "127.0.0.1", "::1")
        if self.directory_token.get_secret_value() and address.scheme == "http" and not here:
            raise ValueError("directory_token needs TLS: a directory_url with https")
        return self
