"""The records of an event for the vector, time-series and search stores."""

from __future__ import annotations

from schemas.items import (
    EMPTY,
    Enriched,
    ModelFacts,
    ModelRef,
    ScreenedPrompt,
    ScreenedResponse,
    ScreenedSession,
)
from schemas.records import DocumentRecord, PointRecord, Stamp, Value, VectorRecord
from stages.extract.content import content_of
from stages.extract.properties import entities, json_text, present

ABSENT = "_"
LITERAL_UNDERSCORE = "%5F"
PICO_PER_USD = 10**12
_NS_DIGITS = 1_000_000


def vector_record(item: Enriched, stamp: Stamp, common: dict[str, Value]) -> VectorRecord | None:
    """None without a vector, while a response waits for its prompt, and while something is lacking:
    tenant and model are part of a vector's identity."""
    event = item.event
    if item.vector is None or item.vector_model is None or not identified(item):
        return None
    assert not isinstance(event, ScreenedSession)
    assert event.text is not None
    metadata = {name: common[name] for name in _VECTOR_METADATA if name in common}
    return VectorRecord(stamp, item.vector, item.vector_model, event.text.hash, metadata)


def identified(item: Enriched) -> bool:
    """Whether nothing that names the record in the vector and time-series stores will change."""
    return item.state != "waiting" and not {"directory", "registry"} & set(item.lacking)


_VECTOR_METADATA = (
    "kind",
    "tenant",
    "session",
    "user",
    "model",
    "provider",
    "purpose",
    "language",
    "time",
)


def point_record(item: Enriched, stamp: Stamp, common: dict[str, Value]) -> PointRecord | None:
    """None while a response waits for its prompt, and while directory or registry are lacking:
    tenant and model are part of a point's identity."""
    event = item.event
    if not identified(item):
        return None
    fields: dict[str, Value] = {"event_id": event.id}
    if item.session is not None:
        fields["session_id"] = item.session.id
        fields["user_id"] = item.session.user
        fields["application_id"] = item.session.application
    if event.facts.token_source != "none":
        fields["text_tokens"] = event.facts.tokens
        fields["token_source"] = event.facts.token_source
    if isinstance(event, ScreenedResponse):
        fields |= _response_fields(item, event)
    tags = {name: tag(common.get(name)) for name in _TAGS}
    values = {k: v for k, v in fields.items() if v is not None and not isinstance(v, tuple)}
    return PointRecord(stamp, time_ns(event.time, event.id), tags, values)


_TAGS = ("kind", "tenant", "model", "provider", "purpose", "status")


def document_record(item: Enriched, stamp: Stamp, common: dict[str, Value]) -> DocumentRecord:
    """Every event has one, at every version."""
    event = item.event
    user = item.user
    fields: dict[str, Value] = {
        **common,
        "id": event.id,
        "state": item.state,
        "application": None if item.session is None else item.session.application,
        "organisation": user.organisation,
        "tags": event.tags,
        "entities": entities(event.findings) if event.findings else None,
        "tokens": event.facts.tokens if event.facts.token_source != "none" else None,
    }
    text = EMPTY
    if isinstance(event, ScreenedResponse):
        fields["prompt"] = event.prompt_id
        fields["finish_reason"] = event.finish_reason
        fields["cost_pico_usd"] = item.cost.pico_usd
    else:
        fields["metadata"] = json_text(event.metadata)
    if isinstance(event, ScreenedPrompt) and content_of(event) is not None:
        fields["template"] = event.template.id
    if not isinstance(event, ScreenedSession) and event.text is not None:
        text = event.text.text
    return DocumentRecord(stamp, text, present(fields))


def common_fields(item: Enriched, stamp: Stamp) -> dict[str, Value]:
    """What vectors, points and documents say alike; absent values are left out."""
    event = item.event
    has_text = not isinstance(event, ScreenedSession) and event.text is not None
    fields: dict[str, Value] = {
        "kind": stamp.kind,
        "time": event.time,
        "status": status_of(item),
        "tenant": item.user.tenant,
        "language": event.facts.language if has_text else None,
    }
    if item.session is not None:
        fields["session"] = item.session.id
        fields["user"] = item.session.user
        fields["purpose"] = item.session.purpose
    if item.model is not None:
        fields["model"] = item.model.id
        fields["provider"] = _provider(item.model, item.registry)
    return present(fields)


def _provider(model: ModelRef, registry: ModelFacts | None) -> str | None:
    """The event's own word, else the registry's."""
    return model.provider or (None if registry is None else registry.provider)


def status_of(item: Enriched) -> str:
    """``ok``, ``error``, ``orphan`` or ``waiting``; of a session event its own status."""
    event = item.event
    if isinstance(event, ScreenedSession):
        return event.status
    if isinstance(event, ScreenedPrompt):
        return "ok"
    if item.state != "complete":
        return item.state
    failed = event.error is not None or event.finish_reason == "error"
    return "error" if failed else "ok"


def tag(value: Value) -> str:
    """A tag's value: absent is ``_``, and a value that is ``_`` itself is ``%5F``."""
    if value is None or value == "":
        return ABSENT
    return LITERAL_UNDERSCORE if value == ABSENT else str(value)


def time_ns(time: int, event_id: str) -> int:
    """Event time (µs) in whole milliseconds as nanoseconds, plus the event's UUID mod 10⁶.

    Points of one series and nanosecond overwrite each other: the digits keep them apart.
    """
    return time // 1_000 * 1_000_000 + int(event_id.replace("-", ""), 16) % _NS_DIGITS


def _response_fields(item: Enriched, event: ScreenedResponse) -> dict[str, Value]:
    cost, usage = item.cost, event.usage
    fields: dict[str, Value] = {
        "prompt_id": event.prompt_id,
        "latency_ms": event.latency_ms,
        "ttft_ms": event.ttft_ms,
        "throughput": event.throughput,
        "reported_cost_usd": event.reported_cost,
        "cost_status": cost.status,
        "cost_pico_usd": cost.pico_usd,
        "cost_usd": None if cost.pico_usd is None else cost.pico_usd / PICO_PER_USD,
    }
    if usage is not None:
        fields |= {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
        }
    return fields
