"""Opens what a data folder holds: the four stores and what the worker keeps for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from flows.filelog import Position
from flows.keys import Keys, load_keys
from flows.sections import StoresSection
from flows.settings import Settings
from flows.source import Positions
from schemas.ports import Sink
from schemas.records import Mutation, Record, Store
from sinks.sqlite import offsets as sqlite_offsets
from sinks.sqlite.cache import SqliteCache
from sinks.sqlite.claims import SqliteClaims
from sinks.sqlite.database import Database
from sinks.sqlite.deadletters import SqliteDeadLetters
from sinks.sqlite.graph import GraphSink
from sinks.sqlite.joins import SqliteJoins
from sinks.sqlite.offsets import SqliteOffsets
from sinks.sqlite.parking import SqliteParking
from sinks.sqlite.search import SearchSink
from sinks.sqlite.timeseries import TimeseriesSink
from sinks.sqlite.vector import VectorSink

SELECT: dict[Store, Callable[[Mutation], Record | None]] = {
    "graph": lambda m: m.graph,
    "vector": lambda m: m.vector,
    "timeseries": lambda m: m.point,
    "search": lambda m: m.document,
}
"""Which part of a mutation each store gets."""


class FileOffsets:
    """:class:`flows.source.Offsets` in the one SQLite file."""

    def __init__(self, offsets: SqliteOffsets) -> None:
        self._offsets = offsets

    def load(self) -> Positions:
        return {p: Position(*position) for p, position in self._offsets.load().items()}

    def commit(self, positions: Positions) -> Future[None]:
        return self._offsets.commit(
            {
                p: sqlite_offsets.Position(x.offset, x.base, x.byte, x.mark, x.log_time)
                for p, x in positions.items()
            }
        )


class Stores(msgspec.Struct, frozen=True):
    """Everything that is kept in the data folder's one file."""

    database: Database
    sinks: dict[Store, Sink[Any]]
    claims: SqliteClaims
    joins: SqliteJoins
    vectors: SqliteCache
    letters: SqliteDeadLetters
    parking: SqliteParking
    offsets: FileOffsets


@contextmanager
def open_stores(path: Path, settings: StoresSection, keys: Keys) -> Iterator[Stores]:
    """Opens the file, making it where it is missing. Raises Damaged and Unavailable."""
    database = Database.open(path)
    try:
        sinks: dict[Store, Sink[Any]] = {
            "graph": GraphSink(database, settings.graph),
            "vector": VectorSink(database, settings.vector),
            "timeseries": TimeseriesSink(database, settings.timeseries),
            "search": SearchSink(database, settings.search),
        }
        yield Stores(
            database=database,
            sinks=sinks,
            claims=SqliteClaims(database),
            joins=SqliteJoins(database),
            vectors=SqliteCache(database, "vectors"),
            letters=SqliteDeadLetters(database, keys.dead_letters),
            parking=SqliteParking(database),
            offsets=FileOffsets(SqliteOffsets(database)),
        )
        for sink in sinks.values():
            sink.close()
    finally:
        database.close()


@contextmanager
def opened_letters(settings: Settings) -> Iterator[SqliteDeadLetters]:
    """The dead letters of a data folder, with the key that opens them."""
    keys = load_keys(settings.data, create=False)
    database = Database.open(settings.database_path)
    try:
        yield SqliteDeadLetters(database, keys.dead_letters)
    finally:
        database.close()
