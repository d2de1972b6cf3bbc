"""Queries as the SQLite twin answers them, and what is said of an index that is not as needed."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from deploy.local.pinecone import Failure, Fake
from schemas.failures import UserError
from schemas.ports import Unavailable
from schemas.records import RecordId, VectorRecord
from sinks.sqlite.database import Database
from sinks.sqlite.vector import VectorSink
from sinks.sqlite.vector_queries import VectorQueries
from tests.conformance.records import identity, record
from tests.sinks.pinecone.conftest import Open


def some(count: int) -> list[VectorRecord]:
    made: list[VectorRecord] = []
    for number in range(count):
        for kind in ("prompt", "response"):
            one = record("vector", number, 1 + number % 2, kind)  # type: ignore[arg-type]
            assert isinstance(one, VectorRecord)
            model = "other/model" if number % 7 == 3 else one.model
            tenant = None if number % 5 == 4 else one.stamp.tenant
            made.append(
                msgspec.structs.replace(
                    one, model=model, stamp=msgspec.structs.replace(one.stamp, tenant=tenant)
                )
            )
    return made


@pytest.mark.parametrize("prefix", ["", "one.set-up"])
def test_queries_answer_as_the_embedded_store_does(
    open_store: Open, tmp_path: Path, prefix: str
) -> None:
    store = open_store(prefix=prefix)
    database = Database.open(tmp_path / "memory.db")
    twin = VectorQueries(database)
    records = some(40)
    for sink in (store.sink, VectorSink(database)):
        sink.write(records)
        sink.write([records[5]])
        sink.delete([identity(8), RecordId("session", identity(1).id)])
    assert store.queries.models() == twin.models()
    for record_id in (identity(3), identity(8), identity(99)):
        assert store.queries.vector(record_id) == twin.vector(record_id)
    asked = records[10]
    for options in (
        {},
        {"k": 5, "exclude": asked.stamp.record_id},
        {"tenant": "tenant-1"},
        {"tenant": "nobody"},
        {"kind": "response", "k": 100},
        {"model": "other/model"},
        {"model": "none"},
        {"k": 0},
    ):
        given = {"model": asked.model, **options}
        found = store.queries.similar(asked.values, **given)  # type: ignore[arg-type]
        expected = twin.similar(asked.values, **given)  # type: ignore[arg-type]
        assert [n.id for n in found] == [n.id for n in expected], options
        assert [n.score for n in found] == pytest.approx([n.score for n in expected], abs=2e-6)
        rest = [msgspec.structs.replace(n, score=0.0) for n in found]
        assert rest == [msgspec.structs.replace(n, score=0.0) for n in expected]
    assert store.queries.similar(asked.values[:-4], model=asked.model) == []
    database.close()


def test_two_set_ups_share_an_index_unseen(open_store: Open) -> None:
    one, other = open_store(prefix="one"), open_store(prefix="other")
    one.sink.write(some(5))
    assert other.sink.count() == 0
    assert other.queries.models() == {}
    assert other.sink.fetch([identity(1)]) == {}
    other.sink.delete([identity(1)])
    assert one.sink.count() == 10


def test_superseded_and_erased_left_overs_are_no_neighbours(open_store: Open, fake: Fake) -> None:
    store = open_store()
    old, new = (record("vector", 1, version) for version in (1, 2))
    other = record("vector", 2)
    assert isinstance(old, VectorRecord)
    store.sink.write([old, other])
    # What an eraser and a writer leave that die before they have cleared up.
    fake.fail(Failure(500, count=2, path="/vectors/delete"))
    store.sink.write([new])
    assert store.sink.delete([identity(2)])[0].status == "unavailable"
    fake.fail(Failure(count=0))
    assert sum(n for name, n in fake.index.counts().items() if "/" in name) == 3
    found = store.queries.similar(old.values, 10, model=old.model)
    assert [n.id for n in found] == [identity(1)]
    assert found[0].score < 0.9
    assert store.sink.fetch([identity(1), identity(2)]).keys() == {identity(1)}


def test_check_and_init_say_what_is_wrong(open_store: Open, fake: Fake) -> None:
    store = open_store()
    store.check()
    assert "384 dimensions" in store.init()[0]
    assert store.size() is None
    with pytest.raises(UserError, match="384 dimensions"):
        open_store(dimensions=16).check()
    with pytest.raises(UserError, match="refuses the API key"):
        open_store(api_key="wrong").check()
    with pytest.raises(UserError, match="host"):
        open_store(host="").check()
    with pytest.raises(UserError, match="api_key"):
        open_store(api_key="").check()
    fake.fail(Failure(404))
    with pytest.raises(UserError, match="no Pinecone index"):
        store.check()
    fake.fail(Failure(503))
    with pytest.raises(Unavailable):
        store.check()
    store.check()


def test_a_closed_store_is_unavailable(open_store: Open) -> None:
    store = open_store()
    store.close()
    with pytest.raises(Unavailable) as caught:
        store.queries.models()
    assert caught.value.code == "closed"
