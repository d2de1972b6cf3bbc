"""The embedded stores opened for looking things up, beside a running worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sinks.sqlite.database import Database
from sinks.sqlite.graph_queries import GraphQueries
from sinks.sqlite.search import SearchSink
from sinks.sqlite.search_queries import SearchQueries
from sinks.sqlite.timeseries_queries import UsageQueries
from sinks.sqlite.vector_queries import VectorQueries


class Stores:
    """The query side of the four stores in one file."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.graph = GraphQueries(database)
        self.search = SearchQueries(database)
        self.documents = SearchSink(database)
        self.usage = UsageQueries(database)
        self.vectors = VectorQueries(database)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All queries of this thread inside see one state, whatever is written meanwhile."""
        connection = self.database.reader()
        connection.execute("BEGIN")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


@contextmanager
def opened(path: Path) -> Iterator[Stores]:
    """Opens the store file for a lookup. Raises Damaged and Unavailable."""
    database = Database.open(path)
    try:
        yield Stores(database)
    finally:
        database.close()
