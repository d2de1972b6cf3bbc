"""Graph records as the worker makes them: several versions of each, as facts come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas.chunk import Chunk
from schemas.log import Partition
from schemas.records import GraphRecord
from stages.extract import ExtractStage
from stages.lookup import LookupStage, TomlDirectory
from tests.stages.extract.test_permutations import ORPHANED, REGISTRY, USERS
from tests.stages.memory_joins import MemoryJoins
from tests.stages.screened import T0_MS, embedded


def directory(folder: Path) -> TomlDirectory:
    path = folder / "users.toml"
    path.write_text(USERS, "utf-8")
    return TomlDirectory(path, str)


def written(events: list[Any], users: TomlDirectory, early: int) -> list[GraphRecord]:
    """Event by event; log time passes the wait before the event of number ``early``."""
    lookup, extract = LookupStage(REGISTRY, users, MemoryJoins()), ExtractStage("test")
    records: list[GraphRecord] = []

    def chunk(events: list[Any], log_time: int) -> None:
        items = [embedded(event) for event in events]
        enriched = lookup(Chunk(Partition("t", 0), items, log_time)).passed
        records.extend(mutation.graph for mutation in extract(enriched).passed.items)

    for number, event in enumerate(events):
        if number == early:
            chunk([], ORPHANED)
        chunk([event], T0_MS)
    chunk([], ORPHANED)
    return records
