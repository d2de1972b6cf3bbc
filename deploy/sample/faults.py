"""What goes wrong in the sample: disorder, duplicates, faults and lines that are broken."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

Event = dict[str, Any]
_TWO_DAYS = timedelta(days=2)


def disturb(events: list[Event], dice: random.Random) -> list[bytes]:
    """The lines of the events (sorted by time), out of order here and there, some twice.

    Six responses have clocks that run ahead and come before their prompts. One prompt is lost, one
    comes two days late. Eight events come twice, three of these written in another way; one id
    comes again with another text. Two prompts have two answers. One answer is an error, one was
    cut, one was filtered, one ends for a reason of its own. Six lines are broken.
    """
    prompts = {event["eventId"]: event for event in events if "prompt" in event}
    plain = [e for e in events if "response" in e and e["response"]["finishReason"] == "stop"]
    first_day = [e for e in plain if e["timestamp"] < events[0]["timestamp"][:10] + "T24"]
    lost, late = dice.sample([e for e in first_day if "session" not in e], 2)
    others = [event for event in plain if event not in (lost, late)]
    picked = iter(dice.sample(others, 12))
    for _ in range(6):
        early = next(picked)
        early["timestamp"] = _moved(prompts[early["promptEventId"]], -dice.randrange(80, 900))
    _outcomes([next(picked) for _ in range(4)])
    events += [_second_answer(next(picked), dice) for _ in range(2)]
    events.remove(prompts[lost["promptEventId"]])
    prompts[late["promptEventId"]]["timestamp"] = _moved(prompts[late["promptEventId"]], _TWO_DAYS)
    events.sort(key=lambda event: event["timestamp"])
    lines = [_line(event) for event in events]
    return _with_broken(_with_duplicates(events, lines, dice), events, dice)


def _moved(event: Event, by: int | timedelta) -> str:
    """The event's time, moved by milliseconds or more."""
    step = by if isinstance(by, timedelta) else timedelta(milliseconds=by)
    at = datetime.fromisoformat(event["timestamp"]) + step
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def _outcomes(events: list[Event]) -> None:
    failed, cut, filtered, refused = events
    failed["response"] = {"finishReason": "error"}
    failed["error"] = {
        "code": "overloaded",
        "type": "server_error",
        "message": "The model is overloaded, try again later.",
        "recoverable": True,
    }
    del failed["usage"]
    cut["response"] = {"text": cut["response"]["text"][:120], "finishReason": "length"}
    filtered["response"] = {"text": "", "finishReason": "content_filter"}
    refused["response"]["finishReason"] = "refusal"


def _second_answer(event: Event, dice: random.Random) -> Event:
    again = copy.deepcopy(event)
    again["eventId"] = _flipped(event["eventId"])
    again["timestamp"] = _moved(event, dice.randrange(4_000, 20_000))
    again["response"]["text"] = "In short: " + again["response"]["text"]
    return again


def _flipped(event_id: str) -> str:
    return event_id[:-1] + format(int(event_id[-1], 16) ^ 1, "x")


def _with_duplicates(events: list[Event], lines: list[bytes], dice: random.Random) -> list[bytes]:
    inserts: list[tuple[int, bytes]] = []
    for count, index in enumerate(dice.sample(range(len(events) - 20), 8)):
        event = events[index]
        again = json.dumps(dict(reversed(event.items()))).encode() if count < 3 else lines[index]
        inserts.append((index + dice.randrange(1, 15), again))
    index = next(i for i in range(len(events) // 2, len(events)) if "prompt" in events[i])
    other = copy.deepcopy(events[index])
    other["prompt"]["text"] += " Really?"
    inserts.append((index + 3, _line(other)))
    for index, line in sorted(inserts, reverse=True):
        lines.insert(index, line)
    return lines


def _with_broken(lines: list[bytes], events: list[Event], dice: random.Random) -> list[bytes]:
    prompts = [e for e in events if "prompt" in e]
    responses = [e for e in events if "usage" in e]
    states = [e for e in events if "status" in e]
    faults: list[tuple[list[Event], Callable[[Event], object]]] = [
        (prompts, lambda e: e["session"].pop("userId")),
        (prompts, lambda e: e["prompt"].update(text="")),
        (prompts, lambda e: e["model"].update(parameters={"temperature": 3})),
        (responses, lambda e: e["usage"].update(totalTokens="many")),
        (states, lambda e: e.update(status="paused")),
    ]
    for kind, fault in faults:
        source = dice.choice(kind)
        event = copy.deepcopy(source)
        event["eventId"] = _flipped(event["eventId"][::-1])[::-1]
        fault(event)
        lines.insert(dice.randrange(len(lines)), _line(event))
    twice = _line(dice.choice(prompts))
    lines.insert(dice.randrange(len(lines)), twice[:-1] + b',"tags":["a"],"tags":["b"]}')
    return lines


def broken_lines(dice: random.Random) -> list[bytes]:
    """Lines that fit no topic: a field is missing, or the line is no JSON at all."""
    event_id = _flipped(f"{dice.getrandbits(32):08x}-0000-4000-8000-000000000000")
    head = f'"eventId":"{event_id}","timestamp":"2026-10-07T09:59:00.000Z"'
    return [
        b"{" + head.encode() + b',"session":{"id":"s-900","userId":"u-1001"}}',
        b'{"eventId":"b2c7',
        b'{"prompt":{"text":"caf\xe9"}}',
        b'{"prompt":{"text":"half an emoji: \\ud83d"}}',
    ]


def _line(event: Event) -> bytes:
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
