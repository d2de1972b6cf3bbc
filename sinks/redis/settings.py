"""The ``[redis]`` section of the configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class RedisSettings(BaseModel):
    """The server of claims, joins and caches: a primary, with or without replicas, no cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(
        default="redis://127.0.0.1:6379/0", description="Address: redis, or rediss for TLS."
    )
    user: str = Field(default="", description="Who signs in; empty is the default user.")
    password: SecretStr = Field(default=SecretStr(""), description="The password.")
    prefix: str = Field(default="memory", min_length=1, description="Beginning of every key.")
    pool_size: int = Field(default=100, ge=1, le=10_000, description="Most connections.")
    claim_hours: float = Field(
        default=24.0,
        ge=1,
        le=8_760,
        description=(
            "How long, by the server's clock, a claim is kept; about 250 bytes each. Not less than "
            "the worker may be stopped: an event id that comes again later passes as new."
        ),
    )
    timeout_seconds: float = Field(default=2.0, gt=0, le=300, description="Time for one call.")
