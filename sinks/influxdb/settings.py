"""The ``[influxdb]`` section of the configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class InfluxSettings(BaseModel):
    """The server that the time series is in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str = Field(default="http://127.0.0.1:8086", description="Address of InfluxDB 2.")
    token: SecretStr = Field(default=SecretStr(""), description="A token that reads and writes.")
    org: str = Field(default="memory", min_length=1, description="Organisation of the bucket.")
    bucket: str = Field(
        default="memory",
        pattern=r"^[^_/\"'\\\s][^/\"'\\\s]*$",
        description="Bucket of the points; what was erased is told in a second, <bucket>-erased.",
    )
    retention_days: int | None = Field(
        default=None, ge=1, description="Age at which points go; absent keeps them."
    )
    timeout_seconds: float = Field(default=5.0, gt=0, le=300, description="Time for one call.")
    batch_lines: int = Field(
        default=1_000, ge=1, le=5_000, description="Most points in one request."
    )
    max_tag_bytes: int = Field(
        default=1_024, ge=16, le=4_096, description="Largest value of a tag, in bytes of UTF-8."
    )
    max_record_bytes: int = Field(
        default=1 << 20,
        ge=1_024,
        le=1 << 20,
        description="Largest point, in bytes of UTF-8; Influx takes no longer text in a field.",
    )
