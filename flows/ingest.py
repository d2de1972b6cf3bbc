"""The dataflow: from the event log through eight stages into four stores.

Run it with ``memory-graph run``, or with ``python -m bytewax.run flows.ingest`` and the settings
file named in ``MEMORY_GRAPH_CONFIG``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bytewax.operators as op
import msgspec
from bytewax.dataflow import Dataflow
from bytewax.inputs import Source
from bytewax.operators import KeyedStream
from bytewax.outputs import Sink

from flows.isolation import Guard, Screen
from flows.requests import requests_of
from schemas.chunk import Chunk, Outcome
from schemas.failures import Rejected

STAGES = ("validate", "dedupe", "text", "pii", "embed", "lookup", "extract")
"""In order. Writing, the eighth, is the four outputs."""


class Parts(msgspec.Struct, frozen=True):
    """What a dataflow is put together from: guards by stage, outputs by store, ``enrichment`` and
    ``dlq``."""

    source: Source[Any]
    screen: Screen
    guards: Mapping[str, Guard[Any, Any]]
    outputs: Mapping[str, Sink[Any]]


def build(parts: Parts) -> Dataflow:
    """The diagram of docs/architecture.md::

    source ─ screen ─ validate ─ dedupe ─ text ─ pii ─ embed ─ lookup ─ extract ─┬─ graph
               │          └────────┴───────┴──────┴──────┴────────┴───────┴─ DLQ ├─ vector
               └─ (kill the process) ─ DLQ                                       ├─ time series
                                                                                 ├─ search
                                              (lacks something, to complete later) └─ enrichment
    """
    flow = Dataflow("ingest")
    records = op.input("source", flow, parts.source)
    records, killers = screened("screen", records, parts.screen)

    events, invalid = staged("validate", records, parts)
    claimed, conflicting = staged("dedupe", events, parts)
    measured, unmeasured = staged("text", claimed, parts)
    screened_events, unscreened = staged("pii", measured, parts)
    embedded, unembedded = staged("embed", screened_events, parts)
    enriched, unenriched = staged("lookup", embedded, parts)
    mutations, unextracted = staged("extract", enriched, parts)

    full = op.filter_value("full", mutations, lambda chunk: bool(chunk.items))
    op.output("graph", full, parts.outputs["graph"])
    op.output("vector", full, parts.outputs["vector"])
    op.output("timeseries", full, parts.outputs["timeseries"])
    op.output("search", full, parts.outputs["search"])
    lacking = op.filter_map_value("lacking", full, requests_of)
    op.output("enrichment", lacking, parts.outputs["enrichment"])

    rejected = op.merge(
        "rejected", killers, invalid, conflicting, unmeasured, unscreened, unembedded, unenriched,
        unextracted,
    )  # fmt: skip
    op.output("dlq", rejected, parts.outputs["dlq"])
    return flow


def staged(
    name: str, chunks: KeyedStream[Chunk[Any]], parts: Parts
) -> tuple[KeyedStream[Chunk[Any]], KeyedStream[tuple[Rejected, ...]]]:
    """One stage: the stream of what passed, and the stream of what was rejected."""
    outcomes: KeyedStream[Outcome[Any]] = op.map_value(name, chunks, parts.guards[name])
    passed = op.map_value(f"{name}_passed", outcomes, lambda outcome: outcome.passed)
    return passed, op.filter_map_value(
        f"{name}_rejected", outcomes, lambda outcome: outcome.rejected or None
    )


def screened(
    name: str, chunks: KeyedStream[Chunk[Any]], screen: Screen
) -> tuple[KeyedStream[Chunk[Any]], KeyedStream[tuple[Rejected, ...]]]:
    """What may be run, and what is known to kill the process."""
    both = op.map_value(name, chunks, screen)
    return op.map_value(f"{name}_passed", both, lambda pair: pair[0]), op.filter_map_value(
        f"{name}_rejected", both, lambda pair: pair[1] or None
    )


def __getattr__(name: str) -> Dataflow:
    """``flow``, built from the settings when bytewax asks for it."""
    if name != "flow":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from flows.worker import standalone

    return standalone()
