"""In-memory twins of the ports that stages use: obvious, and without bounds."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.log import Origin
from schemas.ports import Claim, Unavailable, Verdict
from schemas.records import RecordId


class MemoryClaims:
    """Claims in a dictionary; ``down`` makes it unavailable."""

    def __init__(self, ttl: int = 3_600_000) -> None:
        self.ttl = ttl
        self.down = False
        self.held: dict[RecordId, Claim] = {}

    def claim(self, claims: Sequence[Claim], /) -> Sequence[Verdict]:
        if self.down:
            raise Unavailable("claims", "down")
        return [self._one(claim) for claim in claims]

    def _one(self, claim: Claim) -> Verdict:
        held = self.held.get(claim.id)
        if held is not None and _at(held.origin) == _at(claim.origin):
            return "replay"
        if held is None or abs(held.origin.timestamp - claim.origin.timestamp) > self.ttl:
            self.held[claim.id] = claim
            return "new"
        return "duplicate" if held.content == claim.content else "conflict"

    def release(self, held: Sequence[tuple[RecordId, Origin]], /) -> None:
        for record_id, origin in held:
            claim = self.held.get(record_id)
            if claim is not None and _at(claim.origin) == _at(origin):
                del self.held[record_id]


def _at(origin: Origin) -> tuple[str, int, int]:
    return origin.topic, origin.partition, origin.offset
