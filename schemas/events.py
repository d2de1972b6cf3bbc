"""The inbound events as their producers send them: raw, with personal data.

Field names, types and limits follow the draft-07 files in ``schemas/json/``; a property test
holds both to the same verdicts. Structs ignore fields they do not know. Open enumerations are
plain strings here; :mod:`stages.validate` maps what it does not know to ``other``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

MAX_TEXT = 1_000_000
MAX_INT = (1 << 63) - 1

_HEX = "[0-9a-fA-F]"
Uuid = Annotated[
    str, Meta(pattern=rf"\A{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}\Z")
]
Moment = Annotated[datetime, Meta(tz=True)]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Identifier = Annotated[str, Meta(max_length=512)]
"""Identifiers become keys of nodes, whose indexes hold some 8,000 bytes in every graph store."""
ModelName = Annotated[str, Meta(max_length=256)]
"""Names of models become tags of points; a tag holds 1,024 bytes of UTF-8."""
Integer = Annotated[int, Meta(ge=-MAX_INT - 1, le=MAX_INT)]
Count = Annotated[int, Meta(ge=0, le=MAX_INT)]
Positive = Annotated[int, Meta(ge=1, le=MAX_INT)]

OTHER = "other"
PURPOSES = frozenset({"chat", "completion", "embedding", "fine_tune", OTHER})
ROLES = frozenset({"user", "assistant", "system", "tool", "developer", "function", OTHER})
RETRIEVAL_METHODS = frozenset({"embedding", "keyword", "hybrid", "none", OTHER})
FINISH_REASONS = frozenset(
    {"stop", "length", "content_filter", "function_call", "error", "tool_calls", OTHER}
)


class Wire(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of all wire structs: camelCase names, unknown fields ignored, null counts as absent.

    Encoded again, a struct leaves out what is absent: a field added later changes no encoding.
    """


class Image(Wire, frozen=True, kw_only=True):
    url: str | None = None
    base64: str | None = None
    mime_type: str | None = None


class PromptBody(Wire, frozen=True, kw_only=True):
    text: Text
    template: Text | None = None
    parameters: dict[str, Any] | None = None
    images: list[Image] | None = None
    metadata: dict[str, Any] | None = None


class Session(Wire, frozen=True, kw_only=True):
    id: Identifier
    user_id: Identifier
    application_id: Identifier | None = None
    purpose: str | None = None


class ModelParameters(Wire, frozen=True, kw_only=True):
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Positive | None = None
    max_tokens: Positive | None = None
    stop_sequences: list[str] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None


class Model(Wire, frozen=True, kw_only=True):
    id: ModelName
    provider: ModelName | None = None
    version: ModelName | None = None
    parameters: ModelParameters | None = None


class Message(Wire, frozen=True, kw_only=True):
    role: str | None = None
    content: Text | None = None


class Document(Wire, frozen=True, kw_only=True):
    id: Identifier | None = None
    content: Text | None = None
    relevance_score: float | None = None


class Context(Wire, frozen=True, kw_only=True):
    conversation_history: list[Message] | None = None
    documents: list[Document] | None = None
    retrieval_method: str | None = None


class TraceContext(Wire, frozen=True, kw_only=True):
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None


class PromptEvent(Wire, frozen=True, kw_only=True):
    event_id: Uuid
    timestamp: Moment
    prompt: PromptBody
    session: Session
    model: Model
    context: Context | None = None
    tags: list[str] | None = None
    trace_context: TraceContext | None = None


class FunctionCall(Wire, frozen=True, kw_only=True):
    name: str | None = None
    arguments: Text | None = None


class ToolCall(Wire, frozen=True, kw_only=True):
    id: Identifier | None = None
    type: str | None = None
    function: FunctionCall | None = None


class ResponseBody(Wire, frozen=True, kw_only=True):
    text: Text | None = None
    finish_reason: str | None = None
    function_call: FunctionCall | None = None
    tool_calls: list[ToolCall] | None = None


class Usage(Wire, frozen=True, kw_only=True):
    """``prompt_tokens`` includes cached and cache-write tokens, ``completion_tokens`` reasoning."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    reasoning_tokens: Count | None = None


class Metrics(Wire, frozen=True, kw_only=True):
    latency: Integer | None = None
    ttft: Integer | None = None
    throughput: float | None = None
    cost: float | None = None


class ErrorBody(Wire, frozen=True, kw_only=True):
    code: str | None = None
    message: Text | None = None
    type: str | None = None
    recoverable: bool | None = None


class ResponseEvent(Wire, frozen=True, kw_only=True):
    event_id: Uuid
    timestamp: Moment
    prompt_event_id: Uuid
    response: ResponseBody
    usage: Usage | None = None
    metrics: Metrics | None = None
    error: ErrorBody | None = None
    session: Session | None = None
    model: Model | None = None
    tags: list[str] | None = None
    trace_context: TraceContext | None = None


class SessionEvent(Wire, frozen=True, kw_only=True):
    event_id: Uuid
    timestamp: Moment
    session: Session
    status: Literal["active", "completed", "failed", "archived"]
    started_at: Moment | None = None
    ended_at: Moment | None = None
    metadata: dict[str, Any] | None = None
    tags: list[str] | None = None


Event = PromptEvent | ResponseEvent | SessionEvent

KINDS: dict[type[Wire], str] = {
    PromptEvent: "prompt",
    ResponseEvent: "response",
    SessionEvent: "session",
}
TOPICS: dict[str, type[Wire]] = {
    "llm.prompts.v1": PromptEvent,
    "llm.responses.v1": ResponseEvent,
    "llm.sessions.v1": SessionEvent,
}
