"""OpenTelemetry: where a chunk's time goes, and the way of an event on from its own trace.

A traced chunk is a trace of its own: a span, with one below it for each stage and each write. It
links to the events that came with a trace context, and for some of those a span continues *their*
trace, so that who follows a request sees when and how it was stored. Spans carry codes, counts,
coordinates and event ids; never a value of an event.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import msgspec

from flows.sections import TracingSection
from schemas.chunk import Chunk, Outcome
from schemas.failures import UserError
from schemas.items import Decoded, Embedded, Enriched, Measured
from schemas.log import LogRecord, Origin
from schemas.records import Store
from sinks.common.quiet import quiet

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, SpanContext

NAME = "llm-memory-graph"
LINKS = 32
"""Events that a chunk's span links to."""
LAST_EXPORT = 2.0
"""Seconds that the end of a worker waits for the collector."""

_TRACEPARENT = re.compile(rb"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_TRACE_ID = re.compile(r"[0-9a-f]{32}").fullmatch
_SPAN_ID = re.compile(r"[0-9a-f]{16}").fullmatch


class Parent(msgspec.Struct, frozen=True):
    """An event's own trace context (W3C), in lower-case hex."""

    trace_id: str
    span_id: str
    sampled: bool = True


class Followed(msgspec.Struct):
    """An event whose trace is continued; ``code``: of the stage that rejected it."""

    parent: Parent
    event_id: str
    kind: str
    origin: Origin
    stage: str = ""
    code: str = ""


class Traced(msgspec.Struct):
    """A chunk on its way; ``started`` in ns since 1970."""

    span: Any
    context: Any
    started: int
    followed: dict[tuple[str, int, int], Followed] = {}


class Tracer:
    """Traces the share ``ratio`` of all chunks. ``exporter`` takes the place of OTLP over HTTP.

    The spans of a chunk cost only where it is chosen. What the collector does not take in time is
    dropped: tracing never holds up the work. Safe to use from several threads.
    """

    def __init__(
        self,
        settings: TracingSection,
        *,
        exporter: SpanExporter | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        quiet("opentelemetry")
        resource = Resource.create({"service.name": NAME, "service.version": version(NAME)})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or _otlp(settings)))
        self._tracer = self._provider.get_tracer(NAME)
        self._ratio = settings.ratio
        self._events = settings.events
        self._chance = chance

    def begin(self, chunk: Chunk[LogRecord]) -> Traced | None:
        """A chunk came from the log; None where it is not chosen."""
        if not chunk.items or self._chance() >= self._ratio:
            return None
        from opentelemetry.trace import Link, SpanKind, set_span_in_context

        parents = [p for item in chunk.items if (p := of_headers(item)) is not None][:LINKS]
        started = time.time_ns()
        span = self._tracer.start_span(
            "chunk",
            kind=SpanKind.CONSUMER,
            start_time=started,
            links=[Link(_remote(parent)) for parent in parents],
            attributes={
                "messaging.destination.name": chunk.partition.topic,
                "messaging.destination.partition.id": str(chunk.partition.number),
                "messaging.batch.message_count": len(chunk.items),
                "messaging.kafka.offset": chunk.items[0].origin.offset,
            },
        )
        return Traced(span, set_span_in_context(span), started)

    def stage(
        self, traced: object, name: str, started: int, taken: int, outcome: Outcome[Any]
    ) -> None:
        """The chunk went through a stage. Behind the last one the chunk's span ends."""
        assert isinstance(traced, Traced)
        self._child(
            traced.context, f"stage {name}", started, {
                "events.in": taken, "events.out": len(outcome.passed.items),
                "events.rejected": len(outcome.rejected), "events.duplicate": outcome.duplicates,
            },
        )  # fmt: skip
        if name == "validate":
            self._follow(traced, outcome.passed.items)
        for rejected in outcome.rejected:
            followed = traced.followed.get(_place(rejected.origin))
            if followed is not None:
                followed.stage, followed.code = rejected.stage, rejected.code
        if name == "extract":
            self._end(traced)

    def write(self, traced: object, store: Store, started: int, records: int) -> None:
        """A store, or the queue beside it, has taken the chunk's records."""
        assert isinstance(traced, Traced)
        self._child(traced.context, f"write {store}", started, {"records": records})

    def close(self) -> None:
        """Sends what is left, within :data:`LAST_EXPORT` seconds."""
        last = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        last.start()
        last.join(LAST_EXPORT)

    def _follow(self, traced: Traced, items: Sequence[Decoded]) -> None:
        for item in items:
            if len(traced.followed) == self._events:
                return
            parent = of_headers(item) or of_body(item)
            if parent is not None and parent.sampled:
                followed = Followed(parent, item.id, item.kind, item.origin)
                traced.followed[_place(item.origin)] = followed

    def _end(self, traced: Traced) -> None:
        from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, set_span_in_context

        ended = time.time_ns()
        for one in traced.followed.values():
            attributes: dict[str, str | int] = {
                "event.id": one.event_id,
                "event.kind": one.kind,
                "messaging.destination.name": one.origin.topic,
                "messaging.destination.partition.id": str(one.origin.partition),
                "messaging.kafka.offset": one.origin.offset,
            }
            if one.code:
                attributes |= {"rejected.stage": one.stage, "rejected.code": one.code}
            span = self._tracer.start_span(
                "ingest",
                context=set_span_in_context(NonRecordingSpan(_remote(one.parent))),
                kind=SpanKind.CONSUMER,
                start_time=traced.started,
                links=[Link(traced.span.get_span_context())],
                attributes=attributes,
            )
            _failed(span, one.code)
            span.end(ended)
        traced.span.end(ended)

    def _child(self, context: Context, name: str, started: int, attributes: dict[str, int]) -> None:
        span = self._tracer.start_span(
            name, context=context, start_time=started, attributes=attributes
        )
        span.end()


def open_tracer(settings: TracingSection) -> Tracer | None:
    """None where no collector is named: then nothing of OpenTelemetry is even imported."""
    if settings.endpoint is None:
        return None
    try:
        return Tracer(settings)
    except ModuleNotFoundError:
        raise UserError(
            "tracing.endpoint is set, and OpenTelemetry is not installed. Install it with: "
            "pip install 'llm-memory-graph[tracing]'"
        ) from None


def of_headers(item: LogRecord | Decoded) -> Parent | None:
    """The context in the record's ``traceparent`` header."""
    _, headers, _ = item.original.open()
    for name, value in headers:
        if name.lower() == "traceparent":
            found = _TRACEPARENT.fullmatch(value)
            if found is None:
                return None
            trace, span, flags = (part.decode() for part in found.groups())
            return _parent(trace, span, sampled=bool(int(flags, 16) & 1))
    return None


def of_body(item: Decoded) -> Parent | None:
    """The context in the event itself."""
    found = getattr(item.event, "trace_context", None)
    if found is None or found.trace_id is None or found.span_id is None:
        return None
    return _parent(found.trace_id.lower(), found.span_id.lower())


def ids_of(item: Any) -> dict[str, str]:
    """The event and trace ids of an item of any stage, for a line of the log: as far as it has
    some, and only what is an id beyond doubt."""
    return dict(_ids(item))


def _ids(item: Any) -> Iterator[tuple[str, str]]:
    if isinstance(item, Measured):
        item = item.decoded
    parent, trace = None, None
    if isinstance(item, Decoded):
        yield "event_id", item.id
        parent = of_headers(item) or of_body(item)
    elif isinstance(item, LogRecord):
        parent = of_headers(item)
    elif isinstance(item, Embedded | Enriched):
        yield "event_id", item.event.id
        trace = item.event.trace.trace_id if item.event.trace is not None else None
    if parent is not None:
        yield "trace_id", parent.trace_id
    elif trace is not None and _TRACE_ID(trace.lower()):
        yield "trace_id", trace.lower()


def _parent(trace: str, span: str, *, sampled: bool = True) -> Parent | None:
    """None for what W3C does not allow: other lengths, other characters, all zeros."""
    if not (_TRACE_ID(trace) and _SPAN_ID(span)) or not (int(trace, 16) and int(span, 16)):
        return None
    return Parent(trace, span, sampled)


def _remote(parent: Parent) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT),
    )


def _failed(span: Span, code: str) -> None:
    if code:
        from opentelemetry.trace import Status, StatusCode

        span.set_status(Status(StatusCode.ERROR, code))


def _place(origin: Origin) -> tuple[str, int, int]:
    return origin.topic, origin.partition, origin.offset


def _otlp(settings: TracingSection) -> SpanExporter:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=settings.endpoint, timeout=LAST_EXPORT)
