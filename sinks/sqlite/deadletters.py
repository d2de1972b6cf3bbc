"""The dead-letter queue: what can never pass, sealed, with what became of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from schemas.failures import Rejected
from schemas.log import Origin, Original
from schemas.queues import DeadLetter, Refused
from schemas.records import Store
from sinks.common.letters import associated, entry, payload
from sinks.seal import Seal
from sinks.sqlite.database import Database

PART = "dead_letters"

_OUTDATED = (
    "DELETE FROM dead_letters WHERE topic = ? AND partition = ? AND position = ? AND store = ?"
    " AND version < ?"
)
_PUT = (
    "INSERT INTO dead_letters (topic, partition, position, store, version, log_time, kind, stage,"
    " code, path, expected, event_id, event_kind, sealed)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (topic, partition, position, store) DO UPDATE SET stage = excluded.stage,"
    " code = excluded.code, path = excluded.path, expected = excluded.expected,"
    " event_id = coalesce(event_id, excluded.event_id),"
    " event_kind = coalesce(event_kind, excluded.event_kind),"
    " sealed = coalesce(sealed, excluded.sealed), resolved = NULL"
    " WHERE excluded.version >= version"
)
_LISTED = (
    "SELECT sequence, kind, stage, code, path, expected, topic, partition, position, log_time,"
    " event_id, nullif(store, ''), retries, resolved, event_kind FROM dead_letters"
)
_SEALED = (
    "SELECT kind, topic, partition, position, store, code, sealed FROM dead_letters"
    " WHERE sequence = ?"
)
_OUTCOME = (
    "INSERT INTO dead_letter_outcomes (letter, resolution, outcome)"
    " SELECT sequence, ?2, ?3 FROM dead_letters WHERE sequence = ?1"
)
_RETRIED = "UPDATE dead_letters SET retries = retries + 1, code = ?2 WHERE sequence = ?1"
_RESOLVED = "UPDATE dead_letters SET resolved = ?2 WHERE sequence = ?1"
_COUNTS = (
    "SELECT code, count(*) FROM dead_letters WHERE (resolved IS NOT NULL) = ?"
    " GROUP BY code ORDER BY code"
)


class SqliteDeadLetters:
    """:class:`schemas.queues.DeadLetters`, keyed by coordinates and, for a refused record, store.

    Putting a letter again keeps its sequence, payload and retries, takes the new code and opens
    it again if it was resolved; a refused record of a greater version replaces the older one as a
    new letter. ``key`` has 32 bytes.
    """

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._seal = Seal(key)

    def put(self, letters: Sequence[Rejected | Refused], /) -> None:
        """See :meth:`schemas.queues.DeadLetters.put`."""
        self.submit(letters).result()

    def submit(self, letters: Sequence[Rejected | Refused], /) -> Future[None]:
        """As :meth:`put`, without waiting."""
        rows = [self._row(letter) for letter in letters]

        def job(connection: sqlite3.Connection) -> None:
            connection.executemany(_OUTDATED, [row[:5] for row in rows])
            connection.executemany(_PUT, rows)

        return self._database.submit(PART, job)

    def list(
        self,
        *,
        code: str | None = None,
        stage: str | None = None,
        topic: str | None = None,
        resolved: bool | None = False,
        after: int = 0,
        limit: int = 100,
    ) -> Sequence[DeadLetter]:
        """Up to ``limit`` letters behind sequence ``after`` that meet every filter given, in order.
        ``resolved`` None: open and resolved ones."""
        conditions = {"code = ?": code, "stage = ?": stage, "topic = ?": topic}
        terms = ["sequence > ?", *(term for term, value in conditions.items() if value is not None)]
        values = [after, *(value for value in conditions.values() if value is not None), limit]
        if resolved is not None:
            terms.append("resolved IS NOT NULL" if resolved else "resolved IS NULL")
        query = f"{_LISTED} WHERE {' AND '.join(terms)} ORDER BY sequence LIMIT ?"
        rows = self._database.read(PART, lambda c: c.execute(query, values).fetchall())
        return [_letter(row) for row in rows]

    def get(self, sequence: int) -> DeadLetter | None:
        """The letter of this sequence."""
        query = f"{_LISTED} WHERE sequence = ?"
        row = self._database.read(PART, lambda c: c.execute(query, (sequence,)).fetchone())
        return _letter(row) if row else None

    def find(self, origin: Origin, store: Store | None = None) -> DeadLetter | None:
        """The letter of these coordinates (the log timestamp does not count)."""
        query = f"{_LISTED} WHERE topic = ? AND partition = ? AND position = ? AND store = ?"
        key = (origin.topic, origin.partition, origin.offset, store or "")
        row = self._database.read(PART, lambda c: c.execute(query, key).fetchone())
        return _letter(row) if row else None

    def open(self, sequence: int) -> Original | Refused | None:
        """What is sealed in it: the bytes as they came, or the refused record; None where there is
        no such letter or it came without an original. Raises :class:`sinks.seal.Tampered`."""
        row = self._database.read(PART, lambda c: c.execute(_SEALED, (sequence,)).fetchone())
        if row is None or row[6] is None:
            return None
        kind, topic, partition, position, store, code, sealed = row
        origin = Origin(topic, partition, position, 0)
        return payload(store, code, self._seal.open(sealed, associated(kind, origin, store)))

    def retried(self, sequence: int, code: str) -> None:
        """Counts a retry that was rejected again, with its code."""
        self._outcome(sequence, code, _RETRIED, resolution=False)

    def resolve(self, sequence: int, outcome: str) -> None:
        """Closes a letter (``written``, ``duplicate``, ``discarded``, …)."""
        self._outcome(sequence, outcome, _RESOLVED, resolution=True)

    def outcomes(self, sequence: int) -> Sequence[tuple[bool, str]]:
        """What became of it, oldest first: (is a resolution, code or outcome)."""
        query = "SELECT resolution, outcome FROM dead_letter_outcomes WHERE letter = ? ORDER BY seq"
        rows = self._database.read(PART, lambda c: c.execute(query, (sequence,)).fetchall())
        return [(bool(resolution), outcome) for resolution, outcome in rows]

    def counts(self, *, resolved: bool = False) -> Mapping[str, int]:
        """How many letters are open (or resolved), by code."""
        rows = self._database.read(PART, lambda c: c.execute(_COUNTS, (resolved,)).fetchall())
        return dict(rows)

    def count(self, *, resolved: bool = False) -> int:
        """How many letters are open (or resolved)."""
        return sum(self.counts(resolved=resolved).values())

    def _outcome(self, sequence: int, outcome: str, statement: str, *, resolution: bool) -> None:
        def job(connection: sqlite3.Connection) -> None:
            connection.execute(_OUTCOME, (sequence, resolution, outcome))
            connection.execute(statement, (sequence, outcome))

        self._database.run(PART, job)

    def _row(self, letter: Rejected | Refused) -> tuple[Any, ...]:
        kept = entry(letter)
        origin, plain = kept.origin, kept.plain
        return (
            origin.topic,
            origin.partition,
            origin.offset,
            kept.store,
            kept.version,
            origin.timestamp,
            kept.kind,
            kept.stage,
            kept.code,
            kept.path,
            kept.expected,
            kept.event_id,
            kept.event_kind,
            None if plain is None else self._seal.seal(plain, kept.associated),
        )


def _letter(row: Sequence[Any]) -> DeadLetter:
    sequence, kind, stage, code, path, expected, topic, partition, position, log_time = row[:10]
    return DeadLetter(
        sequence,
        kind,
        stage,
        code,
        path,
        expected,
        Origin(topic, partition, position, log_time),
        *row[10:],
    )
