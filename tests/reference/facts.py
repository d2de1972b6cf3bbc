"""An event as plain data: screened, with defaults filled in, under names of its own."""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from typing import Any

from schemas.log import LogRecord
from stages.text.language import detect_language
from stages.text.template import derive_template, reproduces, template_id
from stages.text.tokens import count_tokens
from tests.reference.screening import Oracle, Strings, canonical
from tests.reference.setup import Setup, micros
from tests.reference.verdict import KINDS, Event

Facts = dict[str, Any]

_PURPOSES = {"chat", "completion", "embedding", "fine_tune"}
_ROLES = {"user", "assistant", "system", "tool", "developer", "function"}
_METHODS = {"embedding", "keyword", "hybrid", "none"}
_REASONS = {"stop", "length", "content_filter", "function_call", "error", "tool_calls"}
_PARAMETERS = {
    "temperature": float,
    "topP": float,
    "topK": int,
    "maxTokens": int,
    "stopSequences": list,
    "presencePenalty": float,
    "frequencyPenalty": float,
}
_COUNTS = (
    "promptTokens",
    "completionTokens",
    "totalTokens",
    "cachedTokens",
    "cacheWriteTokens",
    "reasoningTokens",
)


def normal(text: str) -> str:
    """NFC, LF line ends, no trailing blanks."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(line.rstrip(" \t") for line in text.split("\n")).rstrip(" \t\n")


def known(value: str | None, values: set[str]) -> str | None:
    return value if value is None or value in values else "other"


def facts_of(record: LogRecord, event: Event, oracle: Oracle, setup: Setup) -> Facts:
    """Everything that the stores could want of the event itself."""
    kind = KINDS[record.origin.topic]
    body = event.get("prompt") or event.get("response") or {}
    raw = None if kind == "session" or body.get("text") is None else normal(body["text"])
    language = detect_language(raw) if raw else None
    strings = oracle.event(language.code if language else "und")
    facts: Facts = {
        "kind": kind,
        "id": event["eventId"].lower(),
        "time": micros(event["timestamp"]),
        "log_time": record.origin.timestamp,
        "text": None if raw is None else strings.text(raw),
        "language": None if raw is None else language.code if language else "und",
        "confidence": None if raw is None else language.confidence if language else 0.0,
        "session": _session(event.get("session"), strings),
        "model": _model(event.get("model"), strings),
        "tags": [strings.label(tag) for tag in event.get("tags") or ()],
        "trace": _trace(event.get("traceContext") if kind != "session" else None, strings),
        "source": _source(record, strings),
    }
    facts |= _tokens(kind, event, raw)
    if kind == "prompt":
        facts |= _prompt(event, facts, strings, setup)
    elif kind == "response":
        facts |= _response(event, strings)
    else:
        facts |= {
            "status": event["status"],
            "started": _time(event.get("startedAt")),
            "ended": _time(event.get("endedAt")),
            "metadata": _object(event.get("metadata"), strings),
        }
    facts["found"] = strings.found
    return facts


def _time(stamp: str | None) -> int | None:
    return None if stamp is None else micros(stamp)


def _tokens(kind: str, event: Event, raw: str | None) -> Facts:
    model = event.get("model") or {}
    if kind == "response" and event.get("usage"):
        return {"tokens": int(event["usage"]["completionTokens"]), "token_source": "provider"}
    if raw is None:
        return {"tokens": None, "token_source": None}
    count = count_tokens(raw, model.get("id"), model.get("provider"))
    return {"tokens": count.tokens, "token_source": count.source}


def _session(raw: Event | None, strings: Strings) -> Facts | None:
    if raw is None:
        return None
    return {
        "id": strings.identifier(raw["id"]),
        "user": strings.identifier(raw["userId"]),
        "application": strings.identifier(raw.get("applicationId")),
        "purpose": known(raw.get("purpose"), _PURPOSES),
    }


def _model(raw: Event | None, strings: Strings) -> Facts | None:
    if raw is None:
        return None
    given = raw.get("parameters") or {}
    parameters = {n: to(given[n]) for n, to in _PARAMETERS.items() if given.get(n) is not None}
    return {
        "id": strings.label(raw["id"]),
        "provider": strings.label(raw.get("provider")),
        "version": strings.label(raw.get("version")),
        "parameters": _object(parameters, strings),
    }


def _object(raw: Event | None, strings: Strings) -> str | None:
    """Canonical JSON; an empty object is absent."""
    return canonical(strings.json(raw)) if raw else None


def _trace(raw: Event | None, strings: Strings) -> Facts:
    raw = raw or {}
    return {n: strings.identifier(raw.get(n)) for n in ("traceId", "spanId", "parentSpanId")}


def _source(record: LogRecord, strings: Strings) -> str | None:
    for name, value in record.original.open()[1]:
        if name == "source":
            return strings.label(value.decode("utf-8", "replace"))
    return None


def _prompt(event: Event, facts: Facts, strings: Strings, setup: Setup) -> Facts:
    body, context = event["prompt"], event.get("context") or {}
    return {
        **_template(body, facts, strings),
        "metadata": _object(body.get("metadata"), strings),
        "images": [_image(image, strings, setup) for image in body.get("images") or ()],
        "history": _history(context.get("conversationHistory") or [], strings),
        "documents": [_document(d, strings) for d in context.get("documents") or ()],
        "retrieval": known(context.get("retrievalMethod"), _METHODS),
    }


def _template(body: Event, facts: Facts, strings: Strings) -> Facts:
    text = facts["text"]
    values = strings.json(body["parameters"]) if body.get("parameters") else None
    if body.get("template") is None:
        template = "[WITHHELD]" if text.withheld else derive_template(text.text)
        source, same = "derived", None
    else:
        own = strings.text(body["template"])
        template, source = own.text, "event"
        checkable = values is not None and not text.withheld and not own.withheld
        same = reproduces(template, values, text.text) if checkable else None
    if values is not None and text.withheld:
        values = _withheld(values)
    return {
        "template": {
            "id": template_id(template),
            "text": template,
            "source": source,
            "reproduces": same,
        },
        "parameters": None if values is None else canonical(values),
    }


def _withheld(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _withheld(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_withheld(inner) for inner in value]
    return value if value is None or isinstance(value, bool) else "[WITHHELD]"


def _image(raw: Event, strings: Strings, setup: Setup) -> Facts:
    """Base64 data, else an address (the generated events have no ``data:`` URLs)."""
    data, url = raw.get("base64"), raw.get("url")
    content = b"" if data is None else base64.b64decode(data)
    hashed = content if data is not None else (url or "").encode()
    return {
        "type": strings.label(raw.get("mimeType")),
        "size": len(content),
        "key": hashlib.blake2b(hashed, digest_size=16, key=setup.image_key).hexdigest(),
        "url": strings.label(url),
    }


def _history(raw: list[Event], strings: Strings) -> Facts | None:
    if not raw:
        return None
    messages = [
        (known(m.get("role"), _ROLES) or "other", strings.text(m.get("content"))) for m in raw
    ]
    lines = "".join(f"{role}:{shown.hash}\n" for role, shown in messages)
    role, last = messages[-1]
    return {
        "messages": len(messages),
        "hash": hashlib.sha256(lines.encode()).hexdigest(),
        "role": role,
        "last": last,
    }


def _document(raw: Event, strings: Strings) -> Facts:
    content = strings.text(raw.get("content"))
    name, score = strings.identifier(raw.get("id")), raw.get("relevanceScore")
    return {
        "id": content.hash if name is None else name,
        "hash": content.hash,
        "length": len(content.text),
        "score": None if score is None else float(score),
    }


def _response(event: Event, strings: Strings) -> Facts:
    body, metrics = event["response"], event.get("metrics") or {}
    usage, reason, error = event.get("usage"), body.get("finishReason"), event.get("error")
    calls = body.get("toolCalls") or []
    if not calls and body.get("functionCall") is not None:
        calls = [{"function": body["functionCall"]}]
    return {
        "prompt": event["promptEventId"].lower(),
        "reason": known(reason, _REASONS),
        "reason_original": (
            strings.label(reason) if known(reason, _REASONS | {"other"}) != reason else None
        ),
        "calls": [_call(call, strings) for call in calls],
        "usage": None if not usage else {name: int(usage.get(name) or 0) for name in _COUNTS},
        "latency": _whole(metrics.get("latency")),
        "ttft": _whole(metrics.get("ttft")),
        "throughput": _number(metrics.get("throughput")),
        "reported": _number(metrics.get("cost")),
        "error": None if error is None else _error(error, strings),
    }


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _call(raw: Event, strings: Strings) -> Facts:
    function = raw.get("function") or {}
    arguments = function.get("arguments")
    return {
        "callId": strings.identifier(raw.get("id")),
        "type": strings.label(raw.get("type")),
        "name": strings.label(function.get("name")),
        "arguments": None if arguments is None else strings.string(arguments),
    }


def _error(raw: Event, strings: Strings) -> Facts:
    message = raw.get("message")
    return {
        "code": strings.label(raw.get("code")),
        "message": None if message is None else strings.string(message),
        "type": strings.label(raw.get("type")),
        "recoverable": raw.get("recoverable"),
    }
