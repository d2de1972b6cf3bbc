"""Events with personal data in every field, and the same with words that are none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from flows.filelog import NewRecord
from tests.faults.test_canaries import Addressable, Planted

MOST = 300_000
"""Bytes of a record's value, for workers that are to meet an overlong one."""


class Personal(Planted):
    """Addresses and card numbers, in more kinds of broken events, with a trace context each."""

    def _record(self, topic: str, event: dict[str, Any]) -> NewRecord:
        made = super()._record(topic, event)
        context = f"00-{int(event['eventId'].replace('-', ''), 16):032x}-{7:016x}-01"
        return NewRecord(
            made.topic,
            made.value,
            made.timestamp,
            made.key,
            (*made.headers, ("traceparent", context.encode())),
        )

    def _broken(self) -> Iterator[NewRecord]:
        yield from super()._broken()
        mail = self.plant.mail
        for number, (change, _) in enumerate(BROKEN):
            topic = "llm.prompts.v1"
            event = self._event(100 + number, topic)
            made = self._record(topic, event)
            value = change(event, mail)
            yield NewRecord(topic, value, made.timestamp, made.key, made.headers)


def _too_large(event: dict[str, Any], mail: Any) -> bytes:
    event["prompt"]["text"] = f"{mail('an overlong event')} " * (MOST // 20)
    return json.dumps(event).encode()


def _too_long(event: dict[str, Any], mail: Any) -> bytes:
    event["session"]["id"] = mail("an overlong id") * 40
    return json.dumps(event).encode()


def _bad_id(event: dict[str, Any], mail: Any) -> bytes:
    event["eventId"] = mail("an event id")
    return json.dumps(event).encode()


def _twice(event: dict[str, Any], mail: Any) -> bytes:
    name = json.dumps(mail("a key that is there twice"))
    return json.dumps(event)[:-1].encode() + f", {name}: 1, {name}: 2}}".encode()


def _wrong_type(event: dict[str, Any], mail: Any) -> bytes:
    event["model"]["parameters"]["temperature"] = mail("a number that is none")
    return json.dumps(event).encode()


def _too_deep(event: dict[str, Any], mail: Any) -> bytes:
    inner = json.dumps(mail("deep down"))
    return json.dumps(event)[:-1].encode() + f', "deep": {"[" * 80}{inner}{"]" * 80}}}'.encode()


def _not_allowed(event: dict[str, Any], mail: Any) -> bytes:
    event["prompt"]["text"] = mail("a broken surrogate")
    return json.dumps(event).replace("@canary", "\\ud800@canary").encode()


BROKEN = (
    (_too_large, "too_large"),
    (_too_long, "too_long"),
    (_bad_id, "bad_format"),
    (_twice, "duplicate_key"),
    (_wrong_type, "wrong_type"),
    (_too_deep, "too_deep"),
    (_not_allowed, "lone_surrogate"),
)
SEALED = {
    "a key that is there twice",
    "a number that is none",
    "an event id",
    "an overlong event",
    "an overlong id",
    "deep down",
    "header value",
    "record key",
}
"""What is under the seals of the dead letters: the same search finds it there."""
CODES = {code for _, code in BROKEN} | {
    "missing_field",
    "invalid_json",
    "invalid_utf8",
    "unsupported_schema_version",
    "bad_format",
    "conflicting_duplicate",
    "internal_error",
}


class Words(Addressable):
    """Words that nobody takes for personal data, where the others are."""

    def mail(self, place: str) -> str:
        n = next(self._numbers)
        letters = sha256(f"word {n}".encode()).hexdigest()[:12]
        marker = "zw" + letters.translate(str.maketrans("0123456789", "ghijklmnop"))
        self.marked[marker] = place
        return marker

    def card(self, place: str) -> int:
        return next(self._numbers)


class Plain(Planted):
    """The same events with words in them."""

    plants = Words
    first = 5_000
