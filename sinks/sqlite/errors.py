"""What an SQLite error means for us, decided by its code, never by its text."""

from __future__ import annotations

import sqlite3

from schemas.ports import Damaged, Unavailable

_FILE = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_NOMEM: "no_memory",
    sqlite3.SQLITE_READONLY: "readonly",
    sqlite3.SQLITE_IOERR: "io_error",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_CANTOPEN: "cannot_open",
    sqlite3.SQLITE_PROTOCOL: "locked",
}
_DAMAGE = {sqlite3.SQLITE_CORRUPT: "corrupt", sqlite3.SQLITE_NOTADB: "not a database"}
FILE_CODES = frozenset(_FILE.values())
"""Codes of faults that every part of the file has at once."""
_JOB = {
    sqlite3.SQLITE_ERROR: "sql_error",
    sqlite3.SQLITE_SCHEMA: "schema_changed",
    sqlite3.SQLITE_TOOBIG: "too_big",
    sqlite3.SQLITE_CONSTRAINT: "constraint",
    sqlite3.SQLITE_MISMATCH: "type_mismatch",
    sqlite3.SQLITE_INTERRUPT: "interrupted",
}


def concerns_file(error: sqlite3.Error) -> bool:
    """True where the whole file is in trouble, False where only one job's tables or values are.

    A corrupt virtual table (FTS5) is a fault of that table: it can be rebuilt, the file is fine.
    """
    code = _code(error)
    if code == sqlite3.SQLITE_CORRUPT_VTAB:
        return False
    return code & 0xFF in _FILE or code & 0xFF in _DAMAGE


def translate(part: str, error: sqlite3.Error) -> Unavailable | Damaged:
    """Our exception for an SQLite error, without its message (which may quote values)."""
    code = _code(error)
    if code == sqlite3.SQLITE_CORRUPT_VTAB:
        return Unavailable(part, "corrupt_index")
    primary = code & 0xFF
    if primary in _DAMAGE:
        return Damaged(f"the database file is damaged ({_DAMAGE[primary]})")
    if primary in _FILE:
        return Unavailable("database", _FILE[primary])
    return Unavailable(part, _JOB.get(primary, f"sqlite_{primary}"))


def _code(error: sqlite3.Error) -> int:
    """The extended result code; errors of the Python binding itself have none and count as 1."""
    return getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR
