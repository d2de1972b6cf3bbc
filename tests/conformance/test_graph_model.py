"""The SQLite join and graph store hold to docs/graph.md: the same hash as a store in dictionaries
that follows the page to the letter, in any order and over any cuts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.chunk import Chunk
from schemas.graphhash import graph_hash
from schemas.log import Partition
from sinks.sqlite.database import Database
from sinks.sqlite.graph import GraphSink
from sinks.sqlite.graph_queries import GraphQueries
from sinks.sqlite.joins import SqliteJoins
from stages.extract import ExtractStage
from stages.lookup import LookupStage, TomlDirectory
from tests.stages.extract.test_permutations import (
    ORPHANED,
    REGISTRY,
    USERS,
    event_sets,
    run,
)
from tests.stages.screened import T0_MS, embedded


@settings(max_examples=40, deadline=None)
@given(event_sets(), st.data())
def test_sqlite_and_the_model_agree(events: list[Any], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        users = Path(folder) / "users.toml"
        users.write_text(USERS, "utf-8")
        directory = TomlDirectory(users, str)
        expected = run(events, [False], directory, overdue=-1).graph.hash()
        shuffled = data.draw(st.permutations(events))
        early = data.draw(st.integers(0, len(events)))
        assert sqlite_hash(Path(folder), shuffled, directory, early) == expected


def sqlite_hash(folder: Path, events: list[Any], directory: TomlDirectory, early: int) -> str:
    """Event by event; log time passes the wait before the event of number ``early``."""
    database = Database.open(folder / "memory.db")
    try:
        lookup = LookupStage(REGISTRY, directory, SqliteJoins(database))
        extract, sink = ExtractStage("test"), GraphSink(database)

        def chunk(events: list[Any], log_time: int) -> None:
            items = [embedded(event) for event in events]
            enriched = lookup(Chunk(Partition("t", 0), items, log_time)).passed
            records = [mutation.graph for mutation in extract(enriched).passed.items]
            assert {result.status for result in sink.write(records)} <= {"written"}

        for number, event in enumerate(events):
            if number == early:
                chunk([], ORPHANED)
            chunk([event], T0_MS)
        chunk([], ORPHANED)
        queries = GraphQueries(database)
        return graph_hash(
            ((node.label, node.key, node.properties) for node in queries.nodes()),
            ((e.type, e.source, e.target, e.properties) for e in queries.all_edges()),
        )
    finally:
        database.close()
