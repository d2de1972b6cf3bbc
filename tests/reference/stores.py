"""Vectors, points and documents, as ``docs/graph.md`` describes them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

from tests.reference.facts import Facts
from tests.reference.graph import findings, present

_VECTOR = ("kind", "tenant", "session", "user", "model", "provider", "purpose", "language", "time")
_TAGS = ("kind", "tenant", "model", "provider", "purpose", "status")
_USAGE = {
    "promptTokens": "prompt_tokens",
    "completionTokens": "completion_tokens",
    "totalTokens": "total_tokens",
    "cachedTokens": "cached_tokens",
    "cacheWriteTokens": "cache_write_tokens",
    "reasoningTokens": "reasoning_tokens",
}


def vector_of(fact: Facts, joined: Facts) -> dict[str, Any]:
    """The text of the vector, its hash, and the metadata."""
    common = _common(fact, joined)
    return {
        "text": fact["text"].text,
        "text_hash": fact["text"].hash,
        "metadata": present({name: common[name] for name in _VECTOR}),
    }


def point_of(fact: Facts, joined: Facts) -> dict[str, Any]:
    common, session = _common(fact, joined), joined["session"] or {}
    fields = {
        "event_id": fact["id"],
        "session_id": session.get("id"),
        "user_id": session.get("user"),
        "application_id": session.get("application"),
        "text_tokens": fact.get("tokens"),
        "token_source": fact.get("token_source"),
    }
    if fact["kind"] == "response":
        cost = joined["cost"]
        pico = cost.get("pico")
        fields |= {_USAGE[name]: count for name, count in (fact["usage"] or {}).items()}
        fields |= {
            "prompt_id": fact["prompt"],
            "latency_ms": fact["latency"],
            "ttft_ms": fact["ttft"],
            "throughput": fact["throughput"],
            "reported_cost_usd": fact["reported"],
            "cost_status": cost["status"],
            "cost_pico_usd": pico,
            "cost_usd": None if pico is None else float(Decimal(pico) / 10**12),
        }
    milliseconds = fact["time"] // 1000
    return {
        "time_ns": milliseconds * 1_000_000 + UUID(fact["id"]).int % 1_000_000,
        "tags": {name: _tag(common[name]) for name in _TAGS},
        "fields": present(fields),
    }


def document_of(fact: Facts, joined: Facts) -> dict[str, Any]:
    common, session = _common(fact, joined), joined["session"] or {}
    text = fact["text"]
    template = fact["template"]["id"] if fact["kind"] == "prompt" and text.says else None
    fields = common | {
        "id": fact["id"],
        "state": joined["state"],
        "application": session.get("application"),
        "organisation": joined["user"][1],
        "tags": fact["tags"],
        "entities": list(findings(fact)),
        "tokens": fact.get("tokens"),
        "metadata": fact.get("metadata"),
        "template": template,
    }
    if fact["kind"] == "response":
        fields |= {
            "prompt": fact["prompt"],
            "finish_reason": fact["reason"],
            "cost_pico_usd": joined["cost"].get("pico"),
        }
    return {"text": "" if text is None else text.text, "fields": present(fields)}


def _common(fact: Facts, joined: Facts) -> dict[str, Any]:
    session, model, entry = joined["session"] or {}, joined["model"] or {}, joined["registry"]
    return {
        "kind": fact["kind"],
        "time": fact["time"],
        "status": _status(fact, joined["state"]),
        "session": session.get("id"),
        "user": session.get("user"),
        "purpose": session.get("purpose"),
        "tenant": joined["user"][0],
        "model": model.get("id"),
        "provider": model.get("provider") or (None if entry is None else entry.provider),
        "language": fact["language"],
    }


def _status(fact: Facts, state: str) -> str:
    if fact["kind"] == "session":
        return str(fact["status"])
    if fact["kind"] == "prompt":
        return "ok"
    if state != "complete":
        return state
    return "error" if fact["error"] is not None or fact["reason"] == "error" else "ok"


def _tag(value: str | None) -> str:
    if value in (None, ""):
        return "_"
    return "%5F" if value == "_" else str(value)
