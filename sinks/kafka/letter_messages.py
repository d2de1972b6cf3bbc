"""Dead letters as messages: what is known of one in headers, its payload in the value.

The key is the coordinates (and the store that refused a record), so all messages of a letter lie in
one partition, in order: puts, retries, resolutions. What a letter is now follows from all of them,
so their topics neither expire nor are compacted.
"""

from __future__ import annotations

import msgspec

from schemas.log import Origin, Original
from schemas.ports import Damaged
from schemas.queues import DeadLetter, Refused
from sinks.common.letters import Entry, associated, original, payload
from sinks.kafka.envelope import PLAIN, Envelope
from sinks.kafka.producer import ROOM, Message
from sinks.kafka.topics import dead_letters

FORMAT = "1"
PUT = "put"
RETRIED = "retried"
RESOLVED = "resolved"
NONE = "none"
TOO_LARGE = "too_large"
Headers = dict[str, bytes]
Beside = list[tuple[str, bytes]]
Held = Original | Refused

_headers = msgspec.msgpack.Decoder(tuple[tuple[str, bytes], ...])


class Put(msgspec.Struct, frozen=True):
    """A letter that came (without what is sealed); ``payload``: whether its message holds it."""

    entry: Entry
    payload: bool


class Noted(msgspec.Struct, frozen=True):
    """What became of the letter of this sequence."""

    sequence: int
    outcome: str
    resolution: bool


def put_message(kept: Entry, envelope: Envelope) -> Message:
    """The message of a letter. A payload too large for any message stays behind, and it is said."""
    name, value, beside = _value(kept, envelope)
    if len(value) + sum(len(content) for _, content in beside) > ROOM:
        name, value, beside = TOO_LARGE, b"", []
    optional = {
        "x-event-id": kept.event_id,
        "x-event-kind": kept.event_kind,
        "x-store": kept.store or None,
    }
    facts: dict[str, object] = {
        **_place(PUT, kept.origin, kept.stage, kept.code, 0),
        "x-failure-path": kept.path,
        "x-failure-expected": kept.expected,
        "x-letter-kind": kept.kind,
        "x-record-version": kept.version,
        "x-payload": name,
        **{header: text for header, text in optional.items() if text is not None},
    }
    topic = dead_letters(kept.origin.topic)
    return Message(topic, _key(kept.origin, kept.store), value, [*_encoded(facts), *beside])


def note_message(letter: DeadLetter, outcome: str, *, resolution: bool) -> Message:
    """The message that says what became of a letter."""
    retries = letter.retries if resolution else letter.retries + 1
    code = letter.code if resolution else outcome
    facts = _place(RESOLVED if resolution else RETRIED, letter.origin, letter.stage, code, retries)
    facts |= {"x-letter-sequence": letter.sequence, "x-outcome": outcome}
    topic = dead_letters(letter.origin.topic)
    return Message(topic, _key(letter.origin, letter.store or ""), b"", _encoded(facts))


def read_message(headers: Headers) -> Put | Noted | None:
    """What a message of a twin says; None for one that is none of ours. Raises Damaged for a
    newer format."""
    found = headers.get("x-letter-format")
    if found is None:
        return None
    if found != FORMAT.encode():
        raise Damaged("a dead letter has a format that this program does not know")

    def text(name: str) -> str:
        return headers.get(name, b"").decode("utf-8", "replace")

    try:
        if text("x-letter-entry") != PUT:
            resolution = text("x-letter-entry") == RESOLVED
            return Noted(int(text("x-letter-sequence")), text("x-outcome"), resolution)
        origin = Origin(
            text("x-original-topic"),
            int(text("x-original-partition")),
            int(text("x-original-offset")),
            int(text("x-original-timestamp")),
        )
        version = int(text("x-record-version"))
    except ValueError:
        return None
    kept = Entry(
        kind=text("x-letter-kind"),
        stage=text("x-failure-stage"),
        code=text("x-failure-reason"),
        path=text("x-failure-path"),
        expected=text("x-failure-expected"),
        origin=origin,
        store=text("x-store"),
        version=version,
        event_id=text("x-event-id") or None,
        event_kind=text("x-event-kind") or None,
        plain=None,
    )
    return Put(kept, text("x-payload") not in (NONE, TOO_LARGE))


def opened(letter: DeadLetter, headers: Headers, value: bytes, envelope: Envelope) -> Held:
    """What the message of a letter holds. Raises :class:`sinks.seal.Tampered`."""
    name = headers.get("x-payload", b"").decode("utf-8", "replace")
    if name == PLAIN and letter.kind == "event":
        names = _headers.decode(headers.get("x-original-headers", b"\x90"))
        return Original(headers.get("x-original-key"), names, value)
    bound = associated(letter.kind, letter.origin, letter.store or "")
    return payload(letter, envelope.open(name, value, bound))


def _value(kept: Entry, envelope: Envelope) -> tuple[str, bytes, Beside]:
    """How the payload lies, the value, and headers that go with it."""
    if kept.plain is None:
        return NONE, b"", []
    if envelope.name != PLAIN or kept.kind != "event":
        return envelope.name, envelope.close(kept.plain, kept.associated), []
    key, headers, value = original(kept.plain).open()
    beside = [("x-original-headers", msgspec.msgpack.encode(headers))]
    if key is not None:
        beside.append(("x-original-key", key))
    return PLAIN, value, beside


def _place(entry: str, origin: Origin, stage: str, code: str, retries: int) -> dict[str, object]:
    return {
        "x-letter-format": FORMAT,
        "x-letter-entry": entry,
        "x-original-topic": origin.topic,
        "x-original-partition": origin.partition,
        "x-original-offset": origin.offset,
        "x-original-timestamp": origin.timestamp,
        "x-failure-stage": stage,
        "x-failure-reason": code,
        "x-retry-count": retries,
    }


def _encoded(facts: dict[str, object]) -> Beside:
    return [(name, str(value).encode("utf-8", "backslashreplace")) for name, value in facts.items()]


def _key(origin: Origin, store: str) -> bytes:
    place = f"{origin.topic}:{origin.partition}@{origin.offset}"
    return (f"{place}/{store}" if store else place).encode()
