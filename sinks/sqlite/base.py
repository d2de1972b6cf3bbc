"""What the four stores share: prepare purely, admit by version, report per record, erase."""

from __future__ import annotations

import json
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from schemas.ports import ERASED, WRITTEN, Result, Stored, Unavailable
from schemas.records import Record, RecordId, Stamp, Store
from sinks.common.stamps import STAMP, Refusal, is_identity, read_stamp, record_id
from sinks.sqlite.database import Database
from sinks.sqlite.snapshot import snapshot

R = TypeVar("R", bound=Record)
P = TypeVar("P")
BAD_ID = Result("rejected", "bad_id")
_LOOKUP = 10_000


class StoreSettings(BaseModel):
    """What the embedded stores have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_record_bytes: int = Field(
        default=8 << 20, ge=1_024, description="Largest record a store takes, in bytes of UTF-8."
    )


class SqliteSink(ABC, Generic[R, P]):
    """A store in tables of the one SQLite file; implements :class:`schemas.ports.Sink`.

    A subclass turns a record into rows (``_prepare``, pure, in the caller's thread) and writes
    the rows of records that are admitted (``_apply``, in the writer's transaction). Admitted is,
    of each id, the highest version that is not lower than the stored one and not erased.
    """

    store: ClassVar[Store]
    table: ClassVar[str]
    tombstones: ClassVar[str]
    content_columns: ClassVar[str]

    def __init__(self, database: Database) -> None:
        self._database = database
        self._closed = False

    @abstractmethod
    def _prepare(self, record: R) -> P:
        """The record as rows. Raises Refusal."""

    @abstractmethod
    def _apply(
        self, connection: sqlite3.Connection, rows: Sequence[P], held: Sequence[int | None]
    ) -> None:
        """Writes admitted rows; ``held``: for each, the row id of the record it replaces."""

    @abstractmethod
    def _forget(self, connection: sqlite3.Connection, records: Sequence[int]) -> None:
        """Removes records by row id, leaving no trace of their content."""

    @abstractmethod
    def _content(
        self, connection: sqlite3.Connection, row: tuple[Any, ...], /
    ) -> dict[str, object]:
        """The content in ``content_columns`` of a row."""

    def write(self, records: Sequence[R], /) -> Sequence[Result]:
        if not records:
            return ()
        results: list[Result] = [WRITTEN] * len(records)
        good: list[tuple[int, Stamp, P]] = []
        for index, record in enumerate(records):
            try:
                good.append((index, record.stamp, self._prepare(record)))
            except Refusal as refusal:
                results[index] = Result("rejected", refusal.code)
        if not good:
            return results
        try:
            self._check_open()
            erased = self._database.submit(
                self.store, lambda connection: self._job(connection, good)
            ).result()
        except Unavailable as error:
            outcome = Result("unavailable", error.code)
            for index, _, _ in good:
                results[index] = outcome
            return results
        for index, stamp, _ in good:
            if stamp.record_id in erased:
                results[index] = ERASED
        return results

    def fetch(self, ids: Sequence[RecordId], /) -> Mapping[RecordId, Stored]:
        """What is there. Raises Unavailable."""
        self._check_open()
        return snapshot(self._database, self.store, lambda connection: self._fetch(connection, ids))

    def delete(self, ids: Sequence[RecordId], /) -> Sequence[Result]:
        """Erases records: rows, index entries and, as far as no reader holds it, the journal."""
        if not ids:
            return ()
        results = [
            ERASED if is_identity(identity.kind, identity.id) else BAD_ID for identity in ids
        ]
        known = [identity for identity in ids if is_identity(identity.kind, identity.id)]
        try:
            self._check_open()
            self._database.submit(
                self.store, lambda connection: self._erase(connection, known)
            ).result()
            self._database.read(
                self.store,
                lambda connection: connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall(),
            )
        except Unavailable as error:
            outcome = Result("unavailable", error.code)
            return [result if result is BAD_ID else outcome for result in results]
        return results

    def erased(self, ids: Sequence[RecordId], /) -> frozenset[RecordId]:
        """See :meth:`schemas.ports.Tombstones.erased`."""
        self._check_open()
        return self._database.read(
            self.store,
            lambda connection: frozenset(
                record_id(kind, id_)
                for kind, id_ in self._present(connection, self.tombstones, "kind, id", ids)
            ),
        )

    def count(self) -> int:
        """How many records it holds. Raises Unavailable."""
        self._check_open()
        sql = f"SELECT count(*) FROM {self.table}"  # noqa: S608
        return self._database.read(
            self.store, lambda connection: int(connection.execute(sql).fetchone()[0])
        )

    def close(self) -> None:
        """Later calls find the store unavailable. The database stays open: it has other users."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(self.store, "closed")

    def _job(
        self, connection: sqlite3.Connection, good: Sequence[tuple[int, Stamp, P]]
    ) -> frozenset[RecordId]:
        ids = list(dict.fromkeys(stamp.record_id for _, stamp, _ in good))
        erased = frozenset(
            record_id(kind, id_)
            for kind, id_ in self._present(connection, self.tombstones, "kind, id", ids)
        )
        held: dict[RecordId, int] = {}
        versions: dict[RecordId, int] = {}
        for kind, id_, row, version in self._present(
            connection, self.table, "kind, id, record, version", ids
        ):
            identity = record_id(kind, id_)
            held[identity], versions[identity] = row, version
        admitted: dict[RecordId, P] = {}
        for _, stamp, rows in good:
            identity = stamp.record_id
            if identity not in erased and stamp.version >= versions.get(identity, stamp.version):
                versions[identity] = stamp.version
                admitted[identity] = rows
        if admitted:
            replaced = [held.get(identity) for identity in admitted]
            self._apply(connection, list(admitted.values()), replaced)
        return erased

    def _present(
        self, connection: sqlite3.Connection, table: str, columns: str, ids: Sequence[RecordId]
    ) -> Iterator[tuple[Any, ...]]:
        """Selects rows by identity, in one statement for each few thousand ids."""
        sql = f"SELECT {columns} FROM {table} WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608
        wanted = set(ids)
        names = list({identity.id for identity in ids})
        for start in range(0, len(names), _LOOKUP):
            part = json.dumps(names[start : start + _LOOKUP])
            for row in connection.execute(sql, (part,)).fetchall():
                if record_id(row[0], row[1]) in wanted:
                    yield row

    def _fetch(
        self, connection: sqlite3.Connection, ids: Sequence[RecordId]
    ) -> dict[RecordId, Stored]:
        columns = f"{STAMP}, {self.content_columns}"
        found: dict[RecordId, Stored] = {}
        for row in self._present(connection, self.table, columns, ids):
            stamp = read_stamp(row)
            found[stamp.record_id] = Stored(stamp, self._content(connection, row[12:]))
        return found

    def _erase(self, connection: sqlite3.Connection, ids: Sequence[RecordId]) -> None:
        connection.executemany(
            f"INSERT OR IGNORE INTO {self.tombstones} (kind, id) VALUES (?, ?)",  # noqa: S608
            [(identity.kind, identity.id) for identity in ids],
        )
        held = [row[2] for row in self._present(connection, self.table, "kind, id, record", ids)]
        if held:
            self._forget(connection, held)


def next_row(connection: sqlite3.Connection, table: str, column: str = "record") -> int:
    """The first unused row id. Only the writer asks, inside its transaction."""
    (greatest,) = connection.execute(f"SELECT max({column}) FROM {table}").fetchone()  # noqa: S608
    return int(greatest or 0) + 1


def placeholders(count: int) -> str:
    """``?, ?, …``"""
    return ", ".join("?" * count)


def assignments(columns: Sequence[str]) -> str:
    """``a = ?, b = ?, …``"""
    return ", ".join(f"{column} = ?" for column in columns)
