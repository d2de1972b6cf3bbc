"""The metrics of the specification (§7) and of the worker, for Prometheus.

Names are ``llm_memory_graph_`` and the specification's. All exist from the start, with every label
value that is known beforehand.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

from flows.breaker import Circuit
from flows.health import Health
from flows.httpserver import Answer, Page
from schemas.chunk import Outcome
from schemas.events import TOPICS
from schemas.failures import Rejected
from schemas.records import STORES, Store

PREFIX = "llm_memory_graph_"
_LONG = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
_SHORT = (0.01, 0.05, 0.1, 0.5, 1.0)
STATUSES = ("accepted", "duplicate", "rejected")
QUERIES = ("show", "search", "similar", "usage", "graph", "status")
CACHES = ("vectors",)
CIRCUITS: tuple[Circuit, ...] = get_args(Circuit)


class Metrics:
    """A registry of its own; counts what the stages and the writers report."""

    def __init__(self, stages: Sequence[str]) -> None:
        self.registry = CollectorRegistry()
        self._paging = threading.Lock()
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
        self._requests = self._gauge("enrichment_backlog", "Events that lack something.")
        self._embedding = self._gauge(
            "embedding_usage", "What the embedding service has billed since the start.", "what"
        )
        self._letters = self._gauge("dead_letters", "Dead letters that are open.")
        self._lag = self._gauge("log_lag", "Records not yet committed.", "topic")
        self._share = self._gauge("rejected_share", "Share rejected of the last events.")
        self._alert = self._gauge("rejected_alert", "1 while that share is over its limit.")
        self._troubles = self._gauge("troubles", "Dependencies that do not work now.")
        self._trouble = self._gauge("trouble", "1 for what does not work, and why.", "what", "code")
        self._breaker = self._gauge("breaker_state", "1 for the state it is in.", "store", "state")
        self._unclaimed = self._counter("claims_failed_open", "Events passed without a claim.")
        self._redelivered = self._counter("events_redelivered", "Events read again.", "topic")
        self._up = self._gauge("alive", "0 where a restart is the remedy.")
        self._ready = self._gauge("ready", "1 while the worker reads.")
        self._assigned = self._gauge("partitions_assigned", "Partitions this worker reads.")
        self._silent = self._gauge("main_loop_silent_seconds", "Time since its last turn.")
        for topic in TOPICS:
            self._lag.labels(topic)
            self._redelivered.labels(topic)
            for status in STATUSES:
                self._received.labels(topic, status)
        for stage in stages:
            self._durations.labels(stage)
        for store in STORES:
            self._latency.labels(store)
            self._backlog.labels(store)
            for state in CIRCUITS:
                self._breaker.labels(store, state).set(state == "closed")
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

    def unclaimed(self, events: int) -> None:
        """Events that passed without a claim: the claim store did not answer."""
        self._unclaimed.inc(events)

    def redelivered(self, topic: str, events: int) -> None:
        """Events that were read before."""
        self._redelivered.labels(topic).inc(events)

    def graph_size(self, nodes: Mapping[str, int], edges: Mapping[str, int]) -> None:
        """Nodes by label, edges by type."""
        self._nodes.set(sum(nodes.values()))
        self._edges.set(sum(edges.values()))

    def sizes(self, sizes: Mapping[str, int]) -> None:
        """Bytes on disk by backend."""
        _set_all(self._sizes, sizes)

    def backlog(self, backlog: Mapping[Store, int]) -> None:
        """Parked records by store."""
        _set_all(self._backlog, backlog)

    def requests(self, count: int) -> None:
        """Events that wait for their enrichment."""
        self._requests.set(count)

    def embedding(self, usage: Mapping[str, int]) -> None:
        """What the embedder has used since the start: requests, tokens, cost_pico_usd, …"""
        _set_all(self._embedding, usage)

    def letters(self, count: int) -> None:
        """Open dead letters."""
        self._letters.set(count)

    def lag(self, lag: Mapping[str, int]) -> None:
        """Records not yet committed, by topic."""
        _set_all(self._lag, lag)

    def hit_rates(self, rates: Mapping[str, float]) -> None:
        """Hits in per cent by cache."""
        _set_all(self._hits, rates)

    def page(self, health: Callable[[], Health]) -> Page:
        """``/metrics``, with the worker's health as it is at that moment."""

        def answer(accept: str) -> Answer:
            now = health()
            with self._paging:  # Else another page may lack what this one is about to set.
                self._live(now)
                encode, kind = choose_encoder(accept)
                return Answer(200, kind, encode(self.registry))

        return answer

    def _live(self, health: Health) -> None:
        self._share.set(health.rejected_share)
        self._alert.set(health.alert)
        self._up.set(health.alive)
        self._ready.set(health.ready)
        self._assigned.set(health.assigned or 0)
        self._silent.set(health.silent or 0.0)
        self._troubles.set(len(health.troubles))
        self._trouble.clear()
        for what, code in health.troubles.items():
            self._trouble.labels(what, code).set(1)
        for store, state in health.circuits.items():
            for one in CIRCUITS:
                self._breaker.labels(store, one).set(one == state)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(PREFIX + name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(PREFIX + name, text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(PREFIX + name, text, labels, buckets=buckets, registry=self.registry)


def _set_all(gauge: Gauge, values: Mapping[Any, float]) -> None:
    for label, value in values.items():
        gauge.labels(label).set(value)
