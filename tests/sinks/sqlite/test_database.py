"""The writer: order, isolation, what survives a kill; the file: who may open it."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from schemas.ports import Damaged, Unavailable
from sinks.sqlite import layout
from sinks.sqlite.database import GROUP, WAL_PAGES, Database

ROOT = Path(__file__).parents[3]


@pytest.fixture
def numbers(database: Database) -> Database:
    database.run("test", lambda c: c.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY, b)"))
    return database


def add(database: Database, n: int) -> Future[None]:
    def job(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO numbers (n) VALUES (?)", (n,))

    return database.submit("numbers", job)


def held(database: Database) -> list[int]:
    rows = database.read("numbers", lambda c: c.execute("SELECT n FROM numbers").fetchall())
    return [row[0] for row in rows]


def hold_writer(database: Database) -> threading.Event:
    """Keeps the writer inside a job until the event is set, so that what follows is one group."""
    entered, go = threading.Event(), threading.Event()

    def job(_: sqlite3.Connection) -> None:
        entered.set()
        go.wait(30)

    database.submit("test", job)
    assert entered.wait(30)
    return go


def test_runs_jobs_in_order_and_answers_after_the_commit(numbers: Database) -> None:
    futures = [add(numbers, n) for n in range(3 * GROUP)]
    futures[-1].result(30)
    assert all(future.done() for future in futures)
    with sqlite3.connect(numbers.path) as other:
        assert other.execute("SELECT count(*) FROM numbers").fetchone() == (3 * GROUP,)
    other.close()


def test_one_bad_job_fails_alone_in_its_group(numbers: Database) -> None:
    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO numbers (n) VALUES (100)")
        connection.execute("INSERT INTO numbers (n) VALUES (1)")

    def bug(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO numbers (n) VALUES (101)")
        raise KeyError("n")

    go = hold_writer(numbers)
    before = add(numbers, 1)
    bad = numbers.submit("numbers", half)
    missing = numbers.submit("elsewhere", lambda c: c.execute("INSERT INTO absent VALUES (1)"))
    broken = numbers.submit("numbers", bug)
    big = numbers.submit("numbers", lambda c: c.execute("SELECT zeroblob(2000000000)").fetchone())
    after = add(numbers, 2)
    go.set()
    assert before.result(30) is None
    assert after.result(30) is None
    failed = [f.exception(30) for f in (bad, missing, big)]
    assert [(type(e), getattr(e, "what", ""), getattr(e, "code", "")) for e in failed] == [
        (Unavailable, "numbers", "constraint"),
        (Unavailable, "elsewhere", "sql_error"),
        (Unavailable, "numbers", "too_big"),
    ]
    assert isinstance(broken.exception(30), KeyError)
    assert held(numbers) == [1, 2]


def test_a_cancelled_job_does_not_run(numbers: Database) -> None:
    go = hold_writer(numbers)
    cancelled = add(numbers, 1)
    assert cancelled.cancel()
    go.set()
    add(numbers, 2).result(30)
    assert held(numbers) == [2]


def test_flush_waits_for_everything_and_raises_nothing(numbers: Database) -> None:
    go = hold_writer(numbers)
    futures = [add(numbers, 7), add(numbers, 7)]
    threading.Timer(0.01, go.set).start()
    numbers.flush()
    assert [future.done() for future in futures] == [True, True]


def test_close_commits_what_was_submitted_and_refuses_what_comes_later(
    path: Path, numbers: Database
) -> None:
    futures = [add(numbers, n) for n in range(100)]
    numbers.close()
    assert all(future.exception() is None for future in futures)
    with pytest.raises(Unavailable, match="closed"):
        add(numbers, 1_000).result(30)
    with pytest.raises(Unavailable, match="closed"):
        threading_result(lambda: numbers.reader())
    assert os.listdir(path.parent) == [path.name]
    again = Database.open(path)
    assert held(again) == list(range(100))
    again.close()


def test_close_waits_for_a_read_that_another_thread_is_in(numbers: Database) -> None:
    """What closes a connection under a running statement kills the process."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    reading = threading.Event()
    failed: Future[None] = Future()

    def query(connection: sqlite3.Connection) -> None:
        connection.set_progress_handler(reading.set, 1_000)
        connection.execute(endless).fetchall()

    def read() -> None:
        try:
            numbers.read("numbers", query)
        except BaseException as error:
            failed.set_exception(error)

    thread = threading.Thread(target=read)
    thread.start()
    assert reading.wait(30)
    numbers.close()
    with pytest.raises(Unavailable, match="interrupted"):
        failed.result(30)
    thread.join(30)


def test_who_read_before_cannot_after_the_close(numbers: Database) -> None:
    assert held(numbers) == []
    numbers.close()
    with pytest.raises(Unavailable, match="closed"):
        held(numbers)


def test_a_file_that_a_new_reader_cannot_open_is_unavailable(
    numbers: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With too many files open, say: what raises is a stage or a thread that reads for the first
    time, and no event is to blame."""

    def connect(*_: object, **__: object) -> None:
        error = sqlite3.OperationalError("unable to open database file")
        error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
        raise error

    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(Unavailable, match="cannot_open"):
        held(numbers)


def threading_result(call: object) -> None:
    """Runs a call on a new thread, which has no connection yet."""
    future: Future[None] = Future()

    def run() -> None:
        try:
            future.set_result(call())  # type: ignore[operator]
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run).start()
    future.result(30)


def test_readers_cannot_write(numbers: Database) -> None:
    with pytest.raises(Unavailable) as caught:
        numbers.read("numbers", lambda c: c.execute("INSERT INTO numbers (n) VALUES (1)"))
    assert caught.value.code == "readonly"


def test_the_journal_stays_bounded_while_others_read(numbers: Database, path: Path) -> None:
    blob = b"x" * 1_000_000
    for _ in range(3 * WAL_PAGES * 4096 // len(blob)):
        numbers.run("numbers", lambda c: c.execute("INSERT INTO numbers (b) VALUES (?)", (blob,)))
        numbers.read("numbers", lambda c: c.execute("SELECT max(n) FROM numbers").fetchall())
    journal = path.with_name(path.name + "-wal").stat().st_size
    assert journal < 2 * WAL_PAGES * 4096


def test_the_file_is_private_and_keeps_its_identity(path: Path) -> None:
    first = Database.open(path)
    minted = first.store_set
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first.close()
    second = Database.open(path)
    assert second.store_set == minted
    second.close()
    other = Database.open(path.with_name("other.db"))
    assert other.store_set != minted
    other.close()


@pytest.mark.parametrize(("durable", "level"), [(False, 1), (True, 2)])
def test_durable_means_full_synchronisation(path: Path, durable: bool, level: int) -> None:
    database = Database.open(path, durable=durable)
    assert database.run("t", lambda c: c.execute("PRAGMA synchronous").fetchone()) == (level,)
    assert database.run("t", lambda c: c.execute("PRAGMA secure_delete").fetchone()) == (1,)
    database.close()


def test_opening_needs_no_write_lock_when_nothing_is_to_be_done(database: Database) -> None:
    go = hold_writer(database)
    beside = Database.open(database.path)
    assert beside.store_set == database.store_set
    beside.close()
    go.set()


def test_a_newer_format_is_refused_with_both_versions(path: Path) -> None:
    Database.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {layout.FORMAT + 1}")
    connection.close()
    with pytest.raises(Damaged, match=f"format {layout.FORMAT + 1}.*up to {layout.FORMAT}"):
        Database.open(path)


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    connection.close()
    with pytest.raises(Damaged, match="another program"):
        Database.open(path)
    with sqlite3.connect(path) as connection:
        names = connection.execute("SELECT name FROM sqlite_schema").fetchall()
    connection.close()
    assert names == [("theirs",)]


def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"not a database at all" * 500)
    with pytest.raises(Damaged, match="not a database"):
        Database.open(path)
    assert path.read_bytes() == b"not a database at all" * 500


def test_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        Database.open(tmp_path / "absent" / "memory.db")
    assert caught.value.code == "cannot_open"


@pytest.fixture
def schemas(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """The tables of format 1 and, later, of format 2 with the step between."""
    old, new = tmp_path / "old", tmp_path / "new"
    (new / "migrations").mkdir(parents=True)
    old.mkdir()
    (old / "a.sql").write_text("CREATE TABLE IF NOT EXISTS a (x);")
    (new / "a.sql").write_text("CREATE TABLE IF NOT EXISTS a (x, y);")
    (new / "migrations" / "1.sql").write_text(
        "ALTER TABLE a ADD COLUMN y;\nUPDATE a\n  SET y = x || ';';\n"
    )
    return iter([(old, new)])


def test_an_older_format_is_migrated(path: Path, schemas: Iterator[tuple[Path, Path]]) -> None:
    old, new = next(schemas)
    connection = sqlite3.connect(path, isolation_level=None)
    minted = layout.prepare(connection, "memory.db", old, 1)
    connection.execute("INSERT INTO a VALUES (7)")
    assert layout.prepare(connection, "memory.db", new, 2) == minted
    assert connection.execute("SELECT x, y FROM a").fetchall() == [(7, "7;")]
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    connection.close()


def test_a_migration_that_fails_changes_nothing(
    path: Path, schemas: Iterator[tuple[Path, Path]]
) -> None:
    old, new = next(schemas)
    (new / "migrations" / "1.sql").write_text("ALTER TABLE a ADD COLUMN y;\nUPDATE absent SET z=1;")
    connection = sqlite3.connect(path, isolation_level=None)
    layout.prepare(connection, "memory.db", old, 1)
    with pytest.raises(sqlite3.OperationalError):
        layout.prepare(connection, "memory.db", new, 2)
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert [row[1] for row in connection.execute("PRAGMA table_info(a)")] == ["x"]
    connection.close()


def test_statements_keep_triggers_whole() -> None:
    script = (
        "-- tables; and more\nCREATE TABLE a (x);\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n"
        "  DELETE FROM a;\n  SELECT ';';\nEND;\n"
    )
    assert [s.split()[-2:] for s in layout.statements(script)] == [["a", "(x);"], ["';';", "END;"]]


WRITER = """
import sys
from pathlib import Path
from sinks.sqlite.database import Database
database = Database.open(Path(sys.argv[1]))
n = int(sys.argv[2])
def add(connection, n):
    connection.execute("INSERT INTO numbers (n) VALUES (?)", (n,))
while True:
    futures = [database.submit("t", lambda c, n=n + i: add(c, n)) for i in range(50)]
    for future in futures:
        future.result()
        n += 1
        print(n, flush=True)
"""


def test_what_was_confirmed_survives_sigkill(path: Path) -> None:
    first = Database.open(path)
    first.run("t", lambda c: c.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)").rowcount)
    first.close()
    start = 0
    for kill in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(start)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(120 + 77 * kill)]
        writer.kill()
        lines += [line for line in writer.stdout.readlines() if line.endswith("\n")]
        writer.stdout.close()
        writer.wait()
        database = Database.open(path)
        rows = held(database)
        database.close()
        assert rows == list(range(len(rows))), "a prefix, without holes"
        assert len(rows) >= int(lines[-1])
        start = len(rows)
    assert start > 5 * 120
