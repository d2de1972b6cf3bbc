"""The reconciliation queues keep records as they were, in order, once."""

from __future__ import annotations

import pytest

from schemas.ports import Damaged, Unavailable
from schemas.records import STORES, Store
from sinks.sqlite.database import Database
from sinks.sqlite.parking import SqliteParking
from tests.sinks.sqlite.records import record


@pytest.fixture
def parking(database: Database) -> SqliteParking:
    return SqliteParking(database)


def ids(parking: SqliteParking, store: Store = "graph") -> list[tuple[str, int]]:
    taken = parking.take(store, 100)
    return [(p.record.stamp.id, p.record.stamp.version) for p in taken]


@pytest.mark.parametrize("store", STORES)
def test_records_come_back_as_they_were(parking: SqliteParking, store: Store) -> None:
    parking.park(store, [(record(store), "locked")])
    (parked,) = parking.take(store, 10)
    assert parked.record == record(store)
    assert (parked.store, parked.code, parked.attempts) == (store, "locked", 0)
    assert parking.backlog() == {s: int(s == store) for s in STORES}


def test_oldest_first_in_pages_and_left_in_the_queue(parking: SqliteParking) -> None:
    parking.park("graph", [(record("graph", f"{n}"), "full") for n in range(5)])
    parking.park("search", [(record("search"), "full")])
    first = parking.take("graph", 2)
    rest = parking.take("graph", 10, after=first[-1].sequence)
    assert [p.record.stamp.id for p in [*first, *rest]] == ["0", "1", "2", "3", "4"]
    assert parking.backlog()["graph"] == 5
    parking.settle([*first, rest[1]])
    assert ids(parking) == [("2", 1), ("4", 1)]
    assert parking.backlog() == {"graph": 2, "vector": 0, "timeseries": 0, "search": 1}


def test_of_an_id_only_the_greatest_version_waits(parking: SqliteParking) -> None:
    for version in (2, 1, 2):
        parking.park("graph", [(record("graph", "a", version), "full")])
    assert ids(parking) == [("a", 2)]


def test_settling_an_older_version_leaves_the_newer_one(parking: SqliteParking) -> None:
    parking.park("graph", [(record("graph", "a", 1), "full")])
    taken = parking.take("graph", 1)
    parking.park("graph", [(record("graph", "a", 2), "full")])
    parking.failed([(taken[0], "locked")])
    parking.settle(taken)
    assert ids(parking) == [("a", 2)]
    assert parking.take("graph", 1)[0].attempts == 0


def test_attempts_count_with_the_latest_code(parking: SqliteParking) -> None:
    parking.park("graph", [(record("graph"), "full")])
    for code in ("full", "locked"):
        parking.failed([(parking.take("graph", 1)[0], code)])
    (parked,) = parking.take("graph", 1)
    assert (parked.attempts, parked.code) == (2, "locked")
    parking.park("graph", [(record("graph"), "full")])
    assert parking.take("graph", 1)[0].attempts == 2


def test_it_survives_a_restart(database: Database, parking: SqliteParking) -> None:
    parking.park("graph", [(record("graph"), "full")])
    database.close()
    again = Database.open(database.path)
    assert ids(SqliteParking(again)) == [("a", 1)]
    again.close()


def test_a_lost_table_is_unavailable(database: Database, parking: SqliteParking) -> None:
    database.run("t", lambda c: c.execute("DROP TABLE parking").rowcount)
    for call in (
        lambda: parking.park("graph", [(record("graph"), "full")]),
        lambda: parking.take("graph", 1),
        parking.backlog,
    ):
        with pytest.raises(Unavailable, match="parking"):
            call()


def test_a_record_of_a_newer_format_is_refused(database: Database, parking: SqliteParking) -> None:
    parking.park("graph", [(record("graph"), "full")])
    database.run("t", lambda c: c.execute("UPDATE parking SET record = x'7f80'").rowcount)
    with pytest.raises(Damaged, match="format"):
        parking.take("graph", 1)
