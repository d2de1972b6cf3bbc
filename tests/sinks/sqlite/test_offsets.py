"""Positions come back as committed and never before what they promise."""

from __future__ import annotations

import sqlite3

import pytest

from schemas.log import Partition
from schemas.ports import Unavailable
from sinks.sqlite.database import Database
from sinks.sqlite.offsets import Position, SqliteOffsets, fingerprint

A, B = Partition("llm.prompts.v1", 0), Partition("llm.responses.v1", 3)


@pytest.fixture
def offsets(database: Database) -> SqliteOffsets:
    return SqliteOffsets(database)


def test_nothing_is_committed_at_first(offsets: SqliteOffsets) -> None:
    assert offsets.load() == {}
    assert offsets.watermark() is None


def test_partitions_move_on_their_own_and_survive_a_restart(
    database: Database, offsets: SqliteOffsets
) -> None:
    line = fingerprint(b"k" * 32, b'{"a line": 1}')
    offsets.commit({A: Position(7, 0, 900, line, 55), B: Position(1, 0, 80, line, 44)}).result()
    offsets.commit({A: Position(9, 8, 120, line, 66)}).result()
    assert offsets.watermark() == 44
    database.close()
    again = Database.open(database.path)
    expected = {A: Position(9, 8, 120, line, 66), B: Position(1, 0, 80, line, 44)}
    assert SqliteOffsets(again).load() == expected
    again.close()


def test_a_commit_comes_with_or_after_what_was_submitted_before(
    database: Database, offsets: SqliteOffsets
) -> None:
    """Another process that sees the offset sees the writes, at every moment."""
    database.run("t", lambda c: c.execute("CREATE TABLE writes (n)").rowcount)
    other = sqlite3.connect(database.path)

    def insert(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO writes VALUES (1)")

    last = None
    for n in range(1, 300):
        database.submit("t", insert)
        last = offsets.commit({A: Position(n)})
        seen = other.execute(
            "SELECT (SELECT count(*) FROM writes), (SELECT coalesce(max(next), 0) FROM offsets)"
        ).fetchone()
        assert seen[0] >= seen[1]
    assert last is not None
    last.result()
    assert other.execute("SELECT count(*) FROM writes").fetchone() == (299,)
    other.close()


def test_a_full_disk_keeps_the_offsets(database: Database, offsets: SqliteOffsets) -> None:
    offsets.commit({A: Position(1)}).result()
    database.run("t", lambda c: c.execute("PRAGMA max_page_count = 1").fetchone())
    many = {Partition("t", n): Position(n) for n in range(5_000)}
    with pytest.raises(Unavailable) as caught:
        offsets.commit(many | {A: Position(2)}).result()
    assert (caught.value.what, caught.value.code) == ("database", "full")
    assert offsets.load() == {A: Position(1)}


def test_the_fingerprint_needs_its_key() -> None:
    assert fingerprint(b"1" * 32, b"line") == fingerprint(b"1" * 32, b"line")
    assert fingerprint(b"1" * 32, b"line") != fingerprint(b"2" * 32, b"line")
    assert fingerprint(b"1" * 32, b"line") != fingerprint(b"1" * 32, b"lines")
    assert len(fingerprint(b"1" * 32, b"")) == 16
