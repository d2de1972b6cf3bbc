"""Where a bare event goes: the topic that its shape names, its key and its log timestamp."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Literal

import msgspec
import orjson

from flows.filelog.lines import NewRecord

BATCH = 5000
Clock = Literal["event", "now"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

PROMPTS, RESPONSES, SESSIONS = "llm.prompts.v1", "llm.responses.v1", "llm.sessions.v1"


class RefusedLine(msgspec.Struct, frozen=True):
    """A line that was not appended. ``number`` counts from 1; ``reason`` quotes nothing of it."""

    number: int
    reason: str


class Batch(msgspec.Struct, frozen=True):
    """Some lines of a file, in order: the records they became, and the lines refused."""

    records: list[NewRecord]
    refused: list[RefusedLine]


def batches(
    lines: Iterable[bytes], topic: str | None = None, timestamp: Clock = "event"
) -> Iterator[Batch]:
    """The records that lines of JSON become.

    The topic is ``topic``, else what the event's shape names; a line that fits none, or several, is
    refused unless ``topic`` is given. The key is the session id (for a response that names none,
    its prompt's id). The log timestamp is the event's own, or the clock's with ``now``; where an
    event has no readable one, that of the line before, for the first ones that of the first line
    that has one, and the clock's only where none has: a time far ahead of the others would make
    orphans of what still waits.
    Blank lines are passed over.
    """
    previous: int | None = None
    numbered = enumerate(lines, start=1)
    while batch := list(islice(numbered, BATCH)):
        made = Batch([], [])
        stripped = ((number, raw.strip(b" \t\r\n")) for number, raw in batch)
        parsed = [(number, line, _parse(line)) for number, line in stripped if line]
        if previous is None:
            times = (_event_time(event) for _, _, event in parsed)
            previous = next((t for t in times if t is not None), _now())
        for number, line, event in parsed:
            found = topic or _route(event)
            if isinstance(found, RefusedShape):
                made.refused.append(RefusedLine(number, found.reason))
                continue
            own = _now() if timestamp == "now" else _event_time(event)
            previous = previous if own is None else own
            made.records.append(NewRecord(found, line, previous, _key(event)))
        yield made


class RefusedShape(msgspec.Struct, frozen=True):
    reason: str


def _parse(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _route(event: Any) -> str | RefusedShape:
    if event is None:
        return RefusedShape("not JSON")
    if not isinstance(event, dict):
        return RefusedShape("not a JSON object")
    fits = []
    if "prompt" in event:
        fits.append(PROMPTS)
    if "response" in event or "promptEventId" in event:
        fits.append(RESPONSES)
    if not fits and "session" in event and "status" in event:
        fits.append(SESSIONS)
    if len(fits) == 1:
        return fits[0]
    if fits:
        return RefusedShape("fits more than one topic: has fields of a prompt and of a response")
    return RefusedShape("fits no topic: neither a prompt, a response nor a session event")


def _key(event: Any) -> bytes | None:
    for key in _key_candidates(event):
        if isinstance(key, str) and key:
            return key.encode("utf-8", "surrogatepass")
    return None


def _key_candidates(event: Any) -> Iterator[object]:
    if isinstance(event, dict):
        session = event.get("session")
        if isinstance(session, dict):
            yield session.get("id")
        yield event.get("promptEventId")


def _now() -> int:
    return time.time_ns() // 1_000_000


def _event_time(event: Any) -> int | None:
    """The event's own time in ms since 1970; None when it has no readable one."""
    stamp = event.get("timestamp") if isinstance(event, dict) else None
    if not isinstance(stamp, str):
        return None
    try:
        moment = msgspec.convert(stamp, datetime)
    except msgspec.ValidationError:
        return None
    return None if moment.tzinfo is None else (moment - _EPOCH) // timedelta(milliseconds=1)
