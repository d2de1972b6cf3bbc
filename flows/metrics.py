"""The metrics of the specification (§7) and of the worker, for Prometheus.

Names are ``llm_memory_graph_`` and the specification's. All exist from the start, with every label
value that is known beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from wsgiref.simple_server import WSGIServer

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from schemas.chunk import Outcome
from schemas.events import TOPICS
from schemas.failures import Rejected, UserError
from schemas.records import STORES, Store

PREFIX = "llm_memory_graph_"
_LONG = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
_SHORT = (0.01, 0.05, 0.1, 0.5, 1.0)
STATUSES = ("accepted", "duplicate", "rejected")
QUERIES = ("show", "search", "similar", "usage", "graph", "status")
CACHES = ("vectors",)


class Sample(msgspec.Struct, frozen=True):
    """What is measured off the hot path, a few times a minute. ``lag`` is by topic."""

    nodes: int
    edges: int
    sizes: dict[str, int]
    backlog: dict[Store, int]
    dead_letters: int
    lag: dict[str, int]
    cache_hit_rates: dict[str, float]
    rejected_share: float
    alert: bool
    troubles: int


class Metrics:
    """A registry of its own; counts what the stages and the writers report."""

    def __init__(self, stages: Sequence[str]) -> None:
        self.registry = CollectorRegistry()
        self._received = self._counter(
            "events_received",
            "Events read from the log, by what became of them.",
            "topic",
            "status",
        )
        self._durations = self._histogram(
            "enrichment_duration_seconds", "Time of a chunk in a stage.", _LONG, "stage"
        )
        self._latency = self._histogram(
            "write_latency_seconds", "Time of a batch in a store.", _SHORT, "storage_backend"
        )
        self._queries = self._counter("queries", "Queries answered.", "type", "status")
        self._query_time = self._histogram(
            "query_duration_seconds", "Time of a query.", _LONG, "type"
        )
        self._hits = self._gauge("cache_hit_rate", "Share of hits in per cent.", "layer")
        self._nodes = self._gauge("graph_nodes_total", "Nodes in the graph.")
        self._edges = self._gauge("graph_edges_total", "Edges in the graph.")
        self._sizes = self._gauge("storage_size_bytes", "Bytes on disk.", "backend")
        self._rejected = self._counter("events_rejected", "Dead letters.", "stage", "code")
        self._written = self._counter("records_written", "Records by store.", "store", "status")
        self._backlog = self._gauge("reconciliation_backlog", "Records parked.", "store")
        self._letters = self._gauge("dead_letters", "Dead letters that are open.")
        self._lag = self._gauge("log_lag", "Records not yet committed.", "topic")
        self._share = self._gauge("rejected_share", "Share rejected of the last events.")
        self._alert = self._gauge("rejected_alert", "1 while that share is over its limit.")
        self._troubles = self._gauge("troubles", "Dependencies that do not work now.")
        for topic in TOPICS:
            self._lag.labels(topic)
            for status in STATUSES:
                self._received.labels(topic, status)
        for stage in stages:
            self._durations.labels(stage)
        for store in STORES:
            self._latency.labels(store)
            self._backlog.labels(store)
            for status in ("written", "erased", "rejected", "parked"):
                self._written.labels(store, status)
        for query in QUERIES:
            self._query_time.labels(query)
            for status in ("ok", "error"):
                self._queries.labels(query, status)
        self._sizes.labels("sqlite")
        for layer in CACHES:
            self._hits.labels(layer)

    def stage(self, name: str, taken: int, outcome: Outcome[Any], seconds: float) -> None:  # noqa: ARG002
        """One chunk went through a stage. ``accepted`` are events that passed ``embed``, the last
        stage that answers one event for one."""
        self._durations.labels(name).observe(seconds)
        topic = outcome.passed.partition.topic
        if outcome.duplicates:
            self._received.labels(topic, "duplicate").inc(outcome.duplicates)
        if outcome.rejected:
            self._received.labels(topic, "rejected").inc(len(outcome.rejected))
        if name == "embed":
            self._received.labels(topic, "accepted").inc(len(outcome.passed.items))

    def written(self, store: Store, status: str, count: int) -> None:
        self._written.labels(store, status).inc(count)

    def write_took(self, store: Store, seconds: float) -> None:
        self._latency.labels(store).observe(seconds)

    def dead(self, rejected: Sequence[Rejected]) -> None:
        """Dead letters that are durable now."""
        for one in rejected:
            self._rejected.labels(one.stage, one.code).inc()

    def query(self, kind: str, seconds: float, *, ok: bool) -> None:
        """A query was answered (``kind`` as in :data:`QUERIES`)."""
        self._queries.labels(kind, "ok" if ok else "error").inc()
        self._query_time.labels(kind).observe(seconds)

    def sample(self, sample: Sample) -> None:
        """Takes over what was measured off the hot path."""
        self._nodes.set(sample.nodes)
        self._edges.set(sample.edges)
        self._letters.set(sample.dead_letters)
        self._share.set(sample.rejected_share)
        self._alert.set(sample.alert)
        self._troubles.set(sample.troubles)
        _set_all(self._sizes, sample.sizes.items())
        _set_all(self._backlog, sample.backlog.items())
        _set_all(self._lag, sample.lag.items())
        _set_all(self._hits, sample.cache_hit_rates.items())

    def serve(self, host: str, port: int) -> tuple[int, Callable[[], None]]:
        """Serves ``/metrics``; answers the port and what stops it. Raises :class:`UserError`."""
        try:
            server, thread = start_http_server(port, host, self.registry)
        except OSError:
            raise UserError(
                f"Metrics cannot be served on {host}:{port}: the address is in use or not ours. "
                "Choose another with --metrics-port."
            ) from None

        def stop() -> None:
            _shut_down(server)
            thread.join()

        return server.server_port, stop

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(PREFIX + name, text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(PREFIX + name, text, labels, buckets=buckets, registry=self.registry)


def _set_all(gauge: Gauge, values: Iterable[tuple[str, float]]) -> None:
    for label, value in values:
        gauge.labels(label).set(value)


def _shut_down(server: WSGIServer) -> None:
    server.shutdown()
    server.server_close()
