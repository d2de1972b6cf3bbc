"""What waits of an event in the file: queued, parked, or for its other side."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from schemas.records import RecordId
from sinks.sqlite.database import Database

PART = "requests"

_QUEUES = (
    "DELETE FROM requests WHERE kind = ? AND id = ?",
    "DELETE FROM parking WHERE kind = ? AND id = ?",
)
_JOINS = {
    "prompt": "DELETE FROM join_prompts WHERE prompt_id = ?",
    "response": "DELETE FROM join_responses WHERE response_id = ?",
}


def erase_waiting(database: Database, ids: Sequence[RecordId]) -> int:
    """Removes it, leaving no trace in the file or its journal; answers how much it was.

    Safe beside a worker: what it puts there again meanwhile is dropped for the sake of the
    tombstones in the stores. Raises Unavailable.
    """

    def job(connection: sqlite3.Connection) -> int:
        removed = 0
        for one in ids:
            for statement in _QUEUES:
                removed += connection.execute(statement, (one.kind, one.id)).rowcount
            if one.kind in _JOINS:
                removed += connection.execute(_JOINS[one.kind], (one.id,)).rowcount
        return removed

    removed = database.submit(PART, job).result()
    database.read(PART, lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall())
    return removed
