"""What Pinecone makes hard: no conditional writes, no exact numbers, limits, lag."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import numpy as np
import pytest

from deploy.local.pinecone import Failure, Fake
from deploy.local.pinecone_index import Index
from schemas.ports import ERASED, WRITTEN, Unavailable
from schemas.records import VectorRecord
from sinks.pinecone import layout
from sinks.pinecone.settings import PineconeSettings
from sinks.pinecone.store import PineconeStore
from sinks.pinecone.wire import MOST_BYTES, requests
from tests.conformance.pinecone import KEY, served
from tests.conformance.records import content, identity, record
from tests.sinks.pinecone.conftest import Open

changed = msgspec.structs.replace


def vector(number: int, version: int = 1, **stamp: Any) -> VectorRecord:
    made = record("vector", number, version)
    assert isinstance(made, VectorRecord)
    return changed(made, stamp=changed(made.stamp, **stamp))


def test_values_and_numbers_read_back_to_the_bit(open_store: Open) -> None:
    sink = open_store().sink
    tricky = np.zeros(384, dtype="<f4")
    tricky[:6] = [0.6, -0.8, 1e-42, -0.0, 1.1754944e-38, 3.0e-9]
    numbers = {"large": (1 << 63) - 1, "whole": 2.0, "tiny": 5e-324, "none": None, "yes": True}
    held = changed(vector(1, time=-(1 << 62)), values=tricky.tobytes(), metadata=numbers)
    assert sink.write([held]) == [WRITTEN]
    found = sink.fetch([held.stamp.record_id])[held.stamp.record_id]
    assert found.stamp == held.stamp
    assert np.array(found.content["values"], dtype="<f4").tobytes() == held.values
    assert found.content["metadata"] == numbers
    assert {k: type(v) for k, v in found.content["metadata"].items()} == {  # type: ignore[attr-defined]
        k: type(v) for k, v in numbers.items()
    }


def test_a_version_of_another_tenant_leaves_nothing_with_the_first(
    open_store: Open, index: Index
) -> None:
    store = open_store()
    store.sink.write([vector(1, 2, tenant=None), vector(2, 2, tenant=None)])
    store.sink.write([vector(1, 3, tenant="acme")])
    assert index.counts() == {"markers": 2, "none/minilm": 1, "t-acme/minilm": 1}
    # The same version again, of yet another tenant: the directory's history was put right.
    store.sink.write([vector(1, 3, tenant="acme/eu")])
    assert index.counts() == {"markers": 2, "none/minilm": 1, "t-acme%2Feu/minilm": 1}
    assert store.sink.count() == 2
    store.sink.delete([identity(1)])
    assert index.counts() == {"markers": 2, "none/minilm": 1, "tombstones": 1}
    assert store.sink.count() == 1


@pytest.mark.parametrize(
    "tenants",
    [("a/b", "a%2Fb"), (None, "none"), ("", "_"), ("é", "e\u0301"), ("x" * 600, "x" * 601)],
)
def test_namespaces_tell_tenants_apart(tenants: tuple[str | None, str]) -> None:
    names = [layout.namespace_of(tenant, "a/model") for tenant in tenants]
    assert len(set(names)) == 2
    assert all(name.isascii() and len(name) <= 512 for name in names)
    assert {layout.model_of(name) for name in names} == {"a/model"}
    assert layout.namespace_of("a", "b/c") != layout.namespace_of("a/b", "c")


def test_requests_keep_within_records_and_bytes() -> None:
    small = [{"id": str(n), "values": [1.0]} for n in range(2_500)]
    assert [len(part) for part in requests(small)] == [1_000, 1_000, 500]
    large = [{"id": str(n), "values": [0.1] * 50_000} for n in range(21)]
    parts = list(requests(large))
    assert len(parts) > 2
    assert all(len(msgspec.json.encode([large[n] for n in part])) <= MOST_BYTES for part in parts)
    assert [n for part in parts for n in part] == list(range(21))
    assert list(requests([])) == []


def test_a_large_batch_is_split_and_written(open_store: Open, fake: Fake) -> None:
    sink = open_store(timeout_seconds=60).sink
    wanted = [vector(number) for number in range(1_200)]
    assert list(sink.write(wanted)) == [WRITTEN] * 1_200
    assert sink.count() == 1_200
    assert not [line for line in fake.requests if not line.endswith(" 200")]
    found = sink.fetch([r.stamp.record_id for r in wanted])
    assert len(found) == 1_200
    assert found[wanted[-1].stamp.record_id].content == content(wanted[-1])


def test_what_is_beyond_the_limits_is_rejected_and_the_rest_written(
    open_store: Open, fake: Fake
) -> None:
    sink = open_store().sink
    large = changed(vector(1), metadata={"text": "x" * (40 << 10)})
    short = changed(vector(2), values=vector(2).values[:-4])
    named = changed(vector(3), model="m" * 200)
    codes = [result.code for result in sink.write([large, short, named, vector(4)])]
    assert codes == ["too_large", "wrong_dimension", "too_large", ""]
    assert not [line for line in fake.requests if line.endswith((" 400", " 413"))]
    fits = changed(vector(5), metadata={"text": "x" * (39 << 10)})
    assert sink.write([fits]) == [WRITTEN]


def test_a_record_that_the_server_refuses_does_not_fail_the_others(
    open_store: Open, index: Index
) -> None:
    """The index has other dimensions than its first records told us."""
    sink = open_store().sink
    check = index._checked

    def picky(one: Any) -> Any:
        if one["id"].startswith(layout.record_key(identity(5))) and "data" in one["metadata"]:
            one = {**one, "values": one["values"][:-1]}
        return check(one)

    index._checked = picky  # type: ignore[method-assign]
    results = sink.write([vector(number) for number in range(12)])
    assert [n for n, result in enumerate(results) if result != WRITTEN] == [5]
    assert (results[5].status, results[5].code) == ("rejected", "bad_request")
    assert sink.count() == 11
    assert sink.fetch([identity(5)]) == {}


def test_a_throttled_store_is_not_asked_before_its_time(open_store: Open, fake: Fake) -> None:
    sink = open_store().sink
    fake.fail(Failure(429, retry_after=30.0))
    (result,) = sink.write([vector(1)])
    assert (result.status, result.code, result.retry_after) == ("unavailable", "rate_limited", 30.0)
    before = fake.requests.total()
    (again,) = sink.write([vector(1)])
    assert (again.status, again.code) == ("unavailable", "rate_limited")
    with pytest.raises(Unavailable):
        sink.count()
    assert fake.requests.total() == before


@pytest.mark.parametrize("status", [429, 500, 503, 408])
def test_the_client_does_not_try_again_by_itself(open_store: Open, fake: Fake, status: int) -> None:
    sink = open_store().sink
    fake.fail(Failure(status))
    assert sink.write([vector(1)])[0].status == "unavailable"
    assert fake.requests.total() == 1
    assert sink.write([vector(1)]) == [WRITTEN]


def test_a_lower_version_that_comes_between_look_and_write_loses(
    open_store: Open, fake: Fake
) -> None:
    """The older writer has looked before the newer one has written, and writes afterwards."""
    older, newer = open_store().sink, open_store().sink
    looked, written = threading.Event(), threading.Event()
    send = older._send

    def late(wanted: Any) -> Any:
        looked.set()
        assert written.wait(30)
        return send(wanted)

    older._send = late  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(older.write, [vector(1, 1)])
        assert looked.wait(30)
        assert newer.write([vector(1, 2)]) == [WRITTEN]
        written.set()
        assert result.result() == [WRITTEN]
    found = newer.fetch([identity(1)])[identity(1)]
    assert (found.stamp.version, newer.count()) == (2, 1)
    assert fake.index.counts()["markers"] == 1


def test_an_erasure_that_comes_between_look_and_write_wins(open_store: Open, fake: Fake) -> None:
    writer, eraser = open_store().sink, open_store().sink
    looked, erased = threading.Event(), threading.Event()
    send = writer._send

    def late(wanted: Any) -> Any:
        looked.set()
        assert erased.wait(30)
        return send(wanted)

    writer._send = late  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(writer.write, [vector(1), vector(2)])
        assert looked.wait(30)
        assert eraser.delete([identity(1)]) == [ERASED]
        erased.set()
        assert result.result() == [ERASED, WRITTEN]
    assert eraser.fetch([identity(1), identity(2)]).keys() == {identity(2)}
    assert eraser.count() == 1
    assert sum(fake.index.counts().values()) == 4


def test_what_a_crash_between_marker_and_vector_left_is_made_good(
    open_store: Open, fake: Fake
) -> None:
    sink = open_store().sink
    sink.write([vector(1, 1)])
    fake.fail(Failure(500, after=1, path="/vectors/upsert"))
    assert sink.write([vector(1, 2)])[0].status == "unavailable"
    # The lower version is still there, also after an older writer has come by.
    assert sink.write([vector(1, 1)]) == [WRITTEN]
    assert sink.fetch([identity(1)])[identity(1)].stamp.version == 1
    assert sink.write([vector(1, 2)]) == [WRITTEN]
    assert sink.fetch([identity(1)])[identity(1)].stamp.version == 2
    assert sink.count() == 1


def test_the_namespaces_of_a_batch_are_written_side_by_side(open_store: Open, index: Index) -> None:
    sink = open_store(connections=4).sink
    together = threading.Barrier(4)
    upsert = index.upsert

    def meet(namespace: str, vectors: Any) -> int:
        if "/" in namespace:
            together.wait(30)
        return upsert(namespace, vectors)

    index.upsert = meet  # type: ignore[method-assign]
    batch = [vector(n, tenant=f"tenant {n}") for n in range(8)]
    assert sink.write(batch) == [WRITTEN] * 8
    assert len(sink.fetch([r.stamp.record_id for r in batch])) == 8


class Late:
    """An index whose writes are seen when its clock has gone on."""

    def __init__(self, lag: float) -> None:
        self.now = 0.0
        self.index = Index(384, lag=lag, clock=lambda: self.now)


def test_under_lag_the_highest_version_is_read_once_all_is_seen() -> None:
    late = Late(10.0)
    with served_store(late.index) as store:
        for version in (2, 3, 1):
            assert store.sink.write([vector(1, version)]) == [WRITTEN]
        assert store.sink.fetch([identity(1)]) == {}
        late.now = 10.0
        found = store.sink.fetch([identity(1)])[identity(1)]
        assert found.content == content(record("vector", 1, 3))
        assert [n.id for n in similar(store, vector(1, 3))] == [identity(1)]
        # The next write clears up.
        store.sink.write([vector(1, 3)])
        late.now = 20.0
        assert store.sink.write([vector(1, 3)]) == [WRITTEN]
        late.now = 30.0
        assert store.sink.count() == 1


def test_under_lag_an_erasure_waits_or_says_so() -> None:
    late = Late(10.0)
    with served_store(late.index) as store:
        store.sink.write([vector(1), vector(2)])
        now = [0.0]

        def tick(_: float) -> None:
            now[0] += 1.0

        store.sink._clock, store.sink._sleep = lambda: now[0], tick
        (result,) = store.sink.delete([identity(1)])
        assert (result.status, result.code) == ("unavailable", "lagging")

        def catch_up(_: float) -> None:
            late.now += 6.0

        store.sink._sleep = catch_up
        assert store.sink.delete([identity(1)]) == [ERASED]
        late.now += 10.0
        assert store.sink.fetch([identity(1), identity(2)]).keys() == {identity(2)}
        assert late.index.counts()["markers"] == 2
        assert sum(n for name, n in late.index.counts().items() if "/" in name) == 1


def similar(store: Any, like: VectorRecord) -> Any:
    return store.queries.similar(like.values, model=like.model)


@contextlib.contextmanager
def served_store(index: Index) -> Iterator[PineconeStore]:
    with served(index) as fake:
        store = PineconeStore(
            PineconeSettings.model_validate({"host": fake.address, "api_key": KEY})
        )
        yield store
        store.close()
