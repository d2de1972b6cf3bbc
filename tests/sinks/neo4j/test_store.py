"""Making the database ready, checking it, what goes wrong with a server, and what nobody sees."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr

from deploy.local import addresses
from deploy.local.server import Server
from schemas.failures import UserError
from schemas.ports import WRITTEN, Unavailable
from schemas.records import GraphRecord
from sinks.neo4j.model import FORMAT, INDEXES, UNIQUE
from sinks.neo4j.settings import Neo4jSettings
from sinks.neo4j.store import Neo4jStore
from tests.awaiting import answered
from tests.conformance.records import record

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("neo4j")]

OPENERS = 4


def one(number: int) -> GraphRecord:
    made = record("graph", number)
    assert isinstance(made, GraphRecord)
    return made


def test_init_makes_what_is_missing_and_check_names_it(store: Neo4jStore) -> None:
    assert store.init() == []
    store.check()
    rows = store.sink._client.rows
    rows("DROP CONSTRAINT text_key")
    rows("DROP INDEX prompt_textHash")
    with pytest.raises(UserError, match=r"prompt_textHash, text_key; run: memory-graph stores"):
        store.check()
    made = store.init()
    assert made == ["neo4j: made the constraint text_key", "neo4j: made the index prompt_textHash"]
    store.check()
    found = {row["name"] for row in rows("SHOW INDEXES YIELD name")}
    assert {*UNIQUE, *INDEXES} <= found


def test_the_id_of_the_stores_is_minted_once(store: Neo4jStore, settings: Neo4jSettings) -> None:
    first = store.store_set()
    store.init()
    other = Neo4jStore(settings)
    assert other.store_set() == store.store_set() == first
    other.close()
    store.sink._client.rows("MATCH (s:MemoryGraph) DELETE s")
    with pytest.raises(UserError, match="stores init"):
        store.check()
    with pytest.raises(UserError, match="stores init"):
        store.store_set()
    assert store.init() == ["neo4j: made the id of the stores"]
    assert store.store_set() != first


def test_several_make_a_database_ready_at_once(store: Neo4jStore, settings: Neo4jSettings) -> None:
    """As the pods of a deployment do, each before its worker."""
    rows = store.sink._client.rows
    rows("MATCH (s:MemoryGraph) DELETE s")
    for name in UNIQUE:
        rows(f"DROP CONSTRAINT {name}")
    for name in INDEXES:
        rows(f"DROP INDEX {name}")
    together = threading.Barrier(OPENERS)
    stores = [Neo4jStore(settings) for _ in range(OPENERS)]

    def init(one: Neo4jStore) -> list[str]:
        together.wait()
        return list(one.init())

    with ThreadPoolExecutor(OPENERS) as pool:
        made = list(pool.map(init, stores))
    assert sum("neo4j: made the id of the stores" in each for each in made) == 1
    for one in stores:
        one.check()
        one.close()


def test_a_database_that_was_emptied_takes_nothing_before_it_is_made_ready(
    store: Neo4jStore,
) -> None:
    """A server that came back without its disk has no constraints: writers would make nodes twice,
    and nobody would know any more what was erased."""
    assert list(store.sink.write([one(1)])) == [WRITTEN]
    store.sink._client.rows("MATCH (n) DETACH DELETE n")
    (result,) = store.sink.write([one(2)])
    assert (result.status, result.code) == ("unavailable", "not_ready")
    (result,) = store.sink.delete([one(1).stamp.record_id])
    assert (result.status, result.code) == ("unavailable", "not_ready")
    assert store.queries.counts() == ({}, {})
    store.init()
    assert list(store.sink.write([one(2)])) == [WRITTEN]


def test_a_graph_of_a_newer_release_is_refused(store: Neo4jStore) -> None:
    store.sink._client.rows("MATCH (s:MemoryGraph) SET s.format = $n", n=FORMAT + 1)
    for call in (store.check, store.init, store.store_set):
        with pytest.raises(UserError, match="newer release"):
            call()


def test_an_address_that_is_none_and_one_where_nobody_is() -> None:
    with pytest.raises(UserError, match=r"neo4j\.uri"):
        Neo4jStore(Neo4jSettings(uri="http://nowhere"))
    store = Neo4jStore(Neo4jSettings(uri="bolt://127.0.0.1:1"))
    for call in (store.check, store.init, store.store_set, store.queries.counts):
        with pytest.raises(Unavailable) as raised:
            call()
        assert raised.value.code == "refused"
    (result,) = store.sink.write([one(1)])
    assert (result.status, result.code) == ("unavailable", "refused")
    store.close()
    store.close()


def test_a_database_that_is_not_there(settings: Neo4jSettings) -> None:
    store = Neo4jStore(settings.model_copy(update={"database": "nowhere"}))
    with pytest.raises(UserError, match=r"neo4j\.database"):
        store.check()
    store.close()


@pytest.mark.timeout(600)
def test_a_server_that_asks_who_it_is_hangs_dies_and_comes_back(
    own_server: Callable[..., Server],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = own_server("neo4j", auth=True)
    address: addresses.Neo4j = server.address
    caplog.set_level(logging.DEBUG)
    capfd.readouterr()
    right = Neo4jSettings(uri=address.uri, password=SecretStr(address.password), timeout_seconds=60)
    wrong = right.model_copy(update={"password": SecretStr("not the password")})

    for settings in (wrong, right.model_copy(update={"password": SecretStr("")})):
        stranger = Neo4jStore(settings)
        with pytest.raises(UserError, match=r"neo4j\.user and the password"):
            stranger.check()
        (result,) = stranger.sink.write([one(1)])
        assert (result.status, result.code) == ("unavailable", "auth")
        stranger.close()

    store = Neo4jStore(right)
    store.init()
    assert list(store.sink.write([one(1)])) == [WRITTEN]

    hasty = Neo4jStore(right.model_copy(update={"timeout_seconds": 2.0}))
    assert answered(hasty.sink.count) == 1
    server.pause()
    (result,) = hasty.sink.write([one(2)])
    assert (result.status, result.code) == ("unavailable", "timeout")
    with pytest.raises(Unavailable):
        hasty.queries.counts()
    server.resume()
    hasty.close()
    assert list(store.sink.write([one(2)])) == [WRITTEN]

    server.kill()
    results = store.sink.write([one(3)])
    assert [result.status for result in results] == ["unavailable"]
    server.restart()
    assert store.sink.count() == 2
    assert list(store.sink.write([one(3)])) == [WRITTEN]
    store.close()

    assert [r for r in caplog.records if r.name.startswith("neo4j")] == []
    assert capfd.readouterr() == ("", "")
