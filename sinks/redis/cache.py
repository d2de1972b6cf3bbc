"""A cache on the server, shared by all workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from schemas.ports import Unavailable
from sinks.redis.server import RedisServer

PART = "cache"
KEEP_SECONDS = 7 * 24 * 3_600
REST_SECONDS = 5.0


class RedisCache:
    """:class:`schemas.ports.Cache` of one namespace. Errors are misses.

    Entries go ``keep_seconds`` after they were put, or earlier where the server's memory is full
    (``maxmemory-policy volatile-ttl``), which is what bounds them. An entry larger than
    ``most_bytes`` is not kept. After an error the server is left alone for ``rest_seconds``, so
    that one that hangs does not cost every call its time-out. ``hits`` and ``misses`` tell how it
    does.
    """

    def __init__(
        self,
        server: RedisServer,
        namespace: str,
        *,
        keep_seconds: int = KEEP_SECONDS,
        most_bytes: int = 1 << 20,
        rest_seconds: float = REST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server = server
        self._prefix = f"{server.prefix}:cache:{namespace}:".encode()
        self._keep = keep_seconds
        self._most = most_bytes
        self._rest = rest_seconds
        self._clock = clock
        self._until = 0.0
        self.hits = 0
        self.misses = 0

    def get(self, keys: Sequence[bytes], /) -> Sequence[bytes | None]:
        """The values in the order of the keys; None where there is none or none can be read."""
        found: Sequence[bytes | None] = [None] * len(keys)
        if keys and self._clock() >= self._until:
            names = [self._prefix + key for key in keys]
            try:
                found = self._server.call(PART, lambda client: client.mget(names))
            except Unavailable:
                self._until = self._clock() + self._rest
        misses = found.count(None)
        self.misses += misses
        self.hits += len(keys) - misses
        return found

    def put(self, items: Sequence[tuple[bytes, bytes]], /) -> None:
        """Keeps the items, in one round trip. Raises nothing."""
        kept = [item for item in items if sum(map(len, item)) <= self._most]
        if not kept or self._clock() < self._until:
            return
        try:
            with self._server.pipeline(PART) as pipeline:
                for key, value in kept:
                    pipeline.set(self._prefix + key, value, ex=self._keep)
        except Unavailable:
            self._until = self._clock() + self._rest
