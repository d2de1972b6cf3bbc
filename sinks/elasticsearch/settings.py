"""The ``[elasticsearch]`` section of the configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class ElasticsearchSettings(BaseModel):
    """The cluster that the documents are in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    urls: tuple[str, ...] = Field(
        default=("http://127.0.0.1:9200",), min_length=1, description="Addresses of the nodes."
    )
    user: str = Field(default="", description="Who signs in; empty: see api_key.")
    password: SecretStr = Field(default=SecretStr(""), description="The password of the user.")
    api_key: SecretStr = Field(default=SecretStr(""), description="An API key instead of both.")
    prefix: str = Field(
        default="memory-",
        pattern=r"^[a-z][a-z0-9-]*-$",
        description="Beginning of the name of every index and template.",
    )
    shards: int = Field(default=1, ge=1, le=64, description="Primary shards of an index.")
    replicas: int = Field(default=1, ge=0, le=8, description="Copies of each shard.")
    timeout_seconds: float = Field(default=5.0, gt=0, le=300, description="Time for one call.")
    batch_documents: int = Field(
        default=1_000, ge=1, le=5_000, description="Most documents in one bulk request."
    )
    max_record_bytes: int = Field(
        default=8 << 20, ge=1_024, le=64 << 20, description="Largest document, in bytes of UTF-8."
    )
