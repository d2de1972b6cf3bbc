"""Where an event holds strings: all of it, in one place.

Each function asks for every string of its part of the event, and returns a function that makes the
screened part once the answers are there. A string that is not asked for here cannot get into the
result: its fields take nothing but answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from schemas.events import (
    FINISH_REASONS,
    OTHER,
    PURPOSES,
    RETRIEVAL_METHODS,
    ROLES,
    Document,
    ErrorBody,
    FunctionCall,
    Image,
    Message,
    Model,
    PromptBody,
    Session,
    ToolCall,
    TraceContext,
    Usage,
)
from schemas.items import (
    WITHHELD,
    DocumentRef,
    ErrorFacts,
    History,
    ImageFacts,
    ModelRef,
    Screened,
    ScreenedJson,
    ScreenedText,
    SessionRef,
    TemplateRef,
    ToolCallFacts,
    Trace,
    UsageFacts,
)
from stages.pii.asker import Asker, text_of
from stages.pii.images import picture
from stages.pii.jsontree import (
    answer_json,
    answer_string,
    ask_json,
    ask_string,
    canonical,
    withhold,
)
from stages.pii.screener import Answer
from stages.text.normal import collapse
from stages.text.template import derive_template, reproduces, template_id

EMPTY = ScreenedJson(b"{}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_encode = msgspec.json.Encoder().encode


def known(value: str | None, values: frozenset[str]) -> str | None:
    """A value of an open enumeration, ``other`` when it is not known today."""
    return value if value is None or value in values else OTHER


def microseconds(moment: datetime | None) -> int | None:
    """µs since 1970."""
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def screened_text(answer: Answer) -> ScreenedText:
    return ScreenedText(answer.text, answer.hash, len(answer.text))


def session(ask: Asker, raw: Session) -> Callable[[], SessionRef]:
    id_, user = ask.identifier(raw.id), ask.identifier(raw.user_id)
    application = ask.identifier_or_none(raw.application_id)
    purpose = known(raw.purpose, PURPOSES)
    return lambda: SessionRef(id_.text, user.text, text_of(application), purpose)


def model(ask: Asker, raw: Model) -> Callable[[], ModelRef]:
    """Events of one application mostly name the same model with the same parameters: a reference
    in which nothing was found is kept."""
    key = _encode(raw)
    kept = ask.models.get(key)
    if kept is not None:
        return lambda: kept
    first = len(ask.answers)
    id_ = ask.label(raw.id)
    provider, version = ask.label_or_none(raw.provider), ask.label_or_none(raw.version)
    parameters = json_object(ask, _parameters(raw))
    answers = ask.answers[first:]

    def build() -> ModelRef:
        made = ModelRef(id_.text, text_of(provider), text_of(version), parameters())
        if not any(answer.marks for answer in answers):
            ask.models.put(key, made)
        return made

    return build


def _parameters(raw: Model) -> dict[str, Any] | None:
    if raw.parameters is None:
        return None
    fields: dict[str, Any] = msgspec.to_builtins(raw.parameters)
    return {name: value for name, value in fields.items() if value is not None}


def json_object(ask: Asker, raw: dict[str, Any] | None) -> Callable[[], ScreenedJson]:
    if not raw:
        return lambda: EMPTY
    node = ask_json(ask, raw)
    return lambda: canonical(answer_json(node))


def tags(ask: Asker, raw: list[str] | None) -> list[Answer]:
    return [ask.label(tag) for tag in raw] if raw else []


def trace(ask: Asker, raw: TraceContext | None) -> Callable[[], Trace | None]:
    if raw is None:
        return lambda: None
    ids = [ask.identifier_or_none(i) for i in (raw.trace_id, raw.span_id, raw.parent_span_id)]
    return lambda: Trace(*map(text_of, ids))


def template(
    ask: Asker, body: PromptBody, main: Answer
) -> Callable[[], tuple[TemplateRef, ScreenedJson]]:
    """The template and its parameters. Parameters are parts of the text: with a withheld text they
    are withheld too."""
    own = ask.text(body.template) if body.template is not None else None
    parameters = ask_json(ask, body.parameters) if body.parameters else None

    def build() -> tuple[TemplateRef, ScreenedJson]:
        values = answer_json(parameters) if parameters is not None else None
        if own is None:
            text = WITHHELD if main.withheld else Screened(derive_template(main.text))
            ref = TemplateRef(template_id(text), text, "derived")
        else:
            same = None
            if isinstance(values, dict) and not main.withheld and not own.withheld:
                same = reproduces(own.text, values, main.text)
            ref = TemplateRef(template_id(own.text), own.text, "event", same)
        if values is None:
            return ref, EMPTY
        return ref, canonical(withhold(values) if main.withheld else values)

    return build


def images(ask: Asker, raw: list[Image] | None, key: bytes) -> Callable[[], tuple[ImageFacts, ...]]:
    if not raw:
        return lambda: ()
    facts = [picture(key, image.url, image.base64, image.mime_type) for image in raw]
    labels = [(ask.label_or_none(f.mime_type), ask.label_or_none(f.url)) for f in facts]
    return lambda: tuple(
        ImageFacts(text_of(mime), fact.size, fact.key, text_of(url))
        for fact, (mime, url) in zip(facts, labels, strict=True)
    )


def history(ask: Asker, raw: list[Message] | None) -> Callable[[], History | None]:
    """``hash`` is the SHA-256 over a line ``role:text hash`` for each message, in order."""
    if not raw:
        return lambda: None
    messages = [(known(m.role, ROLES) or OTHER, ask.text(m.content or "")) for m in raw]

    def build() -> History:
        lines = "".join(f"{role}:{answer.hash}\n" for role, answer in messages)
        role, last = messages[-1]
        return History(
            messages=len(messages),
            hash=hashlib.sha256(lines.encode()).hexdigest(),
            last_hash=last.hash,
            last_length=len(collapse(last.text)),
            last_role=role,
        )

    return build


def documents(ask: Asker, raw: list[Document] | None) -> Callable[[], tuple[DocumentRef, ...]]:
    """A document without an id is known by the hash of its screened content."""
    if not raw:
        return lambda: ()
    asked = [
        (ask.identifier_or_none(d.id), ask.text(d.content or ""), d.relevance_score) for d in raw
    ]
    return lambda: tuple(
        DocumentRef(
            _hash_id(content) if id_ is None else id_.text, content.hash, len(content.text), score
        )
        for id_, content, score in asked
    )


def tool_calls(
    ask: Asker, calls: list[ToolCall] | None, function: FunctionCall | None
) -> Callable[[], tuple[ToolCallFacts, ...]]:
    """``functionCall`` counts as call 0 when there are no ``toolCalls``."""
    if not calls:
        if function is None:
            return lambda: ()
        calls = [ToolCall(function=function)]
    asked = [_tool_call(ask, i, call) for i, call in enumerate(calls)]
    return lambda: tuple(build() for build in asked)


def _tool_call(ask: Asker, index: int, raw: ToolCall) -> Callable[[], ToolCallFacts]:
    id_, type_ = ask.identifier_or_none(raw.id), ask.label_or_none(raw.type)
    name = ask.label_or_none(raw.function.name) if raw.function else None
    text = raw.function.arguments if raw.function else None
    arguments = None if text is None else ask_string(ask, text)
    return lambda: ToolCallFacts(
        index,
        text_of(id_),
        text_of(type_),
        text_of(name),
        None if arguments is None else answer_string(arguments),
    )


def error(ask: Asker, raw: ErrorBody | None) -> Callable[[], ErrorFacts | None]:
    if raw is None:
        return lambda: None
    code, type_ = ask.label_or_none(raw.code), ask.label_or_none(raw.type)
    message = None if raw.message is None else ask_string(ask, raw.message)
    return lambda: ErrorFacts(
        text_of(code),
        None if message is None else answer_string(message),
        text_of(type_),
        raw.recoverable,
    )


def usage(raw: Usage | None) -> UsageFacts | None:
    if raw is None:
        return None
    return UsageFacts(
        raw.prompt_tokens,
        raw.completion_tokens,
        raw.total_tokens,
        raw.cached_tokens or 0,
        raw.cache_write_tokens or 0,
        raw.reasoning_tokens or 0,
    )


def finish_reason(raw: str | None) -> str | None:
    return known(raw, FINISH_REASONS)


def retrieval_method(raw: str | None) -> str | None:
    return known(raw, RETRIEVAL_METHODS)


def _hash_id(content: Answer) -> Screened:
    return Screened(content.hash)
