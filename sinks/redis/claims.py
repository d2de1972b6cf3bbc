"""Claims of event ids: one script call a chunk."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import cached_property
from hashlib import blake2b

from schemas.items import Kind
from schemas.log import Origin
from schemas.ports import Claim, Verdict
from schemas.records import RecordId
from sinks.redis.server import RedisServer, Script

PART = "claims"
TTL_MS = 3_600_000
KEEP_SECONDS = 24 * 3_600
_MOST = 1_000
_VERDICTS: tuple[Verdict, ...] = ("new", "replay", "duplicate", "conflict")
_PLACE = struct.Struct(">iq")
_TIME = struct.Struct(">q")

_CLAIM = Script("""
local ttl, keep = tonumber(ARGV[1]), ARGV[2]
local verdicts = {}
for i, key in ipairs(KEYS) do
  local new = ARGV[i + 2]
  local held = redis.call('GET', key)
  local verdict = 0
  if held then
    if string.sub(held, 1, 12) == string.sub(new, 1, 12) then
      verdict = 1
    elseif math.abs(struct.unpack('>i8', held, 13) - struct.unpack('>i8', new, 13)) <= ttl then
      verdict = string.sub(held, 21) == string.sub(new, 21) and 2 or 3
    end
  end
  if verdict == 0 then
    redis.call('SET', key, new, 'EX', keep)
  end
  verdicts[i] = verdict
end
return verdicts
""")
_RELEASE = Script("""
local gone = 0
for i, key in ipairs(KEYS) do
  local held = redis.call('GET', key)
  if held and string.sub(held, 1, 12) == ARGV[i] then
    gone = gone + redis.call('DEL', key)
  end
end
return gone
""")


class RedisClaims:
    """:class:`schemas.ports.Claims` in a namespace of (store set, topic id), for many processes.

    A claim is atomic and made when the call returns. A call whose answer was lost may have claimed:
    asked again with the same coordinates it answers ``replay``, which passes like ``new``. While
    the server is down a call raises Unavailable; the caller lets the events pass and counts them.
    Nothing is owed afterwards, so :meth:`flush` has nothing to wait for: what passed unclaimed may
    pass once more from elsewhere, as a rewrite of the same record. A replay of it is a ``replay``,
    ``new``, or, if another delivery claimed the id meanwhile, a duplicate of that one; it becomes a
    conflict only where the contents differ.

    ``store_set`` is asked with the first call, and again until it does not raise Unavailable.

    ``ttl`` is milliseconds of log time and decides alone. ``keep_seconds``, by the server's clock,
    is when a claim is forgotten: the bound of the memory. A server that loses its last second
    (``appendfsync everysec``) or evicts claims lets duplicates pass: rewrites of equal content, or,
    of an id with two contents, the later one without a dead letter.
    """

    def __init__(
        self,
        server: RedisServer,
        store_set: Callable[[], str],
        *,
        topic_id: Callable[[str], str] = str,
        ttl: int = TTL_MS,
        keep_seconds: int = KEEP_SECONDS,
    ) -> None:
        self._server = server
        self._store_set = store_set
        self._topic_id = topic_id
        self._ttl = ttl
        self._keep = keep_seconds

    @cached_property
    def _prefix(self) -> bytes:
        return f"{self._server.prefix}:{self._store_set()}:claim:".encode()

    def claim(self, claims: Sequence[Claim], /) -> Sequence[Verdict]:
        """See :meth:`schemas.ports.Claims.claim`. When it raises, some may be claimed."""
        verdicts: list[Verdict] = []
        for start in range(0, len(claims), _MOST):
            part = claims[start : start + _MOST]
            keys = [self._key(c.origin.topic, c.id.kind, c.id.id) for c in part]
            values = [_place(c.origin) + _TIME.pack(c.origin.timestamp) + c.content for c in part]
            found = self._server.run(PART, _CLAIM, keys, [self._ttl, self._keep, *values])
            verdicts += [_VERDICTS[number] for number in found]
        return verdicts

    def release(self, held: Sequence[tuple[RecordId, Origin]], /) -> None:
        """See :meth:`schemas.ports.Claims.release`. Raises Unavailable."""
        for start in range(0, len(held), _MOST):
            part = held[start : start + _MOST]
            keys = [self._key(origin.topic, id_.kind, id_.id) for id_, origin in part]
            self._server.run(PART, _RELEASE, keys, [_place(origin) for _, origin in part])

    def flush(self) -> None:
        """Every claim was made when its call returned, and what was lost nobody needs again."""

    def _key(self, topic: str, kind: Kind, id_: str) -> bytes:
        name = f"{self._topic_id(topic)}\0{kind}\0{id_}".encode()
        return self._prefix + blake2b(name, digest_size=16).digest()


def _place(origin: Origin) -> bytes:
    return _PLACE.pack(origin.partition, origin.offset)
