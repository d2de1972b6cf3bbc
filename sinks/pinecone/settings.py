"""The ``[pinecone]`` section of the configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class PineconeSettings(BaseModel):
    """The index that the vectors are in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        default="", description="Address of the index, as its page or describe_index shows it."
    )
    api_key: SecretStr = Field(default=SecretStr(""), description="The API key.")
    dimensions: int = Field(default=384, ge=1, le=20_000, description="Dimensions of the index.")
    prefix: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9_.-]{0,64}$",
        description="Beginning of every namespace, where several set-ups share one index.",
    )
    connections: int = Field(
        default=8, ge=1, le=100, description="Most requests of one batch at a time."
    )
    timeout_seconds: float = Field(default=5.0, gt=0, le=300, description="Time for one call.")
