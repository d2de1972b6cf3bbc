"""A server is made to plan the statements of writes before the first one is waited for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from schemas.ports import WRITTEN
from sinks.neo4j.settings import Neo4jSettings
from sinks.neo4j.store import Neo4jStore
from tests.conformance.neo4j import empty
from tests.sinks.neo4j.records import directory, written
from tests.stages.screened import prompt, response, session, session_event

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("neo4j")]


def planned(store: Neo4jStore) -> int:
    """How many queries were planned since this was asked last."""
    (row,) = store.sink._client.rows("CALL db.clearQueryCaches()")
    found = re.search(r"\d+", str(row["value"]))
    return int(found[0]) if found else 0


def some(folder: Path) -> list[Any]:
    where = session("s", "u1")
    events = [
        prompt(1, "some text", session=where),
        response(2, 1, "an answer"),
        session_event(3, session=where),
        response(5, 4, "one that waits"),
        prompt(4, "what it waits for", session=where),
    ]
    return written(events, directory(folder), early=-1)


def test_a_check_plans_what_writes_need_and_leaves_nothing(
    store: Neo4jStore, settings: Neo4jSettings, tmp_path: Path
) -> None:
    records = some(tmp_path)
    planned(store)
    assert set(store.sink.write(records)) == {WRITTEN}
    cold = planned(store)
    empty(settings.uri)
    planned(store)
    store.check()
    checked = planned(store)
    assert store.queries.counts() == ({}, {})
    assert store.sink.count() == 0
    planned(store)
    store.check()
    assert set(store.sink.write(records)) == {WRITTEN}
    # What stands first in its transaction is planned apart, and that depends on the records.
    assert planned(store) - checked < cold / 2
