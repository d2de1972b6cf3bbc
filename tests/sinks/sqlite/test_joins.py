"""Responses and prompts meet, whatever the order, the repetitions and the crashes."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ports import Unavailable
from sinks.sqlite.database import Database
from sinks.sqlite.joins import SqliteJoins
from tests.sinks.state import response, side


@pytest.fixture
def joins(database: Database) -> SqliteJoins:
    return SqliteJoins(database)


def test_the_original_bytes_are_never_stored(joins: SqliteJoins, database: Database) -> None:
    joins.add_responses([response("r", "p", original=True)])
    assert joins.add_prompts([(side("p"), 0)])["p"] == (response("r", "p"),)
    joins.flush()
    files = b"".join(f.read_bytes() for f in database.path.parent.iterdir())
    assert b"raw bytes" not in files


def test_expired_rows_are_not_seen_and_go(database: Database, joins: SqliteJoins) -> None:
    joins.add_prompts([(side("old"), 10), (side("new"), 20)])
    joins.add_responses([response("r1", "a", 10), response("r2", "b", 20)])
    joins.flush()
    fresh = SqliteJoins(database)
    fresh.expire(15)
    assert fresh.add_responses([response("r3", "old", 30), response("r4", "new", 30)]) == {
        "r3": (None, False),
        "r4": (side("new"), False),
    }
    assert fresh.add_prompts([(side("a"), 30)]) == {"a": ()}
    assert len(fresh.add_prompts([(side("b"), 30)])["b"]) == 1
    fresh.flush()
    assert ids(database, "prompt_id", "join_prompts") == {"new", "a", "b"}
    assert ids(database, "response_id", "join_responses") == {"r2", "r3"}


def test_the_tables_are_bounded_by_count(database: Database) -> None:
    joins = SqliteJoins(database, limit=20, remembered=5)
    for n in range(100):
        joins.add_prompts([(side(f"p{n}"), 0)])
        joins.add_responses([response(f"r{n}", "absent")])
    joins.flush()
    assert ids(database, "prompt_id", "join_prompts") == {f"p{n}" for n in range(80, 100)}
    assert ids(database, "response_id", "join_responses") == {f"r{n}" for n in range(80, 100)}


def ids(database: Database, column: str, table: str) -> set[str]:
    query = f"SELECT {column} FROM {table}"
    return {row[0] for row in database.read("t", lambda c: c.execute(query).fetchall())}


def test_a_lost_table_is_unavailable(database: Database, joins: SqliteJoins) -> None:
    joins.flush()
    database.run("t", lambda c: c.execute("DROP TABLE join_prompts").rowcount)
    joins.add_prompts([(side("p"), 0)])
    with pytest.raises(Unavailable) as caught:
        joins.flush()
    assert (caught.value.what, caught.value.code) == ("joins", "sql_error")
    with pytest.raises(Unavailable):
        joins.add_responses([response("r", "p")])


def test_a_lost_write_is_told_to_the_barrier_even_if_a_stage_was_told(
    database: Database, joins: SqliteJoins
) -> None:
    def limit(pages: int) -> None:
        database.run("t", lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchall())

    limit(1)
    joins.add_responses([response(f"r{n}", "p") for n in range(2_000)])
    database.flush()
    with pytest.raises(Unavailable):
        joins.add_responses([response("other", "q")])
    with pytest.raises(Unavailable) as caught:
        joins.flush()
    assert (caught.value.what, caught.value.code) == ("database", "full")
    limit(1 << 30)
    joins.flush()
    assert joins.add_prompts([(side("p"), 0)]) == {"p": ()}


class Run:
    """A worker in miniature: reads a log of prompts and responses, keeps what it would write, and
    commits offset, writes and confirmations together. A crash falls back to the last commit; the
    join tables may then be as they were there (``lost``), or newer (``kept``)."""

    def __init__(self, folder: Path, log: list[tuple[str, str]]) -> None:
        self.path = folder / "memory.db"
        self.committed_file = folder / "committed.db"
        self.log = log
        self.offset = self.committed = 0
        self.written: set[tuple[str, str]] = set()
        self.pending: set[tuple[str, str]] = set()
        self.open()
        self.commit()

    def open(self) -> None:
        self.database = Database.open(self.path)
        self.joins = SqliteJoins(self.database, remembered=2)

    def step(self, count: int) -> None:
        batch = self.log[self.offset : self.offset + count]
        prompts = [(side(key), at) for at, (kind, key) in enumerate(batch) if kind == "prompt"]
        found = self.joins.add_prompts(prompts)
        for prompt_id, waiting in found.items():
            self.pending |= {(w.response.event.id, prompt_id) for w in waiting}
        answers = self.joins.add_responses(
            [response(key, key.split("/")[0]) for kind, key in batch if kind == "response"]
        )
        for id_, (known, orphan) in answers.items():
            if known:
                self.pending.add((id_, known.prompt_id))
            elif orphan:
                self.pending.add((id_, "orphan"))
        self.offset += len(batch)

    def overdue(self) -> None:
        while late := self.joins.overdue(1, 2):
            self.pending |= {(w.response.event.id, "orphan") for w in late}

    def commit(self) -> None:
        mark = self.joins.seal()
        self.joins.flush()
        self.written |= self.pending
        self.pending = set()
        self.joins.confirm(mark)
        self.joins.flush()
        self.committed = self.offset
        self.committed_file.unlink(missing_ok=True)
        with sqlite3.connect(self.committed_file) as copy:
            self.database.reader().backup(copy)
        copy.close()

    def crash(self, *, lost: bool) -> None:
        self.database.close()
        if lost:
            shutil.copy(self.committed_file, self.path)
        self.pending = set()
        self.offset = self.committed
        self.open()


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_every_pair_is_written_in_any_order_and_through_any_crash(data: st.DataObject) -> None:
    prompts = ["p0", "p1", "p2"]
    answers = [f"p{n}/r{k}" for n in range(5) for k in range(2)]
    events = [("prompt", p) for p in prompts] + [("response", r) for r in answers]
    log = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events)))))
    actions = st.sampled_from(["step", "step", "overdue", "commit", "kept", "lost"])
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), log)
        for action in data.draw(st.lists(actions, max_size=12)):
            if action == "step":
                run.step(data.draw(st.integers(1, 5)))
            elif action in {"kept", "lost"}:
                run.crash(lost=action == "lost")
            else:
                getattr(run, action)()
        run.step(len(log))
        run.overdue()
        run.commit()
        run.database.close()
    pairs = {(r, r.split("/")[0]) for r in answers if r.split("/")[0] in prompts}
    orphans = {(r, "orphan") for r in answers if r.split("/")[0] not in prompts}
    assert run.written >= pairs | orphans
    assert all(where == "orphan" or (r, where) in pairs for r, where in run.written)
