"""Claims of event ids, answered from memory and one read, written behind."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from hashlib import blake2b
from typing import NamedTuple

from schemas.items import Kind
from schemas.log import Origin
from schemas.ports import Claim, Verdict
from schemas.records import RecordId
from sinks.sqlite.database import Database
from sinks.sqlite.lookup import select_in
from sinks.sqlite.overlay import Overlay

PART = "claims"
TTL_MS = 3_600_000
KEEP_MS = 24 * TTL_MS

_SELECT = "SELECT key, partition, position, log_time, content FROM claims WHERE key IN ({keys})"
_INSERT = (
    "INSERT OR REPLACE INTO claims (key, partition, position, log_time, content)"
    " VALUES (?, ?, ?, ?, ?)"
)
_DELETE = "DELETE FROM claims WHERE key = ? AND partition = ? AND position = ?"
_EXPIRE = (
    "DELETE FROM claims WHERE seq IN (SELECT seq FROM claims ORDER BY seq LIMIT ?)"
    " AND (log_time < ? OR seq <= (SELECT max(seq) FROM claims) - ?)"
)


class Held(NamedTuple):
    """A claim as it is held; its topic is part of the key."""

    partition: int
    offset: int
    log_time: int
    content: bytes


class SqliteClaims:
    """:class:`schemas.ports.Claims` in a namespace of (this file's store set, topic id).

    Verdicts do not wait for commits. A write that fails later is forgotten and its error raised
    by the next call and by :meth:`flush`, which the barrier calls before it commits offsets.
    ``ttl`` and ``keep`` are milliseconds of log time. Claims more than ``keep`` behind the batch at
    hand go, a few with every write, and at most ``limit`` are kept (the youngest): a partition that
    lags further behind the others may see a duplicate as new, which costs a rewrite.
    One process claims at a time; another one's changes may be seen late.
    """

    def __init__(
        self,
        database: Database,
        *,
        topic_id: Callable[[str], str] = str,
        ttl: int = TTL_MS,
        keep: int = KEEP_MS,
        limit: int = 5_000_000,
        remembered: int = 20_000,
    ) -> None:
        self._database = database
        self._topic_id = topic_id
        self._ttl = ttl
        self._keep = keep
        self._limit = limit
        self._recent: Overlay[bytes, Held | None] = Overlay(remembered)
        self._lock = threading.Lock()

    def claim(self, claims: Sequence[Claim], /) -> Sequence[Verdict]:
        """See :meth:`schemas.ports.Claims.claim`. Raises Unavailable, and then has claimed none."""
        with self._lock:
            self._recent.settle()
            keys = [self._key(c.origin.topic, c.id.kind, c.id.id) for c in claims]
            held = self._held(keys)
            verdicts: list[Verdict] = []
            made: dict[bytes, Held | None] = {}
            for key, claim in zip(keys, claims, strict=True):
                verdict = self._judge(held.get(key), claim)
                verdicts.append(verdict)
                if verdict == "new":
                    origin = claim.origin
                    made[key] = held[key] = Held(
                        origin.partition, origin.offset, origin.timestamp, claim.content
                    )
            if made:
                rows = [(key, *value) for key, value in made.items() if value]
                expired = min(c.origin.timestamp for c in claims) - self._keep
                self._recent.put(made, self._insert(rows, expired))
            return verdicts

    def release(self, held: Sequence[tuple[RecordId, Origin]], /) -> None:
        """See :meth:`schemas.ports.Claims.release`."""
        with self._lock:
            self._recent.settle()
            keys = [self._key(origin.topic, id_.kind, id_.id) for id_, origin in held]
            now = self._held(keys)
            gone: list[tuple[bytes, int, int]] = []
            for key, (_, origin) in zip(keys, held, strict=True):
                current = now.get(key)
                if current and (current.partition, current.offset) == (
                    origin.partition,
                    origin.offset,
                ):
                    gone.append((key, origin.partition, origin.offset))
            if gone:
                self._recent.put({key: None for key, _, _ in gone}, self._delete(gone))

    def flush(self) -> None:
        """Waits until every claim and release so far is committed. Raises Unavailable where some
        since the last flush were lost: the log has to be read again."""
        with self._lock:
            self._recent.flush()

    def _judge(self, held: Held | None, claim: Claim) -> Verdict:
        if held is None:
            return "new"
        origin = claim.origin
        if held.partition == origin.partition and held.offset == origin.offset:
            return "replay"
        if abs(origin.timestamp - held.log_time) > self._ttl:
            return "new"
        return "duplicate" if held.content == claim.content else "conflict"

    def _held(self, keys: Sequence[bytes]) -> dict[bytes, Held | None]:
        known, missing = self._recent.find(keys)
        if missing:
            for row in self._database.read(PART, lambda c: select_in(c, _SELECT, missing)):
                known[row[0]] = Held(*row[1:])
        return known

    def _insert(self, rows: Sequence[tuple[object, ...]], expired: int) -> Future[None]:
        def job(connection: sqlite3.Connection) -> None:
            connection.executemany(_INSERT, rows)
            connection.execute(_EXPIRE, (2 * len(rows), expired, self._limit))

        return self._database.submit(PART, job)

    def _delete(self, rows: Sequence[tuple[bytes, int, int]]) -> Future[None]:
        def job(connection: sqlite3.Connection) -> None:
            connection.executemany(_DELETE, rows)

        return self._database.submit(PART, job)

    def _key(self, topic: str, kind: Kind, id_: str) -> bytes:
        name = f"{self._topic_id(topic)}\0{kind}\0{id_}".encode()
        return blake2b(name, digest_size=16).digest()
