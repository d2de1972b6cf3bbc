"""The graph store against an obvious model, and its queries."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.graphhash import graph_hash
from schemas.queries import Edge
from schemas.records import EdgeWrite, GraphRecord, NodeWrite, RecordId, Register
from sinks.sqlite.database import Database
from sinks.sqlite.graph import SWEPT, GraphSink
from sinks.sqlite.graph_queries import GraphQueries
from tests.conformance.records import stamp

_COUNTER = itertools.count()
SHARED = [("Session", "s1"), ("Session", "s2"), ("User", "u"), ("Text", "t1"), ("Text", "t2")]


def _registers(number: int) -> st.SearchStrategy[tuple[Register, ...]]:
    at = f"{number:03d}"
    latest = st.sampled_from([None, True, "x", 1, 2.5, ("a", "b")]).map(
        lambda value: Register("purpose", value, "latest", at)
    )
    ordered = st.builds(
        Register,
        st.just("low"),
        st.one_of(st.integers(-3, 3), st.sampled_from([0.5, "text", True, None])),
        st.just("min"),
    )
    greatest = ordered.map(lambda r: Register("high", r.value, "max"))
    return st.lists(st.one_of(latest, ordered, greatest), max_size=3).map(tuple)


@st.composite
def events(draw: st.DrawFn) -> list[GraphRecord]:
    """Versions of a few records: what they share follows from the id, what they own does not."""
    made = []
    for number in draw(st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True)):
        own = ("Prompt", stamp(number).id)
        hubs = draw(st.lists(st.sampled_from(SHARED[:3]), max_size=3, unique=True))
        shared_nodes = tuple(NodeWrite(*name, registers=draw(_registers(number))) for name in hubs)
        shared_edges = tuple(
            EdgeWrite("STARTED_BY", hub, ("User", "u"), {"n": draw(st.integers(0, 2))})
            for hub in hubs
            if hub[0] == "Session"
        )
        for version in draw(st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True)):
            targets = draw(st.lists(st.sampled_from(SHARED), max_size=4, unique=True))
            tool = ("ToolCall", f"{own[1]}/{draw(st.integers(0, 1))}")
            owned_edges = [
                EdgeWrite(f"TO_{label}", own, (label, key), {"v": version}, True)
                for label, key in targets
            ]
            nodes = (
                NodeWrite(*own, properties={"version": version, "textHash": f"h{version}"}),
                NodeWrite(*tool, properties={"version": version}),
                *(
                    NodeWrite(*name, registers=(Register("hash", name[1], "latest", "0"),))
                    for name in targets
                    if name[0] == "Text"
                ),
                *shared_nodes,
            )
            edges = (*owned_edges, EdgeWrite("INVOKES", own, tool, owned=True), *shared_edges)
            made.append(GraphRecord(stamp(number, version), nodes, edges))
    return made


def expected(records: list[GraphRecord]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Nodes and edges of a set of records, derived in one go without any order of arrival."""
    final = {}
    for held in sorted(records, key=lambda r: r.stamp.version):
        final[held.stamp.record_id] = held
    owned: dict[Any, dict[str, Any]] = {}
    registers: dict[Any, dict[str, list[Register]]] = {}
    edges: dict[Any, dict[str, Any]] = {}
    for held in final.values():
        for node in held.nodes:
            name = (node.label, node.key)
            if node.properties is not None:
                owned[name] = dict(node.properties)
            for register in node.registers:
                registers.setdefault(name, {}).setdefault(register.name, []).append(register)
        for edge in held.edges:
            triple = (edge.type, edge.source, edge.target)
            there = edges.get(triple, {})
            edges[triple] = max(there, edge.properties, key=lambda p: sorted(p.items()))
    ends = {end for _, *pair in edges for end in pair}
    named = {(n.label, n.key) for r in final.values() for n in r.nodes}
    nodes = {}
    for name in ends | named:
        if name[0] in SWEPT and name not in ends:
            continue
        values = {k: _winner(v) for k, v in registers.get(name, {}).items()}
        nodes[name] = {k: v for k, v in values.items() if v is not _NOTHING} | owned.get(name, {})
    return nodes, edges


_NOTHING = object()


def _winner(registers: list[Register]) -> Any:
    mode = registers[0].mode
    if mode == "latest":
        return max(registers, key=lambda r: (r.at, _json(r.value))).value
    values = [r.value for r in registers if r.value is not None]
    if not values:
        return _NOTHING
    rank = {
        "min": lambda v: (isinstance(v, str), v, tuple(-ord(c) for c in _json(v))),
        "max": lambda v: (isinstance(v, str), v, _json(v)),
    }[mode]
    return (min if mode == "min" else max)(values, key=rank)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=events(), data=st.data())
def test_the_graph_is_that_of_the_set_of_records(
    events: list[GraphRecord], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    nodes, edges = expected(events)
    shuffled = data.draw(st.permutations(events))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=3)))
    path = tmp_path_factory.getbasetemp() / f"graph-{next(_COUNTER)}.db"
    database = Database.open(path)
    try:
        sink = GraphSink(database)
        for start, end in itertools.pairwise([0, *cuts, len(shuffled)]):
            sink.write(shuffled[start:end])
        queries = GraphQueries(database)
        found = {(n.label, n.key): n.properties for n in queries.nodes()}
        links = {(e.type, e.source, e.target): e.properties for e in queries.all_edges()}
    finally:
        database.close()
    wanted = {
        k: {n: list(v) if isinstance(v, tuple) else v for n, v in p.items()}
        for k, p in nodes.items()
    }
    # Placeholders that nothing holds any more may be gone: they tell nothing.
    ends = {end for _, *pair in edges for end in pair}
    assert {k: v for k, v in found.items() if v or k in ends} == {
        k: v for k, v in wanted.items() if v or k in ends
    }
    assert links == edges


@pytest.fixture
def filled(database: Database) -> GraphQueries:
    prompt, other = ("Prompt", stamp(1).id), ("Prompt", stamp(2).id)
    records = [
        GraphRecord(
            stamp(number),
            (
                NodeWrite(
                    *name, properties={"textHash": "h", "userId": "u", "score": 0.5 * number}
                ),
                NodeWrite("Text", "acme/h", registers=(Register("hash", "h", "latest", "1"),)),
            ),
            (
                EdgeWrite("HAS_TEXT", name, ("Text", "acme/h"), owned=True),
                EdgeWrite("PART_OF", name, ("Session", "s"), owned=True),
                EdgeWrite("STARTED_BY", ("Session", "s"), ("User", "u")),
            ),
        )
        for number, name in ((1, prompt), (2, other))
    ]
    GraphSink(database).write(records)
    return GraphQueries(database)


def test_queries(filled: GraphQueries) -> None:
    prompt, other = ("Prompt", stamp(1).id), ("Prompt", stamp(2).id)
    node = filled.node(*prompt)
    assert node is not None
    assert node.owner == RecordId("prompt", prompt[1])
    assert node.properties["score"] == 0.5
    assert filled.node("Prompt", "nowhere") is None
    session = filled.node("Session", "s")
    assert session is not None
    assert session.placeholder
    assert session.properties == {}
    assert [e.type for e in filled.edges(*prompt)] == ["HAS_TEXT", "PART_OF"]
    assert filled.edges(*prompt, types=["PART_OF"]) == [
        Edge("PART_OF", prompt, ("Session", "s"), {}, True)
    ]
    assert [e.source for e in filled.edges("Text", "acme/h", direction="in")] == [prompt, other]
    assert filled.edges("Text", "acme/h", direction="out") == []
    assert [n.key for n in filled.find("Prompt", {"textHash": "h"})] == [prompt[1], other[1]]
    assert [n.key for n in filled.find("Prompt", {"userId": "u", "score": 1.0})] == [other[1]]
    assert [n.key for n in filled.find("Text", {"hash": "h"})] == ["acme/h"]
    assert filled.find("Prompt", {"absent": 1}) == []
    assert filled.find("Prompt", {'a"b]': "x"}) == []
    assert filled.counts() == (
        {"Prompt": 2, "Session": 1, "Text": 1, "User": 1},
        {"HAS_TEXT": 2, "PART_OF": 2, "STARTED_BY": 1},
    )
    assert [held.id for held in filled.records()] == [prompt[1], other[1]]
    assert filled.owners([prompt, ("Session", "s")])[prompt].time == stamp(1).time


def test_a_text_goes_with_its_last_edge(filled: GraphQueries, database: Database) -> None:
    sink = GraphSink(database)
    sink.delete([RecordId("prompt", stamp(1).id)])
    assert filled.node("Text", "acme/h") is not None
    sink.delete([RecordId("prompt", stamp(2).id)])
    assert filled.node("Text", "acme/h") is None
    assert filled.counts() == ({"Session": 1, "User": 1}, {"STARTED_BY": 1})


def test_an_erased_prompt_stays_as_the_end_of_its_responses(database: Database) -> None:
    sink, queries = GraphSink(database), GraphQueries(database)
    prompt, response = ("Prompt", stamp(1).id), ("Response", stamp(2).id)
    answer = stamp(2, kind="response")
    sink.write(
        [
            GraphRecord(stamp(1), (NodeWrite(*prompt, properties={"a": 1}),), ()),
            GraphRecord(
                answer,
                (NodeWrite(*response, properties={}),),
                (EdgeWrite("RESPONDS_TO", response, prompt, owned=True),),
            ),
        ]
    )
    sink.delete([RecordId("prompt", prompt[1])])
    left = queries.node(*prompt)
    assert left is not None
    assert left.placeholder
    sink.delete([answer.record_id])
    assert queries.counts() == ({}, {})


def test_the_graph_hash_streams(filled: GraphQueries) -> None:
    digest = graph_hash(
        ((n.label, n.key, n.properties) for n in filled.nodes()),
        ((e.type, e.source, e.target, e.properties) for e in filled.all_edges()),
    )
    assert len(digest) == 64


def test_indexes_serve_the_specified_queries(database: Database) -> None:
    for column in ("text_hash", "created_at", "user_id", "session_id"):
        sql = f"EXPLAIN QUERY PLAN SELECT node FROM graph_node WHERE {column} = ?"
        (plan,) = database.reader().execute(sql, ("x",)).fetchall()
        assert f"graph_node_{column}" in plan[3]
    for end, index in (("source", "PRIMARY KEY"), ("target", "graph_edge_target")):
        sql = f"EXPLAIN QUERY PLAN SELECT * FROM graph_edge WHERE {end} = ?"
        (plan,) = database.reader().execute(sql, (1,)).fetchall()
        assert index in plan[3]
