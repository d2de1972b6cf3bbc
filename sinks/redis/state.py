"""What the stages keep between events, in one Redis server."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sinks.redis.cache import RedisCache
from sinks.redis.claims import RedisClaims
from sinks.redis.joins import RedisJoins
from sinks.redis.server import RedisServer
from sinks.redis.settings import RedisSettings


class RedisState:
    """Connects when first used. ``store_set`` answers the id of the set of stores, and is asked
    with the first claim, ``topic_id`` with the first of a topic: both may raise Unavailable.
    ``member`` names the worker; see RedisJoins."""

    def __init__(
        self,
        settings: RedisSettings,
        store_set: Callable[[], str],
        *,
        topic_id: Callable[[str], str] = str,
        member: str = "",
    ) -> None:
        self._server = RedisServer(settings)
        self.claims = RedisClaims(
            self._server,
            store_set,
            topic_id=topic_id,
            keep_seconds=round(settings.claim_hours * 3_600),
        )
        self.joins = RedisJoins(self._server, store_set, member=member)
        self.vectors = RedisCache(self._server, "vectors")

    def init(self) -> Sequence[str]:
        """Nothing has to be made. Raises UserError and Unavailable as :meth:`check`."""
        self.check()
        return ()

    def check(self) -> None:
        """Raises UserError where the server may forget what must stay; Unavailable when down."""
        self._server.check()

    def size(self) -> int | None:
        """Bytes of memory the server uses, all its users together."""
        return self._server.size()

    def close(self) -> None:
        self._server.close()
