"""Conversations as events: a prompt and its response for every two texts."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from flows.filelog import LogWriter, NewRecord
from schemas.chunk import Chunk
from schemas.log import LogRecord, Origin, Original, Partition

PROMPTS, RESPONSES = "llm.prompts.v1", "llm.responses.v1"
START = datetime(2026, 10, 5, 9, tzinfo=UTC)
TURNS = 5
USERS = 200
MODELS = (
    ("gpt-4o", "openai"),
    ("gpt-4o-mini", "openai"),
    ("claude-sonnet-4-5-20250929", "anthropic"),
    ("gemini-2.5-flash", "google"),
)

Event = dict[str, Any]


def conversations(texts: Sequence[str], seed: int = 0) -> Iterator[tuple[str, Event]]:
    """(topic, event) in the order of their times: sessions of ``TURNS`` pairs, a second a pair.

    A response names neither session nor model: it gets both from its prompt. No text comes twice.
    """
    dice = random.Random(seed)
    pairs = [pair for index, pair in enumerate(pairwise(texts)) if index % 2 == 0]
    for index, (question, answer) in enumerate(pairs):
        number = index // TURNS
        model, provider = MODELS[number % len(MODELS)]
        at = START + timedelta(seconds=index)
        latency = dice.randrange(200, 900)
        used, made = len(question) // 4, len(answer) // 4
        prompt: Event = {
            "eventId": _uuid(dice),
            "timestamp": _stamp(at),
            "prompt": {"text": question, "metadata": {"channel": "web", "experiment": "b"}},
            "session": {
                "id": f"s-{number}",
                "userId": f"u-{number % USERS}",
                "applicationId": "support-chat",
                "purpose": "chat",
            },
            "model": {"id": model, "provider": provider, "parameters": {"temperature": 0.7}},
            "tags": ["production"],
        }
        yield PROMPTS, prompt
        response: Event = {
            "eventId": _uuid(dice),
            "timestamp": _stamp(at + timedelta(milliseconds=latency)),
            "promptEventId": prompt["eventId"],
            "response": {"text": answer, "finishReason": "stop"},
            "usage": {
                "promptTokens": used,
                "completionTokens": made,
                "totalTokens": used + made,
            },
            "metrics": {"latency": latency, "ttft": latency // 3},
        }
        yield RESPONSES, response


def encoded(texts: Sequence[str]) -> list[tuple[str, bytes]]:
    """(topic, value) of the conversations' events."""
    return [(topic, _json(event)) for topic, event in conversations(texts)]


def write_log(folder: Path, texts: Sequence[str]) -> int:
    """Appends the conversations to the log in ``folder``; answers how many events they are."""
    records = [record(topic, event, milliseconds(event)) for topic, event in conversations(texts)]
    LogWriter(folder).append(records)
    return len(records)


def record(topic: str, event: Event, at: int) -> NewRecord:
    """The event as a log record of a moment, in ms since 1970."""
    key = event["session"]["id"] if topic == PROMPTS else event["promptEventId"]
    return NewRecord(topic, _json(event), at, key.encode())


def moved(event: Event, at: int) -> Event:
    """The event with another time of its own."""
    return event | {"timestamp": _stamp(datetime.fromtimestamp(at / 1_000, UTC))}


def chunks(texts: Sequence[str], seed: int = 0) -> list[Chunk[LogRecord]]:
    """The conversations as two chunks, as a source hands them over: prompts, then responses."""
    items: dict[str, list[LogRecord]] = {PROMPTS: [], RESPONSES: []}
    last = 0
    for topic, event in conversations(texts, seed):
        last = milliseconds(event)
        origin = Origin(topic, 0, len(items[topic]), last)
        items[topic].append(LogRecord(origin, Original(None, (), _json(event))))
    return [Chunk(Partition(topic, 0), records, last) for topic, records in items.items()]


def _json(event: Event) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def _uuid(dice: random.Random) -> str:
    return str(uuid.UUID(int=dice.getrandbits(128), version=4))


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def milliseconds(event: Event) -> int:
    return round(datetime.fromisoformat(event["timestamp"]).timestamp() * 1_000)
