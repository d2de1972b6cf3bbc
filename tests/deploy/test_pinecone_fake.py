"""The contract fake, by the real client and without it: shapes, limits, faults, lag, restarts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pinecone import Pinecone, errors
from pinecone.index import Index as Client

from deploy.local.pinecone import Failure, Fake
from deploy.local.pinecone_index import BadRequest, Index, matches
from tests.conformance.pinecone import KEY, served

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fake() -> Iterator[Fake]:
    with served(Index(3)) as running:
        yield running


@pytest.fixture
def client(fake: Fake) -> Iterator[Client]:
    with Pinecone(api_key=KEY).index(host=fake.address) as index:  # type: ignore[union-attr]
        yield index  # type: ignore[misc]


def raw(fake: Fake, path: str, body: Any, key: str = KEY) -> tuple[int, Any, Any]:
    """Status, body and headers, without the client and its checks."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{fake.address}{path}", data, {"Api-Key": key})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), error.headers


def one(id_: str, **metadata: Any) -> dict[str, Any]:
    return {"id": id_, "values": [1.0, 0.5, 0.25], "metadata": metadata}


def test_a_record_goes_round(client: Client) -> None:
    values = [0.1, -0.2, 3e-9]
    client.upsert(
        vectors=[{"id": "a", "values": values, "metadata": {"n": 1, "s": ["x"], "none": None}}],
        namespace="ns",
    )
    (found,) = client.fetch(ids=["a", "b"], namespace="ns").vectors.values()
    assert np.array(found.values, dtype="<f4").tobytes() == np.array(values, "<f4").tobytes()
    assert found.metadata == {"n": 1.0, "s": ["x"]}
    assert type(found.metadata["n"]) is float
    assert client.fetch(ids=["a"]).vectors == {}
    stats = client.describe_index_stats()
    assert (stats.dimension, stats.metric, stats.total_vector_count) == (3, "cosine", 1)
    assert {name: summary.vector_count for name, summary in stats.namespaces.items()} == {"ns": 1}
    client.update(id="a", set_metadata={"more": "y"}, namespace="ns")
    assert client.fetch(ids=["a"], namespace="ns").vectors["a"].metadata["more"] == "y"
    client.delete(ids=["a", "never"], namespace="ns")
    assert client.describe_index_stats().total_vector_count == 0
    with pytest.raises(errors.NotFoundError):
        client.delete(ids=["a"], namespace="never")


def test_lists_pages_and_namespaces(client: Client) -> None:
    client.upsert(vectors=[one(f"r{n:03}", group=str(n % 2)) for n in range(250)], namespace="b")
    client.upsert(vectors=[one("x")])
    pages = [page.vectors for page in client.list(namespace="b", prefix="r1")]
    assert [len(page) for page in pages] == [100]
    found: list[str] = []
    token = None
    while True:
        page = client.fetch_by_metadata(
            filter={"group": {"$in": ["1"]}}, namespace="b", limit=50, pagination_token=token
        )
        found += page.vectors
        token = page.pagination.next if page.pagination else None
        if token is None:
            break
    assert found == [f"r{n:03}" for n in range(1, 250, 2)]
    names = [ns.name for page in client.list_namespaces() for ns in page.namespaces]
    assert names == ["__default__", "b"]
    assert client.describe_namespace(name="b").record_count == 250
    client.delete_namespace(name="b")
    with pytest.raises(errors.NotFoundError):
        client.describe_namespace(name="b")


def test_queries_rank_by_cosine_within_the_filter(client: Client) -> None:
    rows = {"same": [2.0, 0.0, 0.0], "near": [1.0, 0.1, 0.0], "far": [-1.0, 0.0, 0.0]}
    client.upsert(vectors=[{"id": k, "values": v, "metadata": {"k": k}} for k, v in rows.items()])
    found = client.query(vector=[1.0, 0.0, 0.0], top_k=2, include_metadata=True)
    assert [match.id for match in found.matches] == ["same", "near"]
    assert found.matches[0].score == pytest.approx(1.0)
    assert found.matches[0].metadata == {"k": "same"}
    only = client.query(id="same", top_k=9, filter={"k": {"$ne": "same"}}, include_values=True)
    assert [match.id for match in only.matches] == ["near", "far"]
    assert list(only.matches[1].values) == rows["far"]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"s": "x"}, True),
        ({"s": {"$eq": "y"}}, False),
        ({"s": {"$ne": "y"}}, True),
        ({"n": {"$gt": 1, "$lte": 2}}, True),
        ({"n": {"$gte": 3}}, False),
        ({"n": {"$lt": 2}}, False),
        ({"s": {"$gt": 1}}, False),
        ({"l": {"$in": ["b", "z"]}}, True),
        ({"l": {"$nin": ["a"]}}, False),
        ({"none": {"$exists": False}}, True),
        ({"$or": [{"s": "y"}, {"b": True}]}, True),
        ({"$and": [{"s": "x"}, {"b": False}]}, False),
        ({"b": 1}, False),
        ({}, True),
    ],
)
def test_filters(condition: dict[str, Any], holds: bool) -> None:
    assert matches({"s": "x", "n": 2.0, "l": ["a", "b"], "b": True}, condition) is holds


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(BadRequest):
        matches({}, {"s": {"$like": "x"}})


@pytest.mark.parametrize(
    "vectors",
    [
        [],
        [{"id": "a", "values": [1.0, 2.0]}],
        [{"id": "a", "values": [0.0, 0.0, 0.0]}],
        [{"id": "", "values": [1.0, 2.0, 3.0]}],
        [{"id": "é", "values": [1.0, 2.0, 3.0]}],
        [{"id": "x" * 513, "values": [1.0, 2.0, 3.0]}],
        [{"id": "a", "values": ["1", [], None]}],
        [{"id": "a", "values": [1e300, 2.0, 3.0]}],
        [one("a", text="x" * (40 << 10))],
        [one("a", nested={"b": 1})],
        [one("a", mixed=["x", 1])],
        [one(str(n)) for n in range(1_001)],
    ],
)
def test_what_the_api_refuses_is_refused_whole(fake: Fake, vectors: list[Any]) -> None:
    good = [one("good")] if len(vectors) < 1_000 and vectors else []
    status, body, _ = raw(fake, "/vectors/upsert", {"vectors": [*good, *vectors]})
    assert status == 400
    assert body["code"] == 3
    assert fake.index.counts() == {}


def test_requests_have_a_size_a_key_and_a_form(fake: Fake) -> None:
    large = {"vectors": [one(str(n), text="x" * 30_000) for n in range(75)]}
    assert raw(fake, "/vectors/upsert", large)[0] == 413
    assert raw(fake, "/vectors/upsert", {"vectors": [one("a")]}, key="wrong")[0] == 401
    assert raw(fake, "/vectors/upsert", b"{")[0] == 400
    assert raw(fake, "/nowhere", {})[0] == 404
    assert raw(fake, "/describe_index_stats", {"filter": {"a": 1}})[0] == 400
    assert raw(fake, "/query", {"vector": [1, 0, 0], "topK": 10_001})[0] == 400
    assert raw(fake, "/vectors/delete", {"ids": [str(n) for n in range(1_001)]})[0] == 400
    assert raw(fake, "/vectors/fetch_by_metadata", {"filter": {}})[0] == 400


def test_it_fails_as_told(fake: Fake) -> None:
    raw(fake, "/_fake/fail", {"status": 429, "count": 2, "after": 1, "retry_after": 1.5})
    statuses = [raw(fake, "/describe_index_stats", {})[0] for _ in range(4)]
    assert statuses == [200, 429, 429, 200]
    fake.fail(Failure(429, retry_after=1.5))
    assert raw(fake, "/query", {})[2]["Retry-After"] == "1.5"
    fake.fail(Failure(0))
    with pytest.raises(OSError):
        raw(fake, "/describe_index_stats", {})
    fake.fail(Failure(503, path="/query"))
    assert raw(fake, "/describe_index_stats", {})[0] == 200
    assert raw(fake, "/query", {})[0] == 503
    counted = raw(fake, "/_fake/requests", {})[1]
    assert counted["/describe_index_stats 429"] == 2


def test_reads_see_a_write_when_the_lag_is_over() -> None:
    now = [0.0]
    index = Index(3, lag=2.0, clock=lambda: now[0])
    with served(index) as fake:
        headers = raw(fake, "/vectors/upsert", {"vectors": [one("a")]})[2]
        assert headers["x-pinecone-lsn-committed"] == "1"
        status, body, headers = raw(fake, "/query", {"vector": [1, 0, 0], "topK": 1})
        assert (status, body["matches"]) == (200, [])
        assert headers["x-pinecone-lsn-reconciled"] == "0"
        now[0] = 2.0
        _, body, headers = raw(fake, "/query", {"vector": [1, 0, 0], "topK": 1})
        assert [match["id"] for match in body["matches"]] == ["a"]
        assert headers["x-pinecone-lsn-reconciled"] == "1"


def test_the_limit_of_metadata_can_be_lower() -> None:
    index = Index(3, most_metadata=30)
    index.upsert("", [one("a", text="x" * 10)])
    with pytest.raises(BadRequest):
        index.upsert("", [one("b", text="x" * 30)])
    with pytest.raises(BadRequest):
        index.update("", {"id": "a", "setMetadata": {"more": "x" * 30}})


def test_a_killed_process_has_kept_what_it_confirmed(tmp_path: Path) -> None:
    env = {**os.environ, "PINECONE_API_KEY": KEY, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "deploy.local.pinecone", "--dimension", "3"]

    def start() -> tuple[subprocess.Popen[bytes], Client]:
        process = subprocess.Popen(argv, env=env, cwd=tmp_path, stdout=subprocess.PIPE)
        assert process.stdout is not None
        host = json.loads(process.stdout.readline())["host"]
        return process, Pinecone(api_key=KEY).index(host=host)  # type: ignore[return-value]

    process, client = start()
    client.upsert(vectors=[one("a"), one("b")], namespace="ns")
    client.delete(ids=["b"], namespace="ns")
    process.kill()
    process.wait()
    with (tmp_path / "vectors.jsonl").open("ab") as file:
        file.write(b'{"namespace":"ns","upsert":[{"id":"torn')
    process, client = start()
    client.upsert(vectors=[one("c")], namespace="ns")
    assert set(client.fetch(ids=["a", "b", "c", "torn"], namespace="ns").vectors) == {"a", "c"}
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    process, client = start()
    assert set(client.fetch(ids=["a", "c"], namespace="ns").vectors) == {"a", "c"}
    process.kill()
    process.wait()
