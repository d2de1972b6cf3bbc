"""Stage 7: an enriched event becomes the records of the four stores. Pure."""

from __future__ import annotations

import hashlib

import msgspec

from schemas.chunk import Chunk, Outcome
from schemas.items import Embedded, Enriched, Request, kind_of
from schemas.records import Mutation, Stamp
from stages.extract.graph import graph_record
from stages.extract.stores import common_fields, document_record, point_record, vector_record

_JSON = msgspec.json.Encoder(order="sorted")


class ExtractStage:
    """Every event passes. ``pipeline`` is this release's version, kept with every record."""

    name = "extract"

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline

    def __call__(self, chunk: Chunk[Enriched], /) -> Outcome[Mutation]:
        passed = [mutation_of(item, self._pipeline, chunk.log_time) for item in chunk.items]
        return Outcome(Chunk(chunk.partition, passed, chunk.log_time))


def mutation_of(item: Enriched, pipeline: str, log_time: int = 0) -> Mutation:
    """All that an event writes, with what is known of it now, and the wish for what it lacks."""
    event = item.event
    stamp = Stamp(
        kind=kind_of(event),
        id=event.id,
        version=item.version,
        time=event.time,
        origin=event.origin,
        pipeline=pipeline,
        tenant=item.user.tenant,
        user=None if item.session is None else item.session.user,
        sha256=digest(item),
    )
    common = common_fields(item, stamp)
    return Mutation(
        event,
        item.state,
        graph_record(item, stamp),
        document_record(item, stamp, common),
        vector_record(item, stamp, common),
        point_record(item, stamp, common),
        request_of(item, log_time) if item.lacking else None,
    )


def request_of(item: Enriched, log_time: int) -> Request:
    """What it takes to complete the event later: all that the lookup was given, no raw bytes."""
    embedded = Embedded(item.event, item.vector, item.vector_model)
    return Request(embedded, item.lacking, item.side, item.orphan, log_time)


def digest(item: Enriched) -> str:
    """SHA-256 (hex) of the canonical JSON of the screened event and the joined facts.

    Without origin, version, pipeline and vector: what is stored, not where it came from or how
    often it was rewritten.
    """
    event = msgspec.structs.asdict(item.event)
    del event["origin"]
    joined = {
        "event": event,
        "state": item.state,
        "session": item.session,
        "user": item.user,
        "model": item.model,
        "registry": item.registry,
        "cost": item.cost,
    }
    return hashlib.sha256(_JSON.encode(joined)).hexdigest()
