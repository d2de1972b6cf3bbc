"""How far the log is consumed."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from concurrent.futures import Future
from hashlib import blake2b
from typing import NamedTuple

from schemas.log import Partition
from sinks.sqlite.database import Database

PART = "offsets"

_LOAD = "SELECT topic, partition, next, segment, byte, line, log_time FROM offsets"
_COMMIT = "INSERT OR REPLACE INTO offsets VALUES (?, ?, ?, ?, ?, ?, ?)"
_WATERMARK = "SELECT min(log_time) FROM offsets"


class Position(NamedTuple):
    """How far one partition is consumed.

    ``next``: the offset to read next; ``segment``: base offset of the segment that holds the last
    consumed line, ``byte``: where the line after it begins there; ``line``: the
    :func:`fingerprint` of the last consumed line (empty: none yet); ``log_time``: its timestamp.
    """

    next: int
    segment: int = 0
    byte: int = 0
    line: bytes = b""
    log_time: int = 0


class SqliteOffsets:
    """Positions by partition. A commit goes the way of every write, first in first out, so it
    becomes durable only together with or after all that was submitted before it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def load(self) -> dict[Partition, Position]:
        """The committed positions."""
        rows = self._database.read(PART, lambda c: c.execute(_LOAD).fetchall())
        return {Partition(topic, number): Position(*rest) for topic, number, *rest in rows}

    def commit(self, positions: Mapping[Partition, Position]) -> Future[None]:
        """Moves the given partitions, all or none; the others stay."""
        rows = [(p.topic, p.number, *position) for p, position in positions.items()]

        def job(connection: sqlite3.Connection) -> None:
            connection.executemany(_COMMIT, rows)

        return self._database.submit(PART, job)

    def watermark(self) -> int | None:
        """The least log time (ms) that every partition has reached; None before the first."""
        row = self._database.read(PART, lambda c: c.execute(_WATERMARK).fetchone())
        return None if row[0] is None else int(row[0])


def fingerprint(key: bytes, line: bytes) -> bytes:
    """16 bytes of keyed BLAKE2b: a plain hash of a raw line could be guessed and checked."""
    return blake2b(line, digest_size=16, key=key).digest()
