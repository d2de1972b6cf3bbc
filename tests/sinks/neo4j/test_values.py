"""Whatever a record may hold reads back as it was; what cannot be filtered by is kept beside."""

from __future__ import annotations

import random
from typing import Any

import pytest

from schemas.ports import WRITTEN
from schemas.queries import Node
from schemas.records import EdgeWrite, GraphRecord, NodeWrite, Register
from sinks.neo4j.store import Neo4jStore
from sinks.neo4j.values import EXACT, from_plain, to_plain
from sinks.sqlite.database import Database
from sinks.sqlite.graph import GraphSink
from sinks.sqlite.graph_queries import GraphQueries
from tests.conformance.records import stamp

ODD: dict[str, Any] = {
    "nothing": None,
    "yes": True,
    "no": False,
    "least": -(1 << 63),
    "greatest": (1 << 63) - 1,
    "whole": 2.0,
    "negative": -0.0,
    "tiny": 5e-324,
    "huge": 1.7976931348623157e308,
    "empty": "",
    "nul": "a\0b\0",
    "far": "\U0010ffff\ue000\ufffd",
    "words": ("a", "", "\0"),
    "none": (),
    "mixed": ("a", 1, 2.5, True, None),
    "numbers": (1, 2),
    "key": "the name of ours",
    "_owner": "ours too",
    "_registers": "{}",
    "_lock": True,
    "a b": "a name with a blank",
    "`x`) DETACH DELETE n //": "a name that is Cypher",
    "": "no name",
    "naïve": 1,
    "textHash": "x" * 100_000,
    "userId": "é" * 5_000,
    "text": "x" * 100_000,
}
PLAIN = {"yes", "no", "least", "greatest", "whole", "negative", "tiny", "huge"} | {
    *("empty", "nul", "far", "words", "none", "text")
}


def listed(properties: dict[str, Any]) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in properties.items()}


def test_properties_read_back_and_most_stand_as_they_are() -> None:
    stored = to_plain(ODD)
    assert set(stored) == PLAIN | {EXACT}
    found = from_plain(stored)
    assert repr(listed(found)) == repr(dict(sorted(listed(ODD).items())))


def record(**registers: Any) -> GraphRecord:
    own, hub = ("Prompt", stamp(1).id), ("Session", "s")
    odd: dict[str, Any] = dict(ODD)
    return GraphRecord(
        stamp(1, tenant=None, user=None),
        (
            NodeWrite(*own, properties=odd),
            NodeWrite(
                *hub,
                registers=tuple(Register(n, v, "latest", "1") for n, v in registers.items()),
            ),
        ),
        (EdgeWrite("PART_OF", own, hub, odd, owned=True), EdgeWrite("IN", hub, ("User", "u"), odd)),
    )


@pytest.mark.servers
@pytest.mark.xdist_group("neo4j")
def test_odd_values_read_back_from_the_server(store: Neo4jStore, database: Database) -> None:
    written = record(**ODD)
    twin = GraphSink(database)
    assert list(store.sink.write([written])) == list(twin.write([written])) == [WRITTEN]
    ids = [written.stamp.record_id]
    assert repr(store.sink.fetch(ids)) == repr(twin.fetch(ids))
    queries = GraphQueries(database)
    assert [*store.queries.nodes()] == [*queries.nodes()]
    assert [*store.queries.all_edges()] == [*queries.all_edges()]


@pytest.mark.servers
@pytest.mark.xdist_group("neo4j")
def test_whatever_is_asked_for_is_found(store: Neo4jStore) -> None:
    written = record(purpose="chat", tags=("a", "b"), odd=None)
    assert list(store.sink.write([written])) == [WRITTEN]
    for name, value in ODD.items():
        if isinstance(value, str | int | float) and value != -0.0:
            found = store.queries.find("Prompt", {name: value, "yes": True})
            assert [node.key for node in found] == [stamp(1).id], name
            assert store.queries.count("Prompt", {name: value}) == 1
            assert store.queries.find("Prompt", {name: "elsewhere"}) == []
    (session,) = store.queries.find("Session", {"purpose": "chat"})
    assert session == Node("Session", "s", {"purpose": "chat", "tags": ["a", "b"], "odd": None})
    assert store.queries.find("Nowhere`) RETURN 1 //", {}) == []
    assert store.queries.node("Nowhere", "s") is None
    assert store.queries.edges("Nowhere", "s") == []
    assert [n.key for n in store.queries.find("Prompt", {}, limit=1)] == [stamp(1).id]
    assert store.queries.find("Prompt", {}, limit=0) == []


@pytest.mark.servers
@pytest.mark.xdist_group("neo4j")
def test_registers_show_the_winner_and_take_away_the_loser(store: Neo4jStore) -> None:
    """A person filters by what a register shows; a value that cannot be shown takes it away."""

    def shown() -> Any:
        (row,) = store.sink._client.rows("MATCH (n:Session {key: 's'}) RETURN n.purpose AS shown")
        return row["shown"]

    versions: list[tuple[Any, str]] = [("chat", "2"), ("code", "1"), (None, "3"), ("last", "4")]
    seen = []
    for number, (value, at) in enumerate(versions):
        node = NodeWrite("Session", "s", registers=(Register("purpose", value, "latest", at),))
        assert list(store.sink.write([GraphRecord(stamp(number), (node,), ())])) == [WRITTEN]
        seen.append(shown())
    assert seen == ["chat", "chat", None, "last"]


@pytest.mark.servers
@pytest.mark.xdist_group("neo4j")
def test_keys_up_to_the_limit_of_the_index(store: Neo4jStore) -> None:
    sizes = [1, 4_000, 7_999, 8_000, 8_001, 9_000]
    records = [
        GraphRecord(stamp(n), (NodeWrite("User", "k" * size),), ()) for n, size in enumerate(sizes)
    ]
    random.Random(1).shuffle(records)
    results = {
        len(r.nodes[0].key): result.code
        for r, result in zip(records, store.sink.write(records), strict=True)
    }
    assert results == {
        1: "",
        4_000: "",
        7_999: "",
        8_000: "",
        8_001: "too_large",
        9_000: "too_large",
    }
    assert [len(node.key) for node in store.queries.nodes()] == [1, 4_000, 7_999, 8_000]


@pytest.mark.servers
@pytest.mark.xdist_group("neo4j")
def test_labels_and_types_are_ours_alone(store: Neo4jStore) -> None:
    own = ("Prompt", stamp(1).id)
    node = NodeWrite(*own, properties={})
    odd = "User`) DETACH DELETE n //"
    bad = [
        GraphRecord(stamp(1), (node, NodeWrite(odd, "k")), ()),
        GraphRecord(stamp(1), (node, NodeWrite("Record", "k")), ()),
        GraphRecord(stamp(1), (node,), (EdgeWrite("PART_OF", own, (odd, "k"), {}, True),)),
        GraphRecord(stamp(1), (node,), (EdgeWrite("X`]->() //", own, own, {}, True),)),
    ]
    codes = [result.code for result in store.sink.write(bad)]
    assert codes == ["bad_label", "bad_label", "bad_label", "bad_type"]
    assert store.queries.counts() == ({}, {})
