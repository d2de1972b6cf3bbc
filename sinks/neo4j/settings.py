"""The ``[neo4j]`` section of the configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class Neo4jSettings(BaseModel):
    """The server that the graph is in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str = Field(
        default="bolt://127.0.0.1:7687",
        description="Address: bolt or neo4j, with +s for TLS (neo4j+s://…).",
    )
    user: str = Field(default="neo4j", description="Who signs in.")
    password: SecretStr = Field(
        default=SecretStr(""), description="The password; empty signs in without."
    )
    database: str = Field(default="neo4j", min_length=1, description="Database of the graph.")
    pool_size: int = Field(default=50, ge=1, le=1_000, description="Most connections.")
    timeout_seconds: float = Field(
        default=5.0, gt=0, le=300, description="Time for a connection and for one call."
    )
    batch_rows: int = Field(
        default=1_000, ge=1, le=10_000, description="Most rows in one statement."
    )
    max_record_bytes: int = Field(
        default=8 << 20, ge=1_024, description="Largest record the graph takes, in bytes of UTF-8."
    )
