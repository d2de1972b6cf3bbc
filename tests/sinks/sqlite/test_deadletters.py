"""Dead letters keep everything, show nothing, and know what became of them."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from schemas.failures import Detail, Rejected
from schemas.log import Origin, Original
from schemas.ports import Unavailable
from schemas.queues import Refused
from schemas.records import STORES, Store
from sinks.seal import Tampered
from sinks.sqlite.database import Database
from sinks.sqlite.deadletters import SqliteDeadLetters
from tests.sinks.sqlite.records import ORIGIN, record

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


def test_a_letter_is_listed_without_and_opened_with_its_payload(letters: SqliteDeadLetters) -> None:
    letters.put([letter(event_id=ID.upper(), kind="prompt")])
    (listed,) = letters.list()
    assert (listed.kind, listed.stage, listed.code) == ("event", "validate", "bad_json")
    assert (listed.path, listed.expected) == ("$.session.id", "string")
    assert (listed.event_id, listed.event_kind, listed.store) == (ID, "prompt", None)
    assert listed.origin == Origin("llm.prompts.v1", 0, 0, 99)
    opened = letters.open(listed.sequence)
    assert isinstance(opened, Original)
    assert opened.open() == raw().open()
    assert letters.get(listed.sequence) == listed == letters.find(listed.origin)


def test_nothing_raw_is_in_the_file(database: Database, letters: SqliteDeadLetters) -> None:
    letters.put([letter(n, event_id=CANARY) for n in range(50)])
    assert letters.list()[0].event_id is None
    files = b"".join(f.read_bytes() for f in database.path.parent.iterdir())
    database.close()
    files += b"".join(f.read_bytes() for f in database.path.parent.iterdir())
    assert b"bad_json" in files
    assert CANARY.encode() not in files


@pytest.mark.parametrize("store", STORES)
def test_a_refused_record_comes_back_whole(letters: SqliteDeadLetters, store: Store) -> None:
    refused = Refused(store, record(store), "too_big")
    letters.put([refused])
    (listed,) = letters.list()
    assert (listed.kind, listed.store, listed.origin) == ("record", store, ORIGIN)
    assert letters.open(listed.sequence) == refused
    assert letters.find(ORIGIN, store) == listed
    assert letters.find(ORIGIN) is None


def test_each_store_and_the_event_itself_have_a_letter_of_their_own(
    letters: SqliteDeadLetters,
) -> None:
    letters.put([Refused(store, record(store), "too_big") for store in STORES])
    letters.put([Rejected("extract", "internal_error", ORIGIN)])
    assert letters.count() == len(STORES) + 1


def test_putting_it_again_changes_its_code_and_opens_it(letters: SqliteDeadLetters) -> None:
    letters.put([letter()])
    letters.retried(1, "still_bad")
    letters.resolve(1, "discarded")
    assert letters.list() == []
    letters.put([letter(code="too_deep", original=raw(b"other"))])
    (listed,) = letters.list()
    assert (listed.sequence, listed.code, listed.retries) == (1, "too_deep", 1)
    opened = letters.open(1)
    assert isinstance(opened, Original)
    assert opened.open() == raw().open()


def test_a_letter_without_original_gets_one_when_it_comes(letters: SqliteDeadLetters) -> None:
    letters.put([letter(original=None)])
    assert letters.open(1) is None
    letters.put([letter()])
    assert isinstance(letters.open(1), Original)
    letters.put([letter(original=None)])
    assert isinstance(letters.open(1), Original)
    assert letters.open(99) is None


def test_a_newer_version_of_a_refused_record_replaces_the_older(letters: SqliteDeadLetters) -> None:
    for version, code in ((1, "one"), (2, "two"), (1, "three")):
        letters.put([Refused("graph", record("graph", version=version), code)])
    (listed,) = letters.list()
    assert listed.code == "two"
    letters.resolve(1, "written")
    assert letters.count() == 1, "the letter that was replaced is not this one"
    opened = letters.open(listed.sequence)
    assert isinstance(opened, Refused)
    assert opened.record == record("graph", version=2)


def test_resolutions_are_records_too(letters: SqliteDeadLetters) -> None:
    letters.put([letter(n) for n in range(3)])
    letters.retried(2, "too_deep")
    letters.retried(2, "too_deep")
    letters.resolve(2, "written")
    letters.resolve(99, "written")
    assert letters.outcomes(2) == [(False, "too_deep"), (False, "too_deep"), (True, "written")]
    assert letters.outcomes(99) == []
    done = letters.get(2)
    assert done is not None
    assert (done.resolved, done.retries) == ("written", 2)
    assert letters.counts() == {"bad_json": 2}
    assert letters.counts(resolved=True) == {"too_deep": 1}


def test_filters_and_pages(letters: SqliteDeadLetters) -> None:
    other = Rejected("pii", "bad_json", Origin("llm.responses.v1", 0, 0, 1), original=raw())
    letters.put([letter(0), letter(1, code="too_deep"), letter(2), other])
    letters.resolve(3, "discarded")

    def found(**filters: Any) -> list[int]:
        return [item.sequence for item in letters.list(**filters)]

    assert found() == [1, 2, 4]
    assert found(resolved=None) == [1, 2, 3, 4]
    assert found(resolved=True) == [3]
    assert found(code="bad_json") == [1, 4]
    assert found(stage="pii") == found(topic="llm.responses.v1") == [4]
    assert found(code="bad_json", topic="llm.prompts.v1", resolved=None) == [1, 3]
    assert found(limit=2) == [1, 2]
    assert found(after=2) == [4]
    assert letters.counts() == {"bad_json": 2, "too_deep": 1}


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
