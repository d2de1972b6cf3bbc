"""A seeded stream of hostile log records: broken, mutated, or valid and full of odd content.

The same seed gives the same records, each made when it is asked for, so that a hundred thousand of
them need no memory. About half are valid events that carry odd content everywhere it may stand.
"""

from __future__ import annotations

import copy
import json
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.log import LogRecord, Origin, Original
from tests.fuzz.strings import (
    INJECTIONS,
    ODD,
    PERSONAL,
    RAW_VALUES,
    UNICODE,
    VERSIONS,
    WHOLE,
)

PROMPTS, RESPONSES, SESSIONS = "llm.prompts.v1", "llm.responses.v1", "llm.sessions.v1"
TOPICS = (PROMPTS, RESPONSES, SESSIONS)
START = datetime(2026, 1, 1, tzinfo=UTC)
_NASTY = INJECTIONS + UNICODE + PERSONAL


def hostile(count: int, seed: int = 0, partitions: int = 4) -> Iterator[LogRecord]:
    """``count`` records; offsets rise by one in each (topic, partition), log time rises overall."""
    dice = random.Random(seed)
    offsets: dict[tuple[str, int], int] = {}
    ids = [_uuid(dice) for _ in range(50)]
    for number in range(count):
        at = START + timedelta(milliseconds=40 * number)
        topic = dice.choice(TOPICS)
        value = _value(dice, topic, at, ids)
        place = topic, dice.randrange(partitions)
        offset = offsets.get(place, 0)
        offsets[place] = offset + 1
        timestamp = int(at.timestamp() * 1000)
        if dice.random() < 0.01:
            timestamp = dice.choice((-1, 0, timestamp - 10**7, timestamp + 10**10, 2**62))
        original = Original(_key(dice), _headers(dice), value)
        yield LogRecord(Origin(*place, offset, timestamp), original)


def _value(dice: random.Random, topic: str, at: datetime, ids: list[str]) -> bytes:
    if dice.random() < 0.02:
        return dice.choice(WHOLE)
    event = _event(dice, topic, at, ids)
    shape = dice.choice(_SHAPES)
    return shape(dice, event)


def _event(dice: random.Random, topic: str, at: datetime, ids: list[str]) -> dict[str, Any]:
    if dice.random() < 0.02:
        topic = dice.choice(TOPICS)
    event_id = dice.choice(ids) if dice.random() < 0.03 else _uuid(dice)
    if dice.random() < 0.3:
        ids[dice.randrange(len(ids))] = event_id
    event: dict[str, Any] = {"eventId": event_id, "timestamp": _time(dice, at)}
    if topic == PROMPTS:
        event |= {"prompt": _prompt(dice), "session": _session(dice), "model": _model(dice)}
        if dice.random() < 0.4:
            event["context"] = _context(dice)
    elif topic == RESPONSES:
        event |= {"promptEventId": dice.choice(ids), "response": _response(dice)}
        if dice.random() < 0.5:
            event["usage"] = _usage(dice)
        if dice.random() < 0.2:
            event |= {"session": _session(dice), "model": _model(dice)}
        if dice.random() < 0.2:
            event["error"] = {"code": _text(dice), "message": _text(dice), "recoverable": True}
    else:
        status = dice.choice(("active", "completed", "failed", "archived"))
        event |= {"session": _session(dice), "status": status, "metadata": _free(dice)}
    if dice.random() < 0.3:
        event["tags"] = [_text(dice) for _ in range(dice.randrange(4))]
    if dice.random() < 0.2:
        event["traceContext"] = {"traceId": _text(dice), "spanId": _text(dice)}
    return event


def _uuid(dice: random.Random) -> str:
    text = str(uuid.UUID(int=dice.getrandbits(128)))
    return text.upper() if dice.random() < 0.1 else text


def _time(dice: random.Random, at: datetime) -> str:
    at += timedelta(seconds=dice.choice((0, 0, 0, 0, -3600, 200, 400, -(86400 * 31))))
    zone = dice.choice(("Z", "Z", "+00:00", "z", "-00:00"))
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f") + zone


def _text(dice: random.Random) -> str:
    chance = dice.random()
    if chance < 0.6:
        return dice.choice(_NASTY)
    if chance < 0.9:
        return " ".join(dice.choice(_NASTY) for _ in range(dice.randrange(1, 6)))
    if chance < 0.95:
        return "".join(chr(dice.randrange(0x20, 0xD800)) for _ in range(dice.randrange(300)))
    if chance < 0.997:
        return dice.choice(_NASTY)[:40] * dice.choice((10, 50, 200))
    return dice.choice(("a", "ab ", "é\n", "@", "1", "[", "😀")) * dice.choice((20_000, 100_000))


def _free(dice: random.Random, depth: int = 3) -> Any:
    if depth == 0 or dice.random() < 0.3:
        return {_text(dice)[:50]: _odd(dice)}
    deeper = depth - 1
    return {
        _text(dice)[:50]: dice.choice((_text(dice), [_free(dice, deeper)], _free(dice, deeper)))
        for _ in range(dice.randrange(4))
    }


def _odd(dice: random.Random) -> Any:
    return copy.deepcopy(dice.choice(ODD))


def _prompt(dice: random.Random) -> dict[str, Any]:
    prompt: dict[str, Any] = {"text": _text(dice) if dice.random() < 0.98 else ""}
    if dice.random() < 0.2:
        prompt |= {"template": "{{a}} " + _text(dice), "parameters": {"a": _text(dice)}}
    if dice.random() < 0.2:
        prompt["metadata"] = _free(dice)
    if dice.random() < 0.2:
        image = {"base64": "aGk" + "=" * dice.randrange(3), "mimeType": _text(dice)}
        prompt["images"] = [image, {"url": dice.choice(("data:,x", "http://jane@[::1]/?a=%40"))}]
    return prompt


def _session(dice: random.Random) -> dict[str, Any]:
    session: dict[str, Any] = {"id": _identifier(dice), "userId": _identifier(dice)}
    if dice.random() < 0.5:
        session |= {"applicationId": _identifier(dice), "purpose": dice.choice(("chat", "x", None))}
    return session


def _identifier(dice: random.Random) -> str:
    return _text(dice) if dice.random() < 0.5 else f"s-{dice.randrange(30)}"


def _model(dice: random.Random) -> dict[str, Any]:
    model: dict[str, Any] = {"id": dice.choice(("gpt-4o", "no-such-model", _text(dice)))}
    if dice.random() < 0.5:
        model |= {"provider": _identifier(dice), "parameters": {"topK": 1.0, "stopSequences": [""]}}
    return model


def _context(dice: random.Random) -> dict[str, Any]:
    roles = ("user", "assistant", "tool", "narrator", None)
    history = [
        {"role": dice.choice(roles), "content": _text(dice)} for _ in range(dice.randrange(5))
    ]
    scores = (0, -1.5, 1e300)
    documents = [
        {"id": _identifier(dice), "content": _text(dice), "relevanceScore": dice.choice(scores)}
        for _ in range(dice.randrange(3))
    ]
    method = dice.choice(("hybrid", "sparse", None))
    return {"conversationHistory": history, "documents": documents, "retrievalMethod": method}


def _response(dice: random.Random) -> dict[str, Any]:
    response: dict[str, Any] = {"text": dice.choice((_text(dice), "", None))}
    response["finishReason"] = dice.choice(("stop", "tool_calls", "x", None))
    if dice.random() < 0.4:
        response["toolCalls"] = [
            {"id": _text(dice), "function": {"name": _text(dice), "arguments": _arguments(dice)}}
            for _ in range(dice.randrange(1, 4))
        ]
    if dice.random() < 0.2:
        response["functionCall"] = {"name": _text(dice), "arguments": _arguments(dice)}
    return response


def _arguments(dice: random.Random) -> str:
    whole = json.dumps(_free(dice))
    return dice.choice((whole, whole[: len(whole) // 2], "[" * 500, _text(dice), '{"a":1e999}'))


def _usage(dice: random.Random) -> dict[str, Any]:
    counts = [dice.choice((0, 7, 7.0, 10**9, 2**63 - 1)) for _ in range(3)]
    usage = dict(zip(("promptTokens", "completionTokens", "totalTokens"), counts, strict=True))
    if dice.random() < 0.3:
        usage |= {"cachedTokens": 2**40, "reasoningTokens": 1}
    return usage


def _key(dice: random.Random) -> bytes | None:
    return dice.choice((None, b"", b"key", b"\xff\x00", b"jane.doe@example.org"))


def _headers(dice: random.Random) -> tuple[tuple[str, bytes], ...]:
    if dice.random() < 0.9:
        return ()
    if dice.random() < 0.5:
        return (("schema_version", dice.choice(VERSIONS)),)
    return (
        (dice.choice(_NASTY), b"\xff"),
        ("source", dice.choice(_NASTY).encode()),
        ("source", b""),
    )


def _plain(dice: random.Random, event: dict[str, Any]) -> bytes:
    indent, ascii_only = dice.choice((None, None, 1)), dice.random() < 0.5
    return json.dumps(event, indent=indent, ensure_ascii=ascii_only).encode()


def _places(value: Any) -> list[tuple[Any, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, inner in items:
        found.append((value, key))
        if isinstance(inner, dict | list):
            found += _places(inner)
    return found


def _mutated(dice: random.Random, event: dict[str, Any]) -> bytes:
    for _ in range(dice.randrange(1, 4)):
        spots = _places(event)
        if not spots:
            break
        holder, key = dice.choice(spots)
        if dice.random() < 0.3:
            del holder[key]
        elif dice.random() < 0.2 and isinstance(holder, dict):
            holder[_text(dice)[:80]] = _free(dice)
        else:
            holder[key] = dice.choice((_odd(dice), _odd(dice), _text(dice)))
    return _plain(dice, event)


def _raw(dice: random.Random, event: dict[str, Any]) -> bytes:
    """A piece of JSON that strict parsers refuse, in the place of a value of the event."""
    holder, key = dice.choice(_places(event))
    holder[key] = "@@here@@"
    return json.dumps(event).encode().replace(b'"@@here@@"', dice.choice(RAW_VALUES))


def _bytes(dice: random.Random, event: dict[str, Any]) -> bytes:
    value = bytearray(_plain(dice, event))
    for _ in range(dice.randrange(1, 5)):
        at = dice.randrange(len(value) + 1)
        match dice.randrange(4):
            case 0:
                value[at:at] = dice.randbytes(dice.randrange(1, 4))
            case 1:
                del value[at : at + dice.randrange(1, 20)]
            case 2:
                value[at : at + 1] = bytes([dice.randrange(256)])
            case _:
                value[at:at] = value[at : at + 30]
    return bytes(value)


def _twice(dice: random.Random, event: dict[str, Any]) -> bytes:
    name = dice.choice(list(event))
    again = json.dumps({name: dice.choice(ODD)})[1:-1]
    return json.dumps(event)[:-1].encode() + b"," + again.encode() + b"}"


def _huge(dice: random.Random, event: dict[str, Any]) -> bytes:
    if dice.random() < 0.9:
        return _plain(dice, event)
    event["extra"] = dice.choice(("x", "é", "\\", '"')) * dice.choice((10_000, 500_000, 5_000_000))
    return _plain(dice, event)


_SHAPES: tuple[Callable[[random.Random, dict[str, Any]], bytes], ...] = (
    _plain, _plain, _plain, _plain, _plain, _plain, _mutated, _mutated, _mutated, _raw, _bytes,
    _twice, _huge,
)  # fmt: skip
