"""Log records of every kind and in every condition, for the stages."""

from __future__ import annotations

import json
import uuid
from typing import Any

from schemas.log import LogRecord, Origin, Original

TIME_MS = 1_767_225_600_000
MOMENT = "2026-01-01T00:00:00Z"
PROMPTS, RESPONSES, SESSIONS = "llm.prompts.v1", "llm.responses.v1", "llm.sessions.v1"


def event_id(number: int) -> str:
    return str(uuid.UUID(int=number, version=4))


def prompt(number: int, text: str, **changes: Any) -> dict[str, Any]:
    return {
        "eventId": event_id(number),
        "timestamp": MOMENT,
        "prompt": {
            "text": text,
            "metadata": {"channel": "web", "note": f"from user{number}@example.org"},
        },
        "session": {"id": f"s{number % 3}", "userId": f"user{number % 2}@example.org"},
        "model": {"id": "gpt-4o", "provider": "openai", "parameters": {"temperature": 0.5}},
        "tags": ["a", "b"],
    } | changes


def response(number: int, to: int, text: str | None, **changes: Any) -> dict[str, Any]:
    return {
        "eventId": event_id(number),
        "timestamp": MOMENT,
        "promptEventId": event_id(to),
        "response": {"text": text, "finishReason": "stop"},
        "usage": {"promptTokens": 12, "completionTokens": 7, "totalTokens": 19},
        "metrics": {"latency": 120},
    } | changes


def session(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "eventId": event_id(number),
        "timestamp": MOMENT,
        "session": {"id": f"s{number % 3}", "userId": "user0@example.org"},
        "status": "active",
    } | changes


def log() -> list[LogRecord]:
    """Good, odd, broken, repeated and conflicting records, offsets in order."""
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "My card is 4111 1111 1111 1111."},
    ]
    call = {"name": "find", "arguments": '{"mail": "ada\\u0040example.org"}'}
    documents = [{"id": "d1", "content": "A page about trains.", "relevanceScore": 0.5}]
    first = prompt(1, "Write to ada.lovelace@example.com about the 3 trains to Paris.")
    values: list[tuple[str, Any]] = [
        (PROMPTS, first),
        (RESPONSES, response(2, 1, "I wrote to ada.lovelace@example.com.")),
        (RESPONSES, response(3, 4, "An answer that comes before its prompt.")),
        (PROMPTS, prompt(4, "日本語の質問です", context={"conversationHistory": history})),
        (SESSIONS, session(5)),
        (PROMPTS, prompt(6, "", context={"documents": documents, "retrievalMethod": "magic"})),
        (RESPONSES, response(7, 999, None, response={"functionCall": call})),
        (PROMPTS, first),
        (PROMPTS, prompt(1, "Another content under the same id.")),
        (RESPONSES, response(1, 1, "A response with its prompt's id.")),
        (PROMPTS, b"{not json"),
        (PROMPTS, b'{"eventId": "\xff"}'),
        (PROMPTS, prompt(8, "no such time", timestamp="2019-01-01T00:00:00Z")),
        (RESPONSES, response(9, 1, "wrong", usage={"promptTokens": "12"})),
        (SESSIONS, session(10, status="asleep")),
        (PROMPTS, prompt(11, "  spaces \r\n and\u0301 accents  \n")),
        (RESPONSES, response(12, 11, "again", session={"id": "s9", "userId": "someone"})),
        (SESSIONS, session(13, metadata={"deep": [[[[[["x@example.org"]]]]]]})),
        (PROMPTS, prompt(14, "unknown model", model={"id": "homegrown-7b"})),
    ]
    return [_record(offset, topic, value) for offset, (topic, value) in enumerate(values)]


def _record(offset: int, topic: str, value: Any) -> LogRecord:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    headers = (("source", b"gateway"),)
    return LogRecord(Origin(topic, 0, offset, TIME_MS + offset), Original(b"key", headers, body))
