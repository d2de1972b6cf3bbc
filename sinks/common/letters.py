"""What every dead-letter queue keeps of a letter, and how its payload lies under the seal."""

from __future__ import annotations

import re

import msgspec

from schemas.failures import Rejected
from schemas.log import Origin, Original
from schemas.queues import DeadLetter, Refused
from schemas.records import Store
from sinks.common.packing import body, pack, unpack_record

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_originals = msgspec.msgpack.Decoder(tuple[bytes | None, tuple[tuple[str, bytes], ...], bytes])


class Entry(msgspec.Struct, frozen=True):
    """A letter as it is kept: what may be shown, and ``plain``, the payload to be sealed.

    Its key is the origin's coordinates with ``store``, which is empty for an event.
    """

    kind: str
    stage: str
    code: str
    path: str
    expected: str
    origin: Origin
    store: str
    version: int
    event_id: str | None
    event_kind: str | None
    plain: bytes | None

    @property
    def associated(self) -> bytes:
        """What the seal binds the payload to."""
        return associated(self.kind, self.origin, self.store)


def entry(letter: Rejected | Refused) -> Entry:
    """What is kept of a letter."""
    if isinstance(letter, Refused):
        stamp = letter.record.stamp
        return Entry(
            kind="record",
            stage="write",
            code=letter.code,
            path="$",
            expected="",
            origin=stamp.origin,
            store=str(letter.store),
            version=stamp.version,
            event_id=stamp.id,
            event_kind=stamp.kind,
            plain=pack(letter.record),
        )
    held = letter.original
    return Entry(
        kind="event",
        stage=letter.stage,
        code=letter.code,
        path=letter.detail.path,
        expected=letter.detail.expected,
        origin=letter.origin,
        store="",
        version=0,
        event_id=_uuid(letter.event_id),
        event_kind=letter.kind,
        plain=None if held is None else pack(held.open()),
    )


def associated(kind: str, origin: Origin, store: str) -> bytes:
    """The associated data of a letter's seal: its kind and key (not the log timestamp)."""
    place = (kind, origin.topic, str(origin.partition), str(origin.offset), store)
    return "\0".join(place).encode()


def payload(letter: DeadLetter, plain: bytes) -> Original | Refused:
    """What was packed in a letter: an event, or the record that its store refused."""
    if letter.store:
        store: Store = letter.store  # type: ignore[assignment]
        return Refused(store, unpack_record(store, plain), letter.code)
    return original(plain)


def original(plain: bytes) -> Original:
    """The event that was packed in a letter."""
    return Original(*_originals.decode(body(plain)))


def _uuid(event_id: str | None) -> str | None:
    """An id that is none may be anything, and what is listed must not show a payload."""
    lower = (event_id or "").lower()
    return lower if _UUID.fullmatch(lower) else None
