"""Several statements that see one moment of the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from sinks.sqlite.database import Database

T = TypeVar("T")


def snapshot(database: Database, part: str, query: Callable[[sqlite3.Connection], T]) -> T:
    """Runs a query of several statements in one read transaction of this thread's reader.

    Raises Unavailable and Damaged as :meth:`Database.read`.
    """

    def whole(connection: sqlite3.Connection) -> T:
        if connection.in_transaction:
            return query(connection)
        connection.execute("BEGIN")
        try:
            return query(connection)
        finally:
            connection.execute("COMMIT")

    return database.read(part, whole)
