"""Spans: a chunk's own trace, the events' traces continued, and nothing of what events say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from flows import worker
from flows.filelog import LogWriter, NewRecord
from flows.sections import TracingSection
from flows.settings import Settings, load_settings
from flows.tracing import Parent, Tracer, ids_of, of_headers, open_tracer
from schemas.log import LogRecord, Origin, Original
from tests.flows import tiny
from tests.flows.test_worker import run

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{SPAN}-01".encode()
SECRET = "jane.roe@example.com"


class Kept(SpanExporter):
    """Keeps the spans."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SpanExportResult.SUCCESS

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]


def prompt(number: int = 0, **more: Any) -> dict[str, Any]:
    made = [e for e in tiny.events(40) if "prompt" in e][number]
    made["prompt"]["text"] = SECRET
    return {**made, **more}


def append(settings: Settings, *events: tuple[dict[str, Any], bytes | None]) -> None:
    records = [
        NewRecord("llm.prompts.v1", json.dumps(event).encode(), 1_700_000_000_000,
                  headers=() if header is None else (("traceparent", header),), partition=0)
        for event, header in events
    ]  # fmt: skip
    LogWriter(settings.log_dir, 1 << 20).append(records)


def traced(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, build: Any = tiny.build, **section: Any
) -> Kept:
    """What a run of the worker sends to the collector."""
    kept = Kept()
    made = TracingSection(endpoint="http://127.0.0.1:1/v1/traces", ratio=1, **section)
    monkeypatch.setattr(worker, "open_tracer", lambda _: Tracer(made, exporter=kept))
    run(settings, build=build)
    return kept


def context_of(span: ReadableSpan) -> Any:
    assert span.context is not None
    return span.context


def test_a_chunk_is_a_trace_with_its_stages_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(data=tmp_path)
    append(settings, (prompt(0), None), (prompt(1), HEADER))
    kept = traced(settings, monkeypatch)
    (chunk,) = kept.named("chunk")
    assert chunk.attributes is not None
    assert chunk.attributes["messaging.batch.message_count"] == 2
    assert [format(link.context.trace_id, "032x") for link in chunk.links] == [TRACE]
    children = [s for s in kept.spans if s.parent is not None and s.parent.span_id
                == context_of(chunk).span_id]  # fmt: skip
    stages = {f"stage {n}" for n in
              ("validate", "dedupe", "text", "pii", "embed", "lookup", "extract")}  # fmt: skip
    writes = {"write graph", "write search", "write timeseries"}
    assert {s.name for s in children} == stages | writes
    assert {context_of(s).trace_id for s in children} == {context_of(chunk).trace_id}
    assert all(s.attributes["events.in"] == 2 for s in children if s.name in stages)  # type: ignore[index]
    for span in children:
        assert span.start_time is not None
        assert span.end_time is not None
        assert span.end_time >= span.start_time >= (chunk.start_time or 0)


def test_an_events_own_trace_is_continued_from_its_header_or_its_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(data=tmp_path)
    body = {"traceId": TRACE[::-1], "spanId": SPAN[::-1]}
    events = [prompt(0), prompt(1, traceContext=body), prompt(2), prompt(3)]
    unsampled = HEADER[:-1] + b"0"
    append(settings, (events[0], HEADER), (events[1], None), (events[2], unsampled),
           (events[3], None))  # fmt: skip
    kept = traced(settings, monkeypatch)
    (chunk,) = kept.named("chunk")
    found = {}
    for span in kept.named("ingest"):
        assert span.parent is not None
        assert span.attributes is not None
        assert context_of(span).trace_id == span.parent.trace_id
        assert [link.context.span_id for link in span.links] == [context_of(chunk).span_id]
        found[span.attributes["event.id"]] = format(span.parent.trace_id, "032x")
    assert found == {events[0]["eventId"]: TRACE, events[1]["eventId"]: TRACE[::-1]}


def test_the_number_of_events_followed_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(data=tmp_path)
    append(settings, *((prompt(number), HEADER) for number in range(9)))
    assert len(traced(settings, monkeypatch, events=4).named("ingest")) == 4


def test_a_rejected_event_says_so_in_its_own_trace_and_nothing_of_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(data=tmp_path)
    culprit = prompt(0)
    append(settings, (culprit, HEADER), (prompt(1), None))

    def hook(decoded: Any) -> None:
        if decoded.id == culprit["eventId"]:
            raise ValueError(SECRET)

    with structlog.testing.capture_logs() as lines:
        kept = traced(settings, monkeypatch, lambda *parts: tiny.build(*parts, hook=hook))
    (span,) = kept.named("ingest")
    assert span.attributes is not None
    assert (span.attributes["rejected.stage"], span.attributes["rejected.code"]) == (
        "text", "internal_error",
    )  # fmt: skip
    assert span.status.status_code is StatusCode.ERROR
    assert SECRET not in "".join(s.to_json() for s in kept.spans)
    (line,) = [entry for entry in lines if entry["event"] == "rejected"]
    assert line["trace_id"] == TRACE
    assert line["event_id"] == culprit["eventId"]


def test_only_the_chosen_share_of_chunks_is_traced() -> None:
    kept = Kept()
    chances = iter([0.49, 0.5, 0.9])
    section = TracingSection(ratio=0.5)
    tracer = Tracer(section, exporter=kept, chance=lambda: next(chances))
    chunk = worker.ingest.Chunk(worker_partition(), [record(None)], 0)
    assert [tracer.begin(chunk) is not None for _ in range(3)] == [True, False, False]
    tracer.close()


def worker_partition() -> Any:
    from schemas.log import Partition

    return Partition("llm.prompts.v1", 0)


def record(header: bytes | None) -> LogRecord:
    headers = () if header is None else (("traceparent", header),)
    return LogRecord(Origin("llm.prompts.v1", 0, 7, 0), Original(None, headers, b"{}"))


@pytest.mark.parametrize(
    "header",
    [
        None, b"", b"00-" + b"0" * 32 + b"-" + SPAN.encode() + b"-01",
        b"00-" + TRACE.encode() + b"-" + b"0" * 16 + b"-01", HEADER.upper(), HEADER + b"-x",
        b"01" + HEADER[2:], SECRET.encode(), HEADER[:-1], b"\xff" * 55,
    ],
)  # fmt: skip
def test_a_header_that_is_no_trace_context_is_none(header: bytes | None) -> None:
    assert of_headers(record(header)) is None
    assert ids_of(record(header)) == {}


def test_a_good_header_is_read() -> None:
    assert of_headers(record(HEADER)) == Parent(TRACE, SPAN, True)
    assert ids_of(record(HEADER)) == {"trace_id": TRACE}


def test_without_an_endpoint_nothing_is_traced(tmp_path: Path) -> None:
    assert open_tracer(load_settings(data=tmp_path).tracing) is None


def test_spans_are_sent_with_otlp_over_http_and_a_dead_collector_costs_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = HTTPServer(("127.0.0.1", 0), Collector)
    Thread(target=server.serve_forever, daemon=True).start()
    settings = load_settings(data=tmp_path)
    append(settings, (prompt(0), HEADER))
    for number, port in enumerate((server.server_port, 1)):
        endpoint = f"http://127.0.0.1:{port}/v1/traces"
        section = TracingSection(endpoint=endpoint, ratio=1)
        assert run(settings.model_copy(update={"tracing": section})).lag == 0
        append(settings, (prompt(number + 1), HEADER))
    server.shutdown()
    server.server_close()
    names: set[str] = set()
    for body in received:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                names |= {span.name for span in scope.spans}
    assert {"chunk", "ingest", "stage validate", "write graph"} <= names
    assert SECRET.encode() not in b"".join(received)
    assert "127.0.0.1:1" not in capfd.readouterr().err
