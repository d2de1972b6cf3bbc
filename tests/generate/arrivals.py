"""In which order and where the generated events arrive."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

from flows.filelog import NewRecord
from tests.generate.events import HOUR, Events, stamp

PROMPTS, RESPONSES, SESSIONS = "llm.prompts.v1", "llm.responses.v1", "llm.sessions.v1"
START_MS = 1_790_000_000_000
STEP_MS = 1_500
MINUTE = 60_000


class Arrivals:
    """``count`` records in the order in which they are appended."""

    def __init__(self, count: int, dice: random.Random, users: list[str]) -> None:
        self._count = count
        self._dice = dice
        self._users = users
        self._events = Events(dice, users)
        self._sessions: list[dict[str, Any]] = []
        self._later: list[tuple[int, NewRecord]] = []

    def records(self) -> Iterator[NewRecord]:
        dice, end = self._dice, START_MS + self._count * STEP_MS
        made, now = 0, START_MS
        while made < self._count:
            now = max(now, START_MS + made * STEP_MS + dice.randrange(STEP_MS))
            self._later.sort(key=lambda entry: entry[0])
            while self._later and self._later[0][0] <= now and made < self._count:
                due, record = self._later.pop(0)
                yield NewRecord(record.topic, record.value, due, record.key, record.headers)
                made += 1
            if made < self._count:
                yield self._next(now, end)
                made += 1

    def _next(self, now: int, end: int) -> NewRecord:
        dice = self._dice
        chance = dice.random()
        if chance < 0.015:
            return self._broken(now)
        session = self._session()
        if chance < 0.045:
            state = self._events.state(session, now)
            return self._record(SESSIONS, state, now, session["id"].encode())
        prompt, response, reply = self._pair(session, now)
        if chance < 0.06 and now < end - 3 * HOUR:
            return response  # an orphan: its prompt is lost
        if chance > 0.99 and now > end - 10 * MINUTE:
            return response  # waiting for a prompt that has not come yet
        self._duplicate(dice.choice((prompt, response)), now)
        if chance < 0.075 and now < end - 4 * HOUR:
            self._later.append((now + dice.randrange(2 * HOUR, 3 * HOUR), prompt))
            return response
        gap = dice.choice((200, 800, 3_000, 3_000, 20_000, 400_000))
        if chance < 0.15 and now < end - 20 * MINUTE:
            self._later.append((now + gap, prompt))
            return response
        if reply is not None:
            self._later.append((now + gap + 1_000, reply))
        self._later.append((now + gap, response))
        return prompt

    def _duplicate(self, record: NewRecord, now: int) -> None:
        """Within the hour of the claim or well behind it, and far from its end in any order."""
        chance, dice = self._dice.random(), self._dice
        if chance < 0.02:
            self._later.append((now + dice.randrange(8 * MINUTE, 45 * MINUTE), record))
        elif chance < 0.025:
            self._later.append((now + dice.randrange(5 * HOUR, 6 * HOUR), record))

    def _session(self) -> dict[str, Any]:
        dice = self._dice
        if self._sessions and dice.random() < 0.85:
            return dice.choice(self._sessions[-40:])
        user = dice.choice(self._users)
        session: dict[str, Any] = {"id": f"s-{len(self._sessions)}", "userId": user}
        if dice.random() < 0.05:
            session["id"] = f"chat {len(self._sessions)} of {user}"
        if dice.random() < 0.7:
            session["applicationId"] = dice.choice(("shop", "desk", "tutor/2"))
        if dice.random() < 0.7:
            session["purpose"] = dice.choice(("chat", "completion", "something new"))
        self._sessions.append(session)
        return session

    def _pair(
        self, session: dict[str, Any], now: int
    ) -> tuple[NewRecord, NewRecord, NewRecord | None]:
        """A prompt, its response, and sometimes a second response."""
        prompt = self._events.prompt(session, now)
        response = self._events.response(prompt, session, now)
        reply = None
        if self._dice.random() < 0.03:
            reply = self._answer(self._events.response(prompt, session, now + 500), now)
        first = self._record(PROMPTS, prompt, now, session["id"].encode())
        return first, self._answer(response, now), reply

    def _answer(self, response: dict[str, Any], now: int) -> NewRecord:
        key = response.get("session", {}).get("id") or response["promptEventId"]
        return self._record(RESPONSES, response, now, key.encode())

    def _record(self, topic: str, event: dict[str, Any], now: int, key: bytes) -> NewRecord:
        ascii_only = self._dice.random() < 0.5
        headers: tuple[tuple[str, bytes], ...] = ()
        if self._dice.random() < 0.1:
            headers = (("schema_version", b"1.0"), ("source", b"gateway-7"))
        value = json.dumps(event, ensure_ascii=ascii_only).encode()
        return NewRecord(topic, value, now, key, headers)

    def _broken(self, now: int) -> NewRecord:
        fault = self._dice.randrange(8)
        event = self._events.prompt({"id": "s-x", "userId": "u-1"}, now)
        if fault == 0:
            del event["session"]
        elif fault == 1:
            event["prompt"]["text"] = 7
        elif fault == 2:
            event["timestamp"] = stamp(now + HOUR, 0)
        elif fault == 3:
            event["timestamp"] = stamp(now - 31 * 24 * HOUR, 0)
        elif fault == 4:
            event["eventId"] = "not-a-uuid"
        record = self._record(PROMPTS, event, now, b"s-x")
        if fault == 5:
            return NewRecord(PROMPTS, record.value[:-7], now, b"s-x")
        if fault == 6:
            return NewRecord(PROMPTS, record.value[:-1] + b',"x":[],"x":[]}', now, b"s-x")
        if fault == 7:
            return NewRecord(PROMPTS, record.value, now, b"s-x", (("schema_version", b"2.0"),))
        return record
