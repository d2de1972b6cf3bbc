"""Dead letters in the SQLite file show nothing and open nowhere else."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from schemas.failures import Detail, Rejected
from schemas.log import Origin, Original
from schemas.ports import Unavailable
from sinks.seal import Tampered
from sinks.sqlite.database import Database
from sinks.sqlite.deadletters import SqliteDeadLetters

KEY = bytes(range(32))
ID = "0b9d1f6e-1111-4222-8333-123456789abc"
CANARY = "canary-5a3c"


def raw(value: bytes = b'{"text": "canary-5a3c"}') -> Original:
    return Original(b"canary-5a3c", (("x", b"canary-5a3c"), ("x", b"\xff\x00")), value)


def letter(offset: int = 0, **changes: Any) -> Rejected:
    given = {"code": "bad_json", "detail": Detail("$.session.id", "string"), "original": raw()}
    origin = Origin("llm.prompts.v1", 0, offset, 99)
    return Rejected(stage="validate", origin=origin, **(given | changes))


@pytest.fixture
def letters(database: Database) -> SqliteDeadLetters:
    return SqliteDeadLetters(database, KEY)


def test_nothing_raw_is_in_the_file(database: Database, letters: SqliteDeadLetters) -> None:
    letters.put([letter(n, event_id=CANARY) for n in range(50)])
    assert letters.list()[0].event_id is None
    files = b"".join(f.read_bytes() for f in database.path.parent.iterdir())
    database.close()
    files += b"".join(f.read_bytes() for f in database.path.parent.iterdir())
    assert b"bad_json" in files
    assert CANARY.encode() not in files


def test_a_payload_moved_to_other_coordinates_does_not_open(
    database: Database, letters: SqliteDeadLetters
) -> None:
    letters.put([letter(0), letter(1)])

    def swap(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE dead_letters SET sealed ="
            " (SELECT sealed FROM dead_letters WHERE sequence = 2) WHERE sequence = 1"
        )

    database.run("t", swap)
    with pytest.raises(Tampered):
        letters.open(1)
    assert isinstance(letters.open(2), Original)
    with pytest.raises(Tampered):
        SqliteDeadLetters(database, bytes(32)).open(2)


def test_a_lost_table_is_unavailable(database: Database, letters: SqliteDeadLetters) -> None:
    database.run("t", lambda c: c.execute("DROP TABLE dead_letters").rowcount)
    for call in (lambda: letters.put([letter()]), letters.list, letters.counts):
        with pytest.raises(Unavailable, match="dead_letters"):
            call()
