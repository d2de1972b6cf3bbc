"""The ``[kafka]`` section of the configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class KafkaSettings(BaseModel):
    """The Kafka cluster: the event log and the queues."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bootstrap_servers: str = Field(
        default="127.0.0.1:9092", min_length=1, description="Brokers to begin with, host:port, …"
    )
    topic_prefix: str = Field(
        default="",
        pattern=r"^[A-Za-z0-9._-]*$",
        max_length=100,
        description="Put before every topic, for several installations on one cluster.",
    )
    queue_prefix: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9._-]*$",
        max_length=100,
        description="Put before dead letters and queues instead of topic_prefix: for a second set "
        "of stores over the same events, so that neither drains what the other's stores owe.",
    )
    group: str = Field(
        default="memory-graph-ingestion", min_length=1, description="Consumer group of the worker."
    )
    protocol: Literal["consumer", "classic"] = Field(
        default="consumer",
        description="Group protocol: consumer (KIP-848), or classic with cooperative assignment "
        "and, with instance_id, static membership.",
    )
    instance_id: str | None = Field(
        default=None,
        min_length=1,
        description="Name of this member of a classic group of fixed size: a restart within the "
        "session timeout moves nothing.",
    )
    max_poll_interval_ms: int = Field(
        default=300_000, ge=1_000, description="Longest time between two reads of a live member."
    )
    session_timeout_ms: int = Field(
        default=30_000,
        ge=1_000,
        description="Silence after which a classic member is dead; with protocol consumer the "
        "broker's group.consumer.session.timeout.ms decides.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        default="PLAINTEXT", description="How to connect."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        default="SCRAM-SHA-512", description="How to sign in, with a SASL protocol."
    )
    sasl_username: str = Field(default="", description="Who signs in.")
    sasl_password: SecretStr = Field(default=SecretStr(""), description="The password.")
    ssl_ca: str | None = Field(
        default=None, description="File of the certificate authority; absent: the system's."
    )
    properties: dict[str, str] = Field(
        default={},
        description="Any property of librdkafka, for consumers and producers alike; it goes before "
        "what the worker sets, but for what its guarantees rest on.",
    )

    @property
    def queues(self) -> KafkaSettings:
        """As they hold for dead letters and queues."""
        if self.queue_prefix is None:
            return self
        return self.model_copy(update={"topic_prefix": self.queue_prefix})
