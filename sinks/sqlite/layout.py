"""The file's format: its version, its tables, and how an older file becomes a current one.

``schema/*.sql`` hold the tables as they are today, each statement safe to repeat. A change that
``CREATE … IF NOT EXISTS`` cannot make raises :data:`FORMAT` and brings
``schema/migrations/<old format>.sql``, which turns a file of that format into the next one.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from schemas.ports import Damaged

FORMAT = 1
APPLICATION_ID = 0x4D6D4772
SCHEMA = Path(__file__).parent / "schema"
_MAGIC = b"SQLite format 3\x00"
_META = "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"


def check_header(path: Path) -> None:
    """Raises Damaged where a file stands that SQLite did not write. An empty file is fine."""
    with path.open("rb") as file:
        head = file.read(len(_MAGIC))
    if head and head != _MAGIC:
        raise Damaged(f"{path.name} is not a database")


def prepare(
    connection: sqlite3.Connection, name: str, schema: Path = SCHEMA, current: int = FORMAT
) -> str:
    """Makes or migrates the tables and answers the store-set id, minted when the file was made.

    Takes the write lock only where there is something to do, so that a reader can open the file
    beside a busy worker. Raises Damaged for a newer format or another program's file.
    """
    scripts = [path.read_text("utf-8") for path in sorted(schema.glob("*.sql"))]
    digest = hashlib.sha256("\0".join([str(current), *scripts]).encode()).hexdigest()
    if _is_current(connection, name, current, digest):
        return _meta(connection, "store_set")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not _is_current(connection, name, current, digest):
            _build(connection, schema, scripts, current, digest)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return _meta(connection, "store_set")


def _is_current(connection: sqlite3.Connection, name: str, current: int, digest: str) -> bool:
    """Whether nothing is to be done. Raises Damaged where nothing may be done."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables == 0:
        return False
    if application != APPLICATION_ID:
        raise Damaged(f"{name} is another program's database")
    if found > current:
        raise Damaged(f"{name} has format {found}, this program knows formats up to {current}")
    has_meta = connection.execute(
        "SELECT 1 FROM sqlite_schema WHERE name = 'meta' AND type = 'table'"
    ).fetchone()
    if not has_meta or not _meta(connection, "store_set"):
        raise Damaged(f"{name} has lost its meta table")
    return bool(found == current and _meta(connection, "schema") == digest)


def _build(
    connection: sqlite3.Connection, schema: Path, scripts: list[str], current: int, digest: str
) -> None:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if tables:
        for version in range(found, current):
            script = schema / "migrations" / f"{version}.sql"
            for statement in statements(script.read_text("utf-8")):
                connection.execute(statement)
    connection.execute(_META)
    connection.execute(
        "INSERT OR IGNORE INTO meta VALUES ('store_set', ?)", (secrets.token_hex(16),)
    )
    for script_text in scripts:
        for statement in statements(script_text):
            connection.execute(statement)
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (digest,))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {current}")


def statements(script: str) -> Iterator[str]:
    """The statements of a script, triggers kept whole. (``executescript`` would commit first.)"""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip():
        yield pending


def _meta(connection: sqlite3.Connection, key: str) -> str:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return str(row[0]) if row else ""
