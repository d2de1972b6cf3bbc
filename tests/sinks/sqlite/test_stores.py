"""Vectors, points and documents: what their queries answer, and that what is erased is gone."""

from __future__ import annotations

import doctest
import math
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.ports import ERASED
from schemas.records import (
    EdgeWrite,
    GraphRecord,
    NodeWrite,
    PointRecord,
    Record,
    RecordId,
    Register,
    Store,
    VectorRecord,
    compose,
)
from sinks.sqlite import search_terms
from sinks.sqlite.database import Database
from sinks.sqlite.graph import GraphSink
from sinks.sqlite.graph_queries import GraphQueries
from sinks.sqlite.search import SearchSink
from sinks.sqlite.search_queries import SearchQueries
from sinks.sqlite.search_terms import terms
from sinks.sqlite.timeseries import TimeseriesSink
from sinks.sqlite.timeseries_queries import UsageQueries
from sinks.sqlite.vector import VectorSettings, VectorSink
from sinks.sqlite.vector_queries import VectorQueries
from tests.conformance.records import record, stamp
from tests.sinks.library import LIBRARY, WORDS, document


def _vector(number: int, values: Any, **changes: Any) -> VectorRecord:
    unit = np.asarray(values, dtype="<f4")
    unit = unit / np.linalg.norm(unit)
    model = changes.pop("model", "m")
    kind = changes.pop("kind", "prompt")
    held = stamp(number, kind=kind, **changes)
    return VectorRecord(held, unit.astype("<f4").tobytes(), model, "h", {"n": number})


def test_similar_is_exact_and_filtered(database: Database) -> None:
    sink = VectorSink(database, VectorSettings(dimensions=8))
    rows = np.random.default_rng(7).standard_normal((300, 8))
    sink.write([_vector(n, row, tenant=f"t{n % 2}") for n, row in enumerate(rows)])
    sink.write([_vector(n, rows[0], tenant="t0", model="other") for n in range(300, 303)])
    queries = VectorQueries(database)
    assert queries.models() == {"m": 300, "other": 3}
    asked = queries.vector(RecordId("prompt", stamp(0).id))
    assert asked is not None
    vector, model = asked
    unit = rows / np.linalg.norm(rows, axis=1)[:, None]
    scores = unit @ np.frombuffer(vector, dtype="<f4")
    best = np.argsort(-scores)[:7]
    found = queries.similar(vector, 7, model=model)
    assert [n.metadata["n"] for n in found] == best.tolist()
    assert [n.score for n in found] == pytest.approx(scores[best], abs=1e-5)
    even = [n for n in np.argsort(-scores) if n % 2 == 0 and n != 0][:5]
    found = queries.similar(
        vector, 5, model="m", tenant="t0", kind="prompt", exclude=RecordId("prompt", stamp(0).id)
    )
    assert [n.metadata["n"] for n in found] == even
    assert queries.similar(vector, 5, model="m", kind="response") == []
    assert queries.similar(vector, 0, model="m") == []
    assert queries.similar(vector[:-4], 5, model="m") == []
    assert len(queries.similar(vector, 1_000, model="m")) == 300
    assert queries.vector(RecordId("prompt", "none")) is None


def test_equals_come_by_identity(database: Database) -> None:
    sink = VectorSink(database, VectorSettings(dimensions=2))
    sink.write([_vector(n, [1, 0]) for n in (5, 3, 9, 1)])
    found = VectorQueries(database).similar(_vector(0, [1, 0]).values, 3, model="m")
    assert [n.metadata["n"] for n in found] == [1, 3, 5]


def _point(number: int, kind: Any = "response", **fields: Any) -> PointRecord:
    tags = {"model": fields.pop("model", "m"), "status": fields.pop("status", "ok")}
    held = stamp(
        number, kind=kind, **{k: fields.pop(k) for k in ("tenant", "user", "time") if k in fields}
    )
    return PointRecord(held, held.time * 1000, tags, fields)


@settings(max_examples=40, deadline=None)
@given(
    latencies=st.lists(st.integers(0, 50), min_size=1, max_size=60),
    costs=st.lists(st.integers(0, (1 << 63) - 1), min_size=1, max_size=8),
)
def test_rollups_are_exact(
    latencies: list[int], costs: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    database = Database.open(tmp_path_factory.mktemp("usage") / "memory.db")
    try:
        TimeseriesSink(database).write(
            [_point(n, latency_ms=latency) for n, latency in enumerate(latencies)]
            + [
                _point(1_000 + n, cost_pico_usd=cost, cost_status="priced")
                for n, cost in enumerate(costs)
            ]
        )
        (usage,) = UsageQueries(database).usage()
    finally:
        database.close()
    ordered = sorted(latencies)
    assert usage.latency_p50_ms == ordered[math.ceil(0.50 * len(ordered)) - 1]
    assert usage.latency_p95_ms == ordered[math.ceil(95 * len(ordered) / 100) - 1]
    assert usage.latency_p50_ms == statistics.median_low(ordered)
    assert usage.cost_pico_usd == sum(costs)
    assert usage.responses == len(latencies) + len(costs)


def test_usage_by_dimensions(database: Database) -> None:
    day = 86_400_000_000
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "cached_tokens": 3, "reasoning_tokens": 2}
    TimeseriesSink(database).write(
        [
            _point(1, "prompt", tenant="a", user="u", time=0, text_tokens=99),
            _point(2, tenant="a", user="u", time=0, cost_status="priced", cost_pico_usd=7, **usage),
            _point(3, tenant="a", user="v", time=day, cost_status="unpriced", model="_", **usage),
            _point(4, tenant="b", user="u", time=-1, cost_status="inconsistent", model="%5F"),
            _point(5, tenant=None, user=None, time=day, cost_status="lacking", status="error"),
            _point(6, "session", tenant="a", user="u", time=0),
        ]
    )
    queries = UsageQueries(database)
    by_tenant = {u.key: u for u in queries.usage(["tenant"])}
    assert list(by_tenant) == [("a",), ("b",), (None,)]
    a = by_tenant[("a",)]
    assert (a.prompts, a.responses, a.prompt_tokens, a.cached_tokens) == (1, 2, 20, 6)
    assert (a.completion_tokens, a.reasoning_tokens, a.cost_pico_usd) == (10, 4, 7)
    assert (a.priced, a.unpriced, a.inconsistent, a.lacking) == (1, 1, 0, 0)
    assert by_tenant[(None,)].errors == 1
    assert by_tenant[(None,)].lacking == 1
    assert [u.key for u in queries.usage(["day"])] == [
        ("1969-12-31",),
        ("1970-01-01",),
        ("1970-01-02",),
    ]
    assert [u.key for u in queries.usage(["model"])] == [("_",), ("m",), (None,)]
    assert [u.key for u in queries.usage(["tenant", "user"], tenant="a")] == [
        ("a", "u"),
        ("a", "v"),
    ]
    (few,) = queries.usage(since=0, until=day)
    assert (few.prompts, few.responses) == (1, 1)
    (none,) = queries.usage(tenant="nobody")
    assert (none.responses, none.cost_pico_usd, none.latency_p50_ms) == (0, 0, None)
    assert queries.usage(["user"], tenant="nobody") == []


@pytest.fixture
def library(database: Database) -> SearchQueries:
    SearchSink(database).write(LIBRARY)
    return SearchQueries(database)


@pytest.mark.parametrize(("words", "found"), WORDS)
def test_words_find(library: SearchQueries, words: str, found: set[int]) -> None:
    hits = library.search(words)
    assert {hit.id.id for hit in hits} == {stamp(n).id for n in found}


@pytest.fixture(scope="module")
def words_stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchQueries]:
    opened = Database.open(tmp_path_factory.mktemp("search") / "memory.db")
    SearchSink(opened).write([document(n, f"some words {n} and 本文") for n in range(5)])
    yield SearchQueries(opened)
    opened.close()


@settings(max_examples=300, deadline=None)
@given(words=st.text(st.characters() | st.sampled_from('"*-()^:+{}\0 ANDORT本'), max_size=30))
def test_nothing_typed_is_an_error(words: str, words_stored: SearchQueries) -> None:
    assert len(words_stored.search(words)) <= 5
    assert terms(words) == terms(words + " ")


def test_the_documented_query_is_right() -> None:
    assert doctest.testmod(search_terms).failed == 0


def test_ranking_marks_filters_and_pages(library: SearchQueries) -> None:
    best = library.search("list")
    assert [hit.id.id for hit in best] == [stamp(2).id, stamp(1).id]
    assert best[0].score > best[1].score > 0
    assert best[1].snippet == "Sorting a [list] of files in Python"
    assert best[0].fields == {"session": "s", "model": "m"}
    (whole,) = library.search("conf*", marks=("<b>", "</b>"), whole=True)
    assert whole.snippet == "Café conversation über <b>Configuration</b>"
    (literal,) = library.search("検索", marks=("<", ">"))
    assert literal.snippet == "日本語の文章を<検索>する"
    assert [hit.id.id for hit in library.search("list", 1, offset=1)] == [stamp(1).id]
    assert {hit.id.id for hit in library.search("list", tenant="x")} == {stamp(2).id}
    assert library.search("café", kind="prompt") == []
    assert len(library.search("café", kind="response")) == 1
    assert len(library.search("team", model="gpt")) == 1
    assert library.search("検索", session="s") == []
    assert library.search("list", since=stamp(2).time, until=stamp(2).time) == []
    assert len(library.search("list", since=stamp(2).time, until=stamp(3).time)) == 1
    assert len(library.search("list", user="user-1")) == 1


def test_a_rewrite_changes_what_is_found(database: Database) -> None:
    sink, queries = SearchSink(database), SearchQueries(database)
    first = document(1, "alpha beta")
    sink.write([first])
    sink.write([msgspec.structs.replace(first, fields={"session": "later"})])
    assert [hit.session for hit in queries.search("alpha")] == ["later"]
    sink.write([document(1, "gamma", version=2)])
    assert queries.search("alpha") == []
    assert len(queries.search("gamma")) == 1
    check = "INSERT INTO search_index (search_index, rank) VALUES ('integrity-check', 1)"
    database.run("search", lambda connection: connection.execute(check))


CANARY = "xylophonecanary"


def _secret(store: Store) -> Record:
    """A record that holds the canary in everything that is its own."""
    if store != "graph":
        return record(store, 700, text=CANARY)
    own, text = ("Prompt", stamp(700).id), ("Text", compose("acme", CANARY))
    return GraphRecord(
        stamp(700),
        (
            NodeWrite(*own, properties={"textHash": CANARY, "tags": (CANARY,)}),
            NodeWrite(*text, registers=(Register("hash", CANARY, "latest", "1"),)),
        ),
        (EdgeWrite("HAS_TEXT", own, text, {"note": CANARY}, owned=True),),
    )


@pytest.mark.parametrize("sink", [GraphSink, VectorSink, TimeseriesSink, SearchSink])
def test_what_is_erased_is_in_no_byte_of_the_file(
    sink: Any, path: Path, database: Database
) -> None:
    opened = sink(database)
    others = [record(opened.store, n, text="ordinary") for n in range(50)]
    opened.write(others[:25])
    opened.write([_secret(opened.store)])
    opened.write(others[25:])
    assert CANARY in _bytes(path)
    assert list(opened.delete([RecordId("prompt", stamp(700).id)])) == [ERASED]
    assert CANARY not in _bytes(path)
    assert opened.count() == 50


def _bytes(path: Path) -> str:
    files = [path, path.with_name(path.name + "-wal")]
    return "".join(file.read_bytes().decode("latin-1") for file in files if file.exists())


@pytest.mark.parametrize("sink", [GraphSink, VectorSink, TimeseriesSink, SearchSink])
def test_two_databases_on_one_file_write_the_same_records(
    sink: Any, path: Path, database: Database
) -> None:
    """As the worker and ``reconcile`` do, in two processes."""
    other = Database.open(path)
    try:
        sinks = (sink(database), sink(other))
        store: Store = sinks[0].store
        batches = [[record(store, n, v) for n in range(20)] for v in (1, 3, 2, 4)]

        def work(mine: int) -> list[str]:
            order = batches if mine == 0 else batches[::-1]
            return [result.status for batch in order for result in sinks[mine].write(batch)]

        with ThreadPoolExecutor(2) as pool:
            assert {status for part in pool.map(work, (0, 1)) for status in part} == {"written"}
        found = sinks[0].fetch([held.stamp.record_id for held in batches[-1]])
        assert {held.stamp for held in found.values()} == {held.stamp for held in batches[-1]}
        assert sinks[1].count() == 20
        if store == "graph":
            _, edges = GraphQueries(other).counts()
            assert edges["HAS_TEXT"] == edges["PART_OF"] == 20
    finally:
        other.close()
