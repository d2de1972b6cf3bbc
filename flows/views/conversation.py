"""A session, or one prompt of it, as a conversation put together from graph and documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from flows.views.stores import Views
from schemas.queries import Edge, Node
from schemas.records import RecordId

Names = Sequence[tuple[str, str]]


class Reuse(msgspec.Struct, frozen=True):
    """The same text elsewhere: how many other records have it, and in how many other sessions."""

    records: int = 0
    sessions: int = 0


class Tool(msgspec.Struct, frozen=True):
    name: str | None
    arguments: str | None


class Source(msgspec.Struct, frozen=True):
    """A document that a prompt retrieved."""

    document: str
    score: float | None


class Reply(msgspec.Struct, frozen=True):
    """A response. ``cost_pico_usd`` is None unless ``cost_status`` is ``priced``."""

    id: str
    time: int
    state: str
    text: str
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cost_status: str | None
    cost_pico_usd: int | None
    latency_ms: int | None
    finish_reason: str | None
    error: str | None
    personal_data: list[str]
    reuse: Reuse
    tools: list[Tool]


class Turn(msgspec.Struct, frozen=True):
    """A prompt with what came back. ``time`` is None when only responses to it are known."""

    id: str
    time: int | None
    session: str | None
    tenant: str | None
    text: str
    model: str | None
    tokens: int | None
    personal_data: list[str]
    reuse: Reuse
    template: str | None
    template_prompts: int
    history_messages: int
    documents: list[Source]
    tags: list[str]
    replies: list[Reply]


class Conversation(msgspec.Struct, frozen=True):
    """A session in the order (event time, event id)."""

    id: str
    users: list[str]
    application: str | None
    tenants: list[str]
    status: str | None
    first: int | None
    last: int | None
    turns: list[Turn]


def session_view(stores: Views, session: str) -> Conversation | None:
    """The conversation of a session; None when nothing ever named it."""
    graph = stores.graph
    node = graph.node("Session", session)
    if node is None:
        return None
    around = graph.edges("Session", session)
    prompts = [e.source[1] for e in around if e.type == "PART_OF"]
    turns = [t for p in prompts if (t := prompt_view(stores, p)) is not None]
    users = [e.target[1] for e in around if e.type == "STARTED_BY"]
    applications = [e.target[1] for e in around if e.type == "IN"]
    return Conversation(
        id=session,
        users=users,
        application=applications[0] if applications else None,
        tenants=sorted({t.tenant for t in turns if t.tenant}),
        status=node.properties.get("status"),
        first=node.properties.get("startedAt", node.properties.get("firstSeen")),
        last=node.properties.get("endedAt", node.properties.get("lastSeen")),
        turns=sorted(turns, key=lambda t: (t.time or 0, t.id)),
    )


def prompt_view(stores: Views, prompt: str) -> Turn | None:
    """One prompt and its responses; None when no event ever named it."""
    graph = stores.graph
    node = graph.node("Prompt", prompt)
    if node is None:
        return None
    around = graph.edges("Prompt", prompt)
    answers = [e.source[1] for e in around if e.type == "RESPONDS_TO"]
    texts = _texts(
        stores, [RecordId("prompt", prompt), *(RecordId("response", a) for a in answers)]
    )
    replies = [_reply(stores, a, texts) for a in answers]
    known = node.properties
    templates = [e.target[1] for e in around if e.type == "INSTANTIATES"]
    return Turn(
        id=prompt,
        time=known.get("createdAt"),
        session=known.get("sessionId"),
        tenant=known.get("tenant"),
        text=texts.get(RecordId("prompt", prompt), ""),
        model=known.get("modelId"),
        tokens=known.get("tokens"),
        personal_data=_findings(known),
        reuse=_reuse(stores, node, around),
        template=known.get("templateId"),
        template_prompts=_uses(stores, "Template", templates),
        history_messages=known.get("historyMessages", 0),
        documents=[
            Source(e.target[1], e.properties.get("score")) for e in around if e.type == "RETRIEVED"
        ],
        tags=list(known.get("tags", ())),
        replies=sorted(replies, key=lambda r: (r.time, r.id)),
    )


def _reply(stores: Views, response: str, texts: Mapping[RecordId, str]) -> Reply:
    node = stores.graph.node("Response", response)
    assert node is not None, "an edge starts at a node"
    known = node.properties
    around = stores.graph.edges("Response", response, direction="out")
    calls = [
        call.properties
        for e in around
        if e.type == "INVOKES" and (call := stores.graph.node(*e.target)) is not None
    ]
    return Reply(
        id=response,
        time=known.get("createdAt", 0),
        state=known.get("state", ""),
        text=texts.get(RecordId("response", response), ""),
        model=known.get("modelId"),
        prompt_tokens=known.get("promptTokens"),
        completion_tokens=known.get("completionTokens"),
        cost_status=known.get("costStatus"),
        cost_pico_usd=known.get("costPicoUsd"),
        latency_ms=known.get("latencyMs"),
        finish_reason=known.get("finishReason"),
        error=known.get("errorCode") or known.get("errorType"),
        personal_data=_findings(known),
        reuse=_reuse(stores, node, around),
        tools=[
            Tool(c.get("name"), c.get("arguments"))
            for c in sorted(calls, key=lambda c: c.get("index", 0))
        ],
    )


def _texts(stores: Views, ids: Sequence[RecordId]) -> dict[RecordId, str]:
    stored = stores.documents.fetch(ids)
    return {record: str(document.content.get("text", "")) for record, document in stored.items()}


def _findings(known: Mapping[str, Any]) -> list[str]:
    """``ENTITY ×count (action)`` from ``ENTITY:action:count``."""
    found = []
    for finding in known.get("piiFindings", ()):
        entity, action, count = finding.split(":")
        found.append(f"{entity} ×{count} ({action})")
    return found


def _reuse(stores: Views, node: Node, around: Sequence[Edge]) -> Reuse:
    holders = {
        e.source
        for text in (x.target for x in around if x.type == "HAS_TEXT")
        for e in stores.graph.edges(*text, direction="in", types=("HAS_TEXT",))
    } - {(node.label, node.key)}
    sessions = {
        other.properties.get("sessionId")
        for holder in holders
        if (other := stores.graph.node(*holder)) is not None
    } - {node.properties.get("sessionId"), None}
    return Reuse(len(holders), len(sessions))


def _uses(stores: Views, label: str, keys: Sequence[str]) -> int:
    return sum(
        len(stores.graph.edges(label, key, direction="in", types=("INSTANTIATES",))) for key in keys
    )
