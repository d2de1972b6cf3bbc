"""Screened events for tests, small and complete, with everything that matters as an argument."""

from __future__ import annotations

import hashlib
from typing import Any

from schemas.items import (
    DocumentRef,
    Embedded,
    History,
    ModelRef,
    Screened,
    ScreenedPrompt,
    ScreenedResponse,
    ScreenedSession,
    ScreenedText,
    SessionRef,
    TemplateRef,
    TextFacts,
    UsageFacts,
)
from schemas.log import Origin

DAY_MS = 86_400_000
T0_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""

FACTS = TextFacts("en", 0.98, 12, "estimate:cl100k_base", 40)
GPT = ModelRef(Screened("gpt-4o"), Screened("openai"))


def uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def digest(text: str) -> str:
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()


def text(value: str) -> ScreenedText:
    return ScreenedText(Screened(value), digest(value), len(value))


def session(
    id_: str = "s1", user: str = "u1", application: str | None = "app", purpose: str = "chat"
) -> SessionRef:
    app = None if application is None else Screened(application)
    return SessionRef(Screened(id_), Screened(user), app, purpose)


def origin(number: int, topic: str = "llm.prompts.v1", log_ms: int | None = None) -> Origin:
    return Origin(topic, 0, number, T0_MS + number if log_ms is None else log_ms)


def template(value: str) -> TemplateRef:
    return TemplateRef(digest("template " + value), Screened(value), "derived", None)


def prompt(number: int, value: str = "What is the capital of France?", **other: Any) -> Any:
    arguments: dict[str, Any] = {
        "id": uuid(number),
        "time": (T0_MS + number) * 1000,
        "origin": origin(number),
        "facts": FACTS,
        "text": text(value),
        "session": session(),
        "model": GPT,
        "template": template(value),
    }
    return ScreenedPrompt(**{**arguments, **other})


def response(number: int, prompt_number: int, value: str | None = "Paris.", **other: Any) -> Any:
    arguments: dict[str, Any] = {
        "id": uuid(number),
        "time": (T0_MS + number) * 1000,
        "origin": origin(number, "llm.responses.v1"),
        "facts": FACTS,
        "prompt_id": uuid(prompt_number),
        "text": None if value is None else text(value),
        "finish_reason": "stop",
        "usage": UsageFacts(100, 20, 120),
    }
    return ScreenedResponse(**{**arguments, **other})


def session_event(number: int, status: str = "completed", **other: Any) -> Any:
    arguments: dict[str, Any] = {
        "id": uuid(number),
        "time": (T0_MS + number) * 1000,
        "origin": origin(number, "llm.sessions.v1"),
        "session": session(),
        "status": status,
    }
    return ScreenedSession(**{**arguments, **other})


def history(last: str, messages: int = 2) -> History:
    return History(messages, digest("history " + last), digest(last), len(last), "assistant")


def document(id_: str, content: str, score: float | None = None) -> DocumentRef:
    return DocumentRef(Screened(id_), digest(content), len(content), score)


def embedded(event: Any, *, vector: bool = True) -> Embedded:
    if vector and getattr(event, "text", None) is not None:
        return Embedded(event, b"\0\0\x80?" + b"\0" * 1532, "mini")
    return Embedded(event)
