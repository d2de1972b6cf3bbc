"""Sections of the configuration that belong to the worker itself."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from flows.breaker import BreakerSettings
from flows.delivery import DeliverySettings
from flows.filelog import SEGMENT_BYTES
from sinks.sqlite.graph import GraphSettings
from sinks.sqlite.search import SearchSettings
from sinks.sqlite.timeseries import TimeseriesSettings
from sinks.sqlite.vector import VectorSettings


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WorkerSection(Section):
    """The worker process."""

    data: Path = Field(
        default=Path(".data"),
        description="Folder of everything the worker keeps. A relative path in a settings file "
        "counts from the file's folder.",
    )
    follow: bool = Field(
        default=False, description="Go on at the end of the log, until the worker is stopped."
    )
    epoch_seconds: float = Field(
        default=0.5, gt=0, le=60, description="Time between two commits of offsets."
    )
    chunk_events: int = Field(default=500, ge=1, le=10_000, description="Most events in a chunk.")
    chunk_bytes: int = Field(
        default=4 << 20, ge=1_024, description="Most bytes of log in a chunk of several events."
    )
    chunk_seconds: float = Field(
        default=0.2,
        gt=0,
        le=10,
        description="Most work in a chunk, estimated from the chunks before it.",
    )
    time_budget_seconds: float = Field(
        default=30.0,
        gt=0,
        le=3_600,
        description="Time that a stage may take for an event before the event is isolated.",
    )
    stop_seconds: float = Field(
        default=10.0, gt=0, le=600, description="Deadline of an orderly stop after SIGTERM."
    )


class LogSection(Section):
    """The event log in files."""

    dir: Path | None = Field(
        default=None, description="Folder of the event log; <data>/log when absent."
    )
    segment_bytes: int = Field(
        default=SEGMENT_BYTES, ge=4_096, description="Size at which a segment is followed by a new."
    )
    keep_bytes: int | None = Field(
        default=None,
        ge=0,
        description="Segments behind the committed offset are removed while a partition is larger "
        "than this; absent keeps everything.",
    )
    poll_seconds: float = Field(
        default=0.05, gt=0, le=10, description="How often --follow looks for new records."
    )


class BackendsSection(Section):
    """Where everything is: embedded, or a server."""

    log: Literal["files", "kafka"] = Field(default="files", description="The event log.")
    graph: Literal["sqlite", "neo4j"] = Field(default="sqlite", description="The property graph.")
    vector: Literal["sqlite", "pinecone"] = Field(default="sqlite", description="The vector index.")
    timeseries: Literal["sqlite", "influxdb"] = Field(
        default="sqlite", description="The time series."
    )
    search: Literal["sqlite", "elasticsearch"] = Field(
        default="sqlite", description="The full-text index."
    )
    state: Literal["sqlite", "redis"] = Field(
        default="sqlite", description="Claims, joins and the cache of vectors."
    )
    queues: Literal["sqlite", "kafka"] = Field(
        default="sqlite",
        description="Dead letters, parked records and enrichment requests.",
    )


class DlqSection(Section):
    """Dead letters."""

    plaintext: bool = Field(
        default=False,
        description="Keep the original bytes of dead letters unsealed, with queues in Kafka: "
        "whoever can read the topic reads personal data.",
    )


class StoresSection(Section):
    """The four stores, embedded in one SQLite file."""

    graph: GraphSettings = Field(default=GraphSettings(), description="The property graph.")
    vector: VectorSettings = Field(default=VectorSettings(), description="The vector index.")
    timeseries: TimeseriesSettings = Field(
        default=TimeseriesSettings(), description="The time series."
    )
    search: SearchSettings = Field(default=SearchSettings(), description="The full-text index.")


class DeliverySection(Section):
    """How records get into the stores."""

    deadline_seconds: float = Field(
        default=5.0,
        gt=0,
        le=300,
        description="How long a record is tried before it is parked for reconciliation.",
    )
    threads: int = Field(default=2, ge=1, le=64, description="Writing threads of each store.")
    depth: int = Field(
        default=32, ge=1, le=1_000, description="Chunks waiting for a store before reading stops."
    )
    breaker_share: float = Field(
        default=0.5, gt=0, le=1, description="Share of failed calls that opens the breaker."
    )
    breaker_timeout_seconds: float = Field(
        default=5.0, gt=0, le=300, description="A call that takes longer counts as failed."
    )
    breaker_recovery_seconds: float = Field(
        default=30.0, gt=0, le=3_600, description="Time before an open breaker tries one call."
    )
    reconcile: bool = Field(
        default=True,
        description="With --follow, drain the reconciliation queues beside the work; else only "
        "'memory-graph reconcile' does.",
    )

    @property
    def delivery(self) -> DeliverySettings:
        breaker = BreakerSettings(
            share=self.breaker_share,
            timeout=self.breaker_timeout_seconds,
            recovery=self.breaker_recovery_seconds,
        )
        return DeliverySettings(deadline=self.deadline_seconds, breaker=breaker)


class MetricsSection(Section):
    """Metrics for Prometheus, and the health for probes."""

    port: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        description="Port of /health, /ready and /metrics; absent: 9090 with the log in Kafka, "
        "else none is served.",
    )
    host: str = Field(
        default="127.0.0.1",
        description="Address that they listen on; 0.0.0.0 for probes from outside.",
    )
    sample_seconds: float = Field(
        default=15.0, gt=0, le=3_600, description="How often sizes and lag are measured."
    )
    rejected_share: float = Field(
        default=0.01, gt=0, le=1, description="Share of rejected events that raises the alert."
    )
    rejected_window: int = Field(
        default=1_000, ge=10, description="Events over which that share is measured."
    )


class TracingSection(Section):
    """Spans for OpenTelemetry."""

    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="URL that spans are sent to with OTLP over HTTP, such as "
        "http://collector:4318/v1/traces; absent: nothing is traced.",
    )
    ratio: float = Field(default=0.05, ge=0, le=1, description="Share of the chunks traced.")
    events: int = Field(
        default=32,
        ge=0,
        le=10_000,
        description="Events of a traced chunk whose own trace is continued, where they have one.",
    )
