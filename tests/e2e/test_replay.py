"""The whole log read again: nothing in any store changes, and nothing is there twice."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flows.filelog import LogWriter
from tests.e2e.conversations import pools
from tests.e2e.derived import Derived
from tests.faults.harness import Bench
from tests.generate import read_log

TABLES = (
    "graph_record",
    "graph_node",
    "graph_edge",
    "vector_record",
    "timeseries_point",
    "search_document",
    "dead_letters",
    "dead_letter_outcomes",
    "parking",
    "offsets",
)
JOINS = ("join_prompts", "join_responses")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    odd, plain, broken = pools()
    conversations = [*odd[:10], *odd[-10:], *plain[:15], *broken[:10]]
    records = [record for conversation in conversations for record in conversation]
    folder = tmp_path_factory.mktemp("replay")
    LogWriter(folder / "log").append(sorted(records, key=lambda record: record.timestamp))
    bench = Bench(folder / "bench", folder / "log")
    bench.run("--json")
    return bench


def test_the_first_time(bench: Bench) -> None:
    derived = Derived(read_log(bench.log), bench.settings())
    derived.check(bench.settings())
    assert set(derived.expected.states.values()) == {"complete", "waiting", "orphan"}
    assert min(derived.expected.duplicates, len(derived.expected.dead)) > 0


@pytest.mark.parametrize(
    "forgotten",
    [
        ("offsets",),
        ("offsets", "claims"),
        ("offsets", "claims", "cache"),
        ("offsets", "claims", "cache", *JOINS),
    ],
    ids="+".join,
)
def test_the_log_read_again(bench: Bench, forgotten: tuple[str, ...]) -> None:
    """A row that is written again may get another number; and whoever has lost the join tables no
    longer knows which completed responses were orphans first, which is a fact that counts."""
    apart = {"record", "version"} if forgotten[-1] in JOINS else {"record"}
    before = stored(bench.database, apart)
    with closing(sqlite3.connect(bench.database)) as connection, connection:
        for table in forgotten:
            assert connection.execute(f"DELETE FROM {table}").rowcount > 0
    ended = bench.run("--json")
    assert '"lag": 0' in ended.out
    after = stored(bench.database, apart)
    for table in TABLES:
        gone, new = before[table] - after[table], after[table] - before[table]
        assert (sorted(gone)[:3], sorted(new)[:3]) == ([], []), table


def stored(database: Path, apart: set[str]) -> dict[str, set[tuple[str, ...]]]:
    """All rows of all tables to the last byte, without the columns ``apart``; none comes twice."""
    found = {}
    with closing(sqlite3.connect(database)) as connection:
        for table in TABLES:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            chosen = ", ".join(f'"{column}"' for column in columns if column not in apart)
            rows = connection.execute(f"SELECT {chosen} FROM {table}").fetchall()
            found[table] = {tuple(map(repr, row)) for row in rows}
            assert len(found[table]) == len(rows), table
    return found
