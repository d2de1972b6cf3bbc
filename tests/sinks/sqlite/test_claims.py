"""Claims against an obvious model: a dictionary and the rule of the port."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ports import Claim, Unavailable, Verdict
from sinks.sqlite.claims import SqliteClaims
from sinks.sqlite.database import Database
from tests.sinks.state import TTL, claim

Step = tuple[str, list[tuple[int, int, int, int]]]
tuples = st.tuples(
    st.integers(0, 4),
    st.integers(0, 12),
    st.sampled_from([0, 50, 100, 101, 250]),
    st.integers(0, 1),
)
steps = st.lists(
    st.tuples(
        st.sampled_from(["claim", "claim", "claim", "release", "flush", "reopen"]),
        st.lists(tuples, min_size=1, max_size=6),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(steps=steps, remembered=st.sampled_from([0, 2, 1000]))
def test_any_order_of_claims_releases_and_restarts(steps: list[Step], remembered: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.db"
        database = Database.open(path)
        claims = SqliteClaims(database, ttl=TTL, remembered=remembered)
        model: dict[str, Claim] = {}
        for action, arguments in steps:
            batch = [claim(str(i), o, t, bytes([c])) for i, o, t, c in arguments]
            if action == "claim":
                assert list(claims.claim(batch)) == [judge(model, c) for c in batch]
            elif action == "release":
                claims.release([(c.id, c.origin) for c in batch])
                for c in batch:
                    held = model.get(c.id.id)
                    if held and held.origin.offset == c.origin.offset:
                        del model[c.id.id]
            elif action == "flush":
                claims.flush()
            else:
                database.close()
                database = Database.open(path)
                claims = SqliteClaims(database, ttl=TTL, remembered=remembered)
        database.close()


def judge(model: dict[str, Claim], new: Claim) -> Verdict:
    held = model.get(new.id.id)
    if held is not None:
        if held.origin.offset == new.origin.offset:
            return "replay"
        if abs(held.origin.timestamp - new.origin.timestamp) <= TTL:
            return "duplicate" if held.content == new.content else "conflict"
    model[new.id.id] = new
    return "new"


def rows(database: Database) -> int:
    return int(database.read("t", lambda c: c.execute("SELECT count(*) FROM claims").fetchone())[0])


def test_the_table_is_bounded_by_log_time(database: Database) -> None:
    claims = SqliteClaims(database, ttl=TTL, keep=2 * TTL)
    for n in range(100):
        claims.claim([claim(f"{n}.{i}", n * 10 + i, n * 10) for i in range(10)])
    claims.flush()
    assert rows(database) <= 10 * (2 * TTL // 10 + 2)
    assert list(claims.claim([claim("99.0", 5000, 990)])) == ["duplicate"]


def test_the_table_is_bounded_by_count(database: Database) -> None:
    claims = SqliteClaims(database, ttl=TTL, limit=50, remembered=10)
    for n in range(100):
        claims.claim([claim(f"{n}.{i}", n * 10 + i) for i in range(10)])
    claims.flush()
    assert rows(database) == 50
    assert list(claims.claim([claim("99.0", 5000), claim("0.0", 5001)])) == ["duplicate", "new"]


def test_a_write_that_failed_is_told_once_and_not_believed(database: Database) -> None:
    claims = SqliteClaims(database, ttl=TTL)
    database.run(
        "t", lambda c: c.execute("ALTER TABLE claims RENAME COLUMN content TO gone").rowcount
    )
    with pytest.raises(Unavailable) as reading:
        claims.claim([claim("a", 0)])
    assert (reading.value.what, reading.value.code) == ("claims", "sql_error")
    database.run(
        "t", lambda c: c.execute("ALTER TABLE claims RENAME COLUMN gone TO content").rowcount
    )
    database.run("t", lambda c: c.execute("PRAGMA max_page_count = 1").fetchone())
    big = [claim(str(n), n) for n in range(5000)]
    claims.claim(big)
    with pytest.raises(Unavailable) as writing:
        claims.flush()
    assert (writing.value.what, writing.value.code) == ("database", "full")
    database.run("t", lambda c: c.execute("PRAGMA max_page_count = 100000").fetchone())
    assert set(claims.claim([claim(str(n), 9000 + n) for n in range(5000)])) == {"new"}
    claims.flush()
