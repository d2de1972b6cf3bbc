"""Detectors that find what a test plants, and events to plant it in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from schemas.chunk import Chunk
from schemas.events import KINDS, TOPICS, PromptEvent, ResponseEvent, SessionEvent
from schemas.items import Decoded, Embedded, Kind, Measured, ScreenedEvent, TextFacts
from schemas.log import Origin, Original, Partition
from stages.pii.detect.spans import Span
from stages.pii.settings import PiiSettings
from stages.pii.stage import PiiStage

EMAIL = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
CARD = re.compile(r"(?<![\w.])\d{16}(?!\w)")
NAME = re.compile(r"\b(?:Ada Lovelace|Alan Turing)\b")

PROMPT_ID = "3f0c2c3a-6f3d-4c8e-9a51-0d8f1f0c7a10"
RESPONSE_ID = "77777777-6f3d-4c8e-9a51-0d8f1f0c7a11"
SESSION_ID = "88888888-6f3d-4c8e-9a51-0d8f1f0c7a12"


class Patterns:
    """E-mail addresses and 16 digits; keeps what it was given, for counting."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def detect(self, texts: Sequence[str], /) -> list[tuple[Span, ...]]:
        self.calls.append(list(texts))
        return [
            tuple(
                sorted(
                    [Span(*m.span(), "EMAIL_ADDRESS", 1.0) for m in EMAIL.finditer(text)]
                    + [Span(*m.span(), "CREDIT_CARD", 0.9) for m in CARD.finditer(text)]
                )
            )
            for text in texts
        ]


class Names:
    """Two famous names."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def detect(self, texts: Sequence[str], /) -> list[tuple[Span, ...]]:
        self.calls.append(list(texts))
        return [tuple(Span(*m.span(), "PERSON", 0.85) for m in NAME.finditer(t)) for t in texts]


def stage(patterns: Any = None, names: Any = None, settings: PiiSettings | None = None) -> PiiStage:
    return PiiStage(
        patterns or Patterns(),
        names,
        settings or PiiSettings(),
        pseudonym_key=b"p" * 32,
        image_key=b"i" * 32,
    )


def measured(
    wire: dict[str, Any],
    *,
    language: str = "en",
    key: bytes | None = None,
    headers: tuple[tuple[str, bytes], ...] = (),
    offset: int = 0,
) -> Measured:
    """A wire event as the text stage hands it on."""
    topic, type_ = next((t, e) for t, e in TOPICS.items() if _shape(wire) is e)
    event: Any = msgspec.convert(wire, type_)
    kind: Kind = KINDS[type_]  # type: ignore[assignment]
    original = Original(key, headers, msgspec.json.encode(wire))
    decoded = Decoded(
        kind,
        event.event_id.lower(),
        1_700_000_000_000_000,
        event,
        Origin(topic, 0, offset, 1),
        original,
    )
    text = None
    if isinstance(event, PromptEvent):
        text = event.prompt.text
    elif isinstance(event, ResponseEvent):
        text = event.response.text
    return Measured(decoded, text, TextFacts(language=language, characters=len(text or "")))


def _shape(wire: dict[str, Any]) -> type:
    if "prompt" in wire:
        return PromptEvent
    return ResponseEvent if "response" in wire else SessionEvent


def chunk(*items: Measured) -> Chunk[Measured]:
    return Chunk(Partition("llm.prompts.v1", 0), items)


def screen(stage_: PiiStage, *items: Measured) -> list[ScreenedEvent]:
    outcome = stage_(chunk(*items))
    assert not outcome.rejected
    return [_event(item) for item in outcome.passed.items]


def _event(item: Embedded) -> ScreenedEvent:
    assert item.vector is None
    assert item.original is not None
    return item.event


def prompt(text: str = "Hello", **parts: Any) -> dict[str, Any]:
    """A small valid prompt; ``parts`` go into its ``prompt`` when they belong there."""
    body = {k: parts.pop(k) for k in ("template", "parameters", "images", "metadata") if k in parts}
    return {
        "eventId": PROMPT_ID,
        "timestamp": "2026-01-01T00:00:00Z",
        "prompt": {"text": text, **body},
        "session": {"id": "s-1", "userId": "u-1"},
        "model": {"id": "gpt-4o"},
        **parts,
    }


def response(text: str | None = "Hi", **parts: Any) -> dict[str, Any]:
    body = {k: parts.pop(k) for k in ("finishReason", "functionCall", "toolCalls") if k in parts}
    return {
        "eventId": RESPONSE_ID,
        "timestamp": "2026-01-01T00:00:01Z",
        "promptEventId": PROMPT_ID,
        "response": {"text": text, **body},
        **parts,
    }


def session(**parts: Any) -> dict[str, Any]:
    return {
        "eventId": SESSION_ID,
        "timestamp": "2026-01-01T00:00:02Z",
        "session": {"id": "s-1", "userId": "u-1"},
        "status": "completed",
        **parts,
    }
