"""Whole conversations from a generated log, by what happens in them."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import cache
from typing import NamedTuple

from flows.filelog import NewRecord
from tests.generate import ORPHAN_AFTER_MS, generate

Conversation = list[NewRecord]


class Pools(NamedTuple):
    """``odd`` conversations have a response without its prompt or one that it waits long for, or a
    copy that comes after the claim has ended; ``broken`` are single records."""

    odd: list[Conversation]
    plain: list[Conversation]
    broken: list[Conversation]


@cache
def pools() -> Pools:
    """The conversations of five hours."""
    made = Pools([], [], [])
    conversations: dict[str, Conversation] = defaultdict(list)
    session_of: dict[str, str] = {}
    events = []
    for record in generate(12_000, seed=11):
        try:
            event = json.loads(record.value)
            uid, session = event["eventId"].lower(), event.get("session", {}).get("id")
        except (ValueError, KeyError):
            uid, event, session = "", {}, "s-x"
        if session == "s-x":
            made.broken.append([record])
            continue
        if "prompt" in event:
            session_of[uid] = session
        events.append((record, event.get("promptEventId", "").lower(), session))
    for record, asked, session in events:
        conversations[session_of.get(asked) or session or asked].append(record)
    for conversation in conversations.values():
        (made.odd if _is_odd(conversation) else made.plain).append(conversation)
    return made


def _is_odd(conversation: Conversation) -> bool:
    asked: dict[str, list[int]] = defaultdict(list)
    answered: dict[str, list[int]] = defaultdict(list)
    for record in conversation:
        event = json.loads(record.value)
        if "promptEventId" in event:
            answered[event["promptEventId"].lower()].append(record.timestamp)
        elif "prompt" in event:
            asked[event["eventId"].lower()].append(record.timestamp)
    far = any(max(times) - min(times) > ORPHAN_AFTER_MS for times in asked.values())
    return far or any(
        prompt not in asked or min(asked[prompt]) - min(times) > ORPHAN_AFTER_MS
        for prompt, times in answered.items()
    )
