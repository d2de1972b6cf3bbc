"""Stage 2: each event id once, by claims that carry the coordinates of their delivery.

The identity is (kind, id). A replay has the coordinates of the claim and passes; what stands at
other coordinates is a duplicate if its content is the same and a rejection if it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

import msgspec

from schemas.chunk import Chunk, Outcome
from schemas.failures import Detail, Rejected
from schemas.items import Decoded
from schemas.ports import Claim, Claims, Unavailable
from schemas.records import RecordId

CODES = {
    "conflicting_duplicate": "Another record has delivered this event id with other content.",
}
_CONFLICT = Detail("$.eventId", "an id that no other content has")
_encode = msgspec.json.Encoder(order="deterministic").encode


def content_hash(decoded: Decoded, key: bytes) -> bytes:
    """32 bytes that are equal for equal content: BLAKE2b, keyed, of the typed event's encoding.

    The form does not count (key order, blanks, escapes, ``1`` or ``1.0``, null or absent, case of
    ids), nor do unknown fields. ``key`` is 16 to 64 bytes; without it the hash says nothing.
    """
    return blake2b(_encode(decoded.event), digest_size=32, key=key).digest()


class Dedupe:
    """Drops duplicates, rejects conflicting ones (``conflicting_duplicate``), passes the rest.

    When the claim store cannot be reached all events pass, and ``on_unclaimed`` is called with
    their number: the writes that follow are idempotent, so a lost claim costs work only.
    """

    name = "dedupe"

    def __init__(
        self, claims: Claims, key: bytes, on_unclaimed: Callable[[int], None] | None = None
    ) -> None:
        if not 16 <= len(key) <= 64:
            raise ValueError("the content key has 16 to 64 bytes")
        self._claims = claims
        self._key = key
        self._on_unclaimed = on_unclaimed

    def __call__(self, chunk: Chunk[Decoded], /) -> Outcome[Decoded]:
        items = chunk.items
        if not items:
            return Outcome(chunk)
        key = self._key
        claims = [Claim(RecordId(d.kind, d.id), d.origin, content_hash(d, key)) for d in items]
        try:
            verdicts = self._claims.claim(claims)
        except Unavailable:
            if self._on_unclaimed is not None:
                self._on_unclaimed(len(items))
            return Outcome(chunk)
        passed: list[Decoded] = []
        rejected: list[Rejected] = []
        for decoded, verdict in zip(items, verdicts, strict=True):
            if verdict == "new" or verdict == "replay":
                passed.append(decoded)
            elif verdict == "conflict":
                rejected.append(self._reject(decoded))
        duplicates = len(items) - len(passed) - len(rejected)
        return Outcome(Chunk(chunk.partition, passed, chunk.log_time), tuple(rejected), duplicates)

    def _reject(self, decoded: Decoded) -> Rejected:
        return Rejected(
            self.name,
            "conflicting_duplicate",
            decoded.origin,
            _CONFLICT,
            decoded.original,
            decoded.id,
            decoded.kind,
        )
