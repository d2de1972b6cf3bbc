"""The graph in Neo4j is the one in SQLite: hash, contents and answers, in any order, at once."""

from __future__ import annotations

import itertools
import random
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.local import addresses
from flows.views.export import hash_of
from schemas.ports import WRITTEN
from schemas.queries import Direction, GraphQueries
from schemas.records import GraphRecord
from sinks.neo4j.settings import Neo4jSettings
from sinks.neo4j.store import Neo4jStore
from sinks.sqlite.database import Database
from sinks.sqlite.graph import GraphSink
from sinks.sqlite.graph_queries import GraphQueries as SqliteQueries
from tests.conformance.neo4j import empty
from tests.sinks.neo4j.records import directory, written
from tests.stages.extract.test_permutations import event_sets
from tests.stages.screened import prompt, response, session, session_event, uuid

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("neo4j")]
THREADS = 4


def same_graph(one: GraphQueries, other: GraphQueries) -> None:
    """All that the two answer is equal, in the same order."""
    nodes, edges = list(one.nodes()), list(one.all_edges())
    assert nodes == list(other.nodes())
    assert edges == list(other.all_edges())
    assert hash_of(one) == hash_of(other)
    assert one.counts() == other.counts()
    assert list(one.records()) == list(other.records())
    for tenant in ("acme", "globex", "nobody"):
        assert list(one.records(tenant=tenant)) == list(other.records(tenant=tenant))
    names = [(node.label, node.key) for node in nodes]
    assert one.owners(names) == other.owners(names)
    for node in nodes[::4]:
        assert one.node(node.label, node.key) == other.node(node.label, node.key) == node
        directions: tuple[Direction, ...] = ("in", "out", "both")
        for direction in directions:
            found = one.edges(node.label, node.key, direction=direction)
            assert found == other.edges(node.label, node.key, direction=direction)


@pytest.mark.timeout(900)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=event_sets(), data=st.data())
def test_any_order_is_the_graph_of_sqlite(
    neo4j: addresses.Neo4j, events: list[Any], data: st.DataObject
) -> None:
    empty(neo4j.uri)
    with tempfile.TemporaryDirectory() as folder:
        early = data.draw(st.integers(-1, len(events)))
        records = written(events, directory(Path(folder)), early)
        shuffled = data.draw(st.permutations(records)) + data.draw(
            st.lists(st.sampled_from(records), max_size=3)
        )
        cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=3)))
        gone = data.draw(st.lists(st.sampled_from(records), max_size=2))
        database = Database.open(Path(folder) / "memory.db")
        store = Neo4jStore(Neo4jSettings(uri=neo4j.uri, timeout_seconds=60))
        try:
            twin = GraphSink(database)
            assert set(twin.write(records)) == {WRITTEN}
            for start, end in itertools.pairwise([0, *cuts, len(shuffled)]):
                assert set(store.sink.write(shuffled[start:end])) <= {WRITTEN}
            same_graph(store.queries, SqliteQueries(database))
            ids = [record.stamp.record_id for record in records]
            assert store.sink.fetch(ids) == twin.fetch(ids)
            erased = [record.stamp.record_id for record in gone]
            assert list(store.sink.delete(erased)) == list(twin.delete(erased))
            assert hash_of(store.queries) == hash_of(SqliteQueries(database))
            assert store.sink.fetch(ids) == twin.fetch(ids)
            assert list(store.sink.write(records)) == list(twin.write(records))
            assert hash_of(store.queries) == hash_of(SqliteQueries(database))
        finally:
            store.close()
            database.close()


def busy(seed: int, count: int = 90) -> list[Any]:
    """Events that all meet: few users, sessions and texts, prompts before and after responses."""
    chosen = random.Random(seed)
    texts = [f"text {number}" for number in range(12)]
    events: list[Any] = []
    for number in range(0, count, 3):
        where = session(f"s{number % 5}", f"u{number % 3}")
        said, answer = chosen.choice(texts), chosen.choice([*texts, None])
        events += [
            prompt(number, said, session=where),
            response(number + 1, number, answer),
            session_event(number + 2, session=where),
        ]
    chosen.shuffle(events)
    return events


def test_writers_at_once_make_the_graph_of_one(
    store: Neo4jStore, database: Database, tmp_path: Path
) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print(f"seed={seed}")
    records = written(busy(seed), directory(tmp_path), early=50)
    assert len({record.stamp.record_id for record in records}) < len(records)
    twin = GraphSink(database)
    twin.write(records)

    def work(writer: int) -> None:
        chosen = random.Random(seed + writer)
        own = [r for r in records if chosen.random() < 0.6 or hash(r.stamp.id) % THREADS == writer]
        mine: list[GraphRecord] = chosen.sample(own, len(own))
        while mine:
            size = chosen.randint(1, 60)
            part, mine = mine[:size], mine[size:]
            assert set(store.sink.write(part)) == {WRITTEN}

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    same_graph(store.queries, SqliteQueries(database))


def test_writers_and_erasers_at_once_leave_no_loose_text(store: Neo4jStore, tmp_path: Path) -> None:
    """Of one text all records but one are erased while others come to it."""
    events = [prompt(number, "the same", session=session("s", "u1")) for number in range(33)]
    records = written(events, directory(tmp_path), early=-1)
    last = records[-1]

    def work(writer: int) -> None:
        for record in records[writer:-1:THREADS]:
            assert list(store.sink.write([record])) == [WRITTEN]
            (erased,) = store.sink.delete([record.stamp.record_id])
            assert erased.status == "erased"

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    assert store.queries.counts()[0].get("Text") is None
    store.sink.write([last])
    (text,) = store.queries.find("Text", {})
    assert [edge.source for edge in store.queries.edges("Text", text.key, direction="in")] == [
        ("Prompt", uuid(32))
    ]
    assert store.sink.count() == 1
