"""The table of dead letters and what is asked of it, wherever an SQLite connection keeps it.

``sealed`` is what leads to the payload: the sealed bytes themselves, or the place of the message
that holds them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.log import Origin
from schemas.queues import DeadLetter
from sinks.common.letters import Entry

_OUTDATED = (
    "DELETE FROM dead_letters WHERE topic = ? AND partition = ? AND position = ? AND store = ?"
    " AND version < ?"
)
_PUT = (
    "INSERT INTO dead_letters (topic, partition, position, store, version, log_time, kind, stage,"
    " code, path, expected, event_id, event_kind, sealed, sequence)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
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
_OUTCOME = (
    "INSERT INTO dead_letter_outcomes (letter, resolution, outcome)"
    " SELECT sequence, ?2, ?3 FROM dead_letters WHERE sequence = ?1"
)
_RETRIED = "UPDATE dead_letters SET retries = retries + 1, code = ?2 WHERE sequence = ?1"
_RESOLVED = "UPDATE dead_letters SET resolved = ?2 WHERE sequence = ?1"
_OUTCOMES = "SELECT resolution, outcome FROM dead_letter_outcomes WHERE letter = ? ORDER BY seq"
_COUNTS = (
    "SELECT code, count(*) FROM dead_letters WHERE (resolved IS NOT NULL) = ?"
    " GROUP BY code ORDER BY code"
)


def row(kept: Entry, sealed: object, sequence: int | None = None) -> tuple[Any, ...]:
    """A row for :func:`put`; without a sequence, a new letter takes the next one."""
    origin = kept.origin
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
        sealed,
        sequence,
    )


def put(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Adds letters, in order. One that is there keeps its sequence, payload and retries, takes the
    new code and is open again; a greater version replaces it as a new letter."""
    connection.executemany(_OUTDATED, [values[:5] for values in rows])
    connection.executemany(_PUT, rows)


def note(connection: sqlite3.Connection, sequence: int, outcome: str, *, resolution: bool) -> None:
    """Adds what became of a letter, if there is one of this sequence."""
    connection.execute(_OUTCOME, (sequence, resolution, outcome))
    connection.execute(_RESOLVED if resolution else _RETRIED, (sequence, outcome))


def select(
    connection: sqlite3.Connection,
    filters: Mapping[str, str | None],
    resolved: bool | None,
    after: int,
    limit: int,
) -> list[DeadLetter]:
    """Letters behind ``after`` whose columns have the values given (None: any), in order."""
    given = {column: value for column, value in filters.items() if value is not None}
    terms = ["sequence > ?", *(f"{column} = ?" for column in given)]
    if resolved is not None:
        terms.append("resolved IS NOT NULL" if resolved else "resolved IS NULL")
    query = f"{_LISTED} WHERE {' AND '.join(terms)} ORDER BY sequence LIMIT ?"
    return [_letter(found) for found in connection.execute(query, (after, *given.values(), limit))]


def get(connection: sqlite3.Connection, sequence: int) -> DeadLetter | None:
    """The letter of this sequence."""
    found = connection.execute(f"{_LISTED} WHERE sequence = ?", (sequence,)).fetchone()
    return _letter(found) if found else None


def find(connection: sqlite3.Connection, origin: Origin, store: str) -> DeadLetter | None:
    """The letter of these coordinates; ``store`` is empty for an event."""
    query = f"{_LISTED} WHERE topic = ? AND partition = ? AND position = ? AND store = ?"
    key = (origin.topic, origin.partition, origin.offset, store)
    found = connection.execute(query, key).fetchone()
    return _letter(found) if found else None


def sealed(connection: sqlite3.Connection, sequence: int) -> Any:
    """What leads to the payload; None where there is no such letter, or none came."""
    query = "SELECT sealed FROM dead_letters WHERE sequence = ?"
    found = connection.execute(query, (sequence,)).fetchone()
    return found[0] if found else None


def outcomes(connection: sqlite3.Connection, sequence: int) -> list[tuple[bool, str]]:
    """What became of a letter, oldest first: (is a resolution, code or outcome)."""
    return [(bool(done), text) for done, text in connection.execute(_OUTCOMES, (sequence,))]


def counts(connection: sqlite3.Connection, resolved: bool) -> dict[str, int]:
    """How many letters are open (or resolved), by code."""
    return dict(connection.execute(_COUNTS, (resolved,)).fetchall())


def _letter(found: Sequence[Any]) -> DeadLetter:
    sequence, kind, stage, code, path, expected, topic, partition, position, log_time = found[:10]
    return DeadLetter(
        sequence,
        kind,
        stage,
        code,
        path,
        expected,
        Origin(topic, partition, position, log_time),
        *found[10:],
    )
