"""The cache: what is put is found, bounds hold, errors are misses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.sqlite.cache import SqliteCache
from sinks.sqlite.database import Database


def test_found_in_order_from_memory_and_from_the_table(database: Database) -> None:
    cache = SqliteCache(database, "vectors")
    cache.put([(b"a", b"1"), (b"b", b"2")])
    asked = [b"b", b"x", b"a", b"b"]
    assert list(cache.get(asked)) == [b"2", None, b"1", b"2"]
    database.flush()
    other = SqliteCache(database, "vectors")
    assert list(other.get(asked)) == [b"2", None, b"1", b"2"]
    assert (other.hits, other.misses) == (3, 1)
    assert list(SqliteCache(database, "segments").get(asked)) == [None] * 4


def test_a_put_replaces(database: Database) -> None:
    cache = SqliteCache(database, "vectors")
    cache.put([(b"a", b"1")])
    cache.put([(b"a", b"22")])
    database.flush()
    assert list(cache.get([b"a"])) == [b"22"]
    assert list(SqliteCache(database, "vectors").get([b"a"])) == [b"22"]


def stored(database: Database, namespace: str) -> tuple[int, int]:
    query = "SELECT count(*), coalesce(sum(size), 0) FROM cache WHERE namespace = ?"
    row = database.read("t", lambda c: c.execute(query, (namespace,)).fetchone())
    return int(row[0]), int(row[1])


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.lists(st.integers(0, 400), min_size=1, max_size=20), max_size=15),
    restart=st.booleans(),
)
def test_both_layers_stay_within_their_bounds(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[list[int]], restart: bool
) -> None:
    database = Database.open(tmp_path_factory.mktemp("cache") / "memory.db")
    cache = SqliteCache(database, "small", limit=3_000, memory=1_500)
    beside = SqliteCache(database, "beside", limit=10_000, memory=0)
    beside.put([(b"kept", b"kept")])
    database.flush()
    number = 0
    last = (b"", b"")
    for batch in sizes:
        items = [(b"%d" % (number + i), bytes(size)) for i, size in enumerate(batch)]
        number += len(items)
        last = items[-1]
        cache.put(items)
        database.flush()
        assert stored(database, "small")[1] <= 3_000
        assert cache.memory_bytes <= 1_500
        assert cache.memory_bytes == sum(len(k) + len(v) + 64 for k, v in cache._memory.items())
        if restart:
            cache = SqliteCache(database, "small", limit=3_000, memory=1_500)
    if last[0]:
        assert list(cache.get([last[0]])) == [last[1]], "the youngest is still there"
    assert list(SqliteCache(database, "beside").get([b"kept"])) == [b"kept"]
    database.close()


def test_the_oldest_go_first(database: Database) -> None:
    cache = SqliteCache(database, "small", limit=100 * 100, memory=0)
    for n in range(1_000):
        cache.put([(b"%04d" % n, bytes(32))])
        database.flush()
    held = [value is not None for value in cache.get([b"%04d" % n for n in range(1_000)])]
    first = held.index(True)
    assert all(held[first:])
    assert 85 <= 1_000 - first <= 100


def test_a_value_too_big_for_the_bound_is_left_out(database: Database) -> None:
    cache = SqliteCache(database, "small", limit=1_000, memory=1_000)
    cache.put([(b"big", bytes(500)), (b"a", b"1")])
    database.flush()
    assert list(cache.get([b"big", b"a"])) == [None, b"1"]
    assert stored(database, "small")[0] == 1


def test_errors_are_misses(database: Database) -> None:
    database.run("t", lambda c: c.execute("DROP TABLE cache").rowcount)
    cache = SqliteCache(database, "vectors", memory=0)
    cache.put([(b"a", b"1")])
    database.flush()
    assert list(cache.get([b"a"])) == [None]
    database.close()
    cache.put([(b"a", b"1")])
    assert list(cache.get([b"a"])) == [None]
