"""What happens when the file cannot take it: full, locked, read-only, damaged."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from schemas.ports import Damaged, Unavailable
from sinks.sqlite.database import Database
from tests.sinks.sqlite.test_database import ROOT, add, held, hold_writer

TABLE = "CREATE TABLE numbers (n INTEGER PRIMARY KEY, b)"


@pytest.fixture
def numbers(database: Database) -> Database:
    database.run("test", lambda c: c.execute(TABLE).rowcount)
    return database


def grow(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO numbers (n, b) VALUES (1000, zeroblob(1000000))")


def limit_pages(database: Database, pages: int) -> None:
    """The same SQLITE_FULL as of a disk without room, without filling one."""
    database.run("test", lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchall())


def test_full_fails_the_whole_group_and_heals(numbers: Database) -> None:
    limit_pages(numbers, 60)
    go = hold_writer(numbers)
    before = add(numbers, 1)
    full = numbers.submit("numbers", grow)
    after = add(numbers, 2)
    go.set()
    for future in (before, full, after):
        error = future.exception(30)
        assert isinstance(error, Unavailable)
        assert (error.what, error.code) == ("database", "full")
    assert held(numbers) == []
    add(numbers, 3).result(30)
    limit_pages(numbers, 1 << 30)
    numbers.run("numbers", grow)
    assert held(numbers) == [3, 1000]


LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
connection.execute("ROLLBACK")
print("free", flush=True)
sys.stdin.readline()
"""


def test_locked_by_another_process_heals_when_it_lets_go(numbers: Database) -> None:
    numbers.run("test", lambda c: c.execute("PRAGMA busy_timeout = 20").fetchall())
    other = subprocess.Popen(
        [sys.executable, "-c", LOCK, str(numbers.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        error = add(numbers, 1).exception(30)
        assert isinstance(error, Unavailable)
        assert (error.what, error.code) == ("database", "locked")
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "free\n"
        add(numbers, 2).result(30)
        other.stdin.write("\n")
    assert held(numbers) == [2]


def test_a_lock_held_for_a_moment_is_waited_for(numbers: Database) -> None:
    other = sqlite3.connect(numbers.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    waiting = add(numbers, 1)
    assert not waiting.done()
    other.execute("COMMIT")
    other.close()
    waiting.result(30)
    assert held(numbers) == [1]


def overwrite(path: Path, table: str) -> None:
    """Garbage over the root page of one table."""
    with sqlite3.connect(path) as connection:
        (page,) = connection.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(os.urandom(size))


def test_a_damaged_page_is_told_apart_from_passing_trouble(path: Path) -> None:
    first = Database.open(path)
    first.run("test", lambda c: c.execute(TABLE).rowcount)
    first.run("test", lambda c: c.execute("CREATE TABLE others (n)").rowcount)
    first.close()
    overwrite(path, "numbers")
    database = Database.open(path)
    with pytest.raises(Damaged, match="damaged"):
        add(database, 1).result(30)
    with pytest.raises(Damaged, match="damaged"):
        held(database)
    database.run("others", lambda c: c.execute("INSERT INTO others VALUES (1)").rowcount)
    database.close()


def test_a_damaged_schema_is_refused_on_opening(path: Path) -> None:
    Database.open(path).close()
    content = bytearray(path.read_bytes())
    content[100:4096] = os.urandom(3996)
    path.write_bytes(content)
    with pytest.raises(Damaged):
        Database.open(path)


def test_a_lost_meta_table_is_damage(path: Path) -> None:
    Database.open(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE meta")
    connection.close()
    with pytest.raises(Damaged, match="meta"):
        Database.open(path)


READ_ONLY = """
import os, sys
from pathlib import Path
from schemas.ports import Unavailable
from sinks.sqlite.database import Database
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    database = Database.open(Path(sys.argv[1]))
    database.run("test", lambda c: c.execute("INSERT INTO numbers (n) VALUES (1)"))
except Unavailable as error:
    print(error.what, error.code)
"""


@pytest.mark.parametrize("folder_mode", [0o777, 0o555])
def test_a_file_that_may_not_be_written_is_unavailable(folder_mode: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "memory.db"
        database = Database.open(path)
        database.run("test", lambda c: c.execute(TABLE).rowcount)
        database.close()
        path.chmod(0o444)
        path.parent.chmod(folder_mode)
        answer = subprocess.run(
            [sys.executable, "-c", READ_ONLY, str(path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        path.parent.chmod(0o700)
    assert answer.stdout in {"database cannot_open\n", "database readonly\n"}


def test_a_store_with_a_lost_table_fails_alone(numbers: Database) -> None:
    numbers.run("test", lambda c: c.execute("DROP TABLE claims").rowcount)
    go = hold_writer(numbers)
    lost = numbers.submit("claims", lambda c: c.execute("DELETE FROM claims").rowcount)
    fine = add(numbers, 1)
    go.set()
    error = lost.exception(30)
    assert isinstance(error, Unavailable)
    assert (error.what, error.code) == ("claims", "sql_error")
    fine.result(30)
    with pytest.raises(Unavailable, match="claims"):
        numbers.read("claims", lambda c: c.execute("SELECT * FROM claims").fetchall())
    assert held(numbers) == [1]
