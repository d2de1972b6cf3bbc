"""What Elasticsearch does to documents that other stores do not, and that nobody notices."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from elasticsearch import Elasticsearch

from schemas.failures import UserError
from schemas.items import Screened
from schemas.ports import ERASED, WRITTEN, Unavailable
from schemas.records import DocumentRecord, Value
from sinks.elasticsearch.documents import ERASING, entry
from sinks.elasticsearch.layout import FORMAT, KEYWORDS, Names, events_template
from sinks.elasticsearch.settings import ElasticsearchSettings
from sinks.elasticsearch.store import ElasticsearchStore
from tests.conformance.records import content, stamp
from tests.servers.plugin import port_of
from tests.servers.proxy import Proxy
from tests.sinks.library import document

changed = msgspec.structs.replace


def written(store: ElasticsearchStore, *records: DocumentRecord) -> None:
    assert list(store.sink.write(records)) == [WRITTEN] * len(records)


def read(store: ElasticsearchStore, record: DocumentRecord) -> Any:
    return store.sink.fetch([record.stamp.record_id])[record.stamp.record_id].content


def test_each_day_has_an_index_and_all_share_an_alias(
    store: ElasticsearchStore, server: Elasticsearch
) -> None:
    day = 86_400_000_000
    times = (0, 1_700_000_000_000_000, 1_700_000_000_000_000 + day, -1, 1 << 62, -(1 << 62))
    documents = [document(n, f"word{n}", time=time) for n, time in enumerate(times)]
    written(store, *documents)
    names = store.sink._names
    assert {name.removeprefix(names.alias) for name in server.indices.get(index=names.events)} == {
        "-other",
        "-2023.11.14",
        "-2023.11.15",
    }
    server.indices.refresh(index=names.alias)
    assert server.count(index=names.alias)["count"] == len(times)
    assert all(read(store, each) == content(each) for each in documents)
    assert [hit.time for hit in store.queries.search("word4")] == [1 << 62]


def test_values_of_any_type_read_back_and_contradict_nothing(store: ElasticsearchStore) -> None:
    values: list[Value] = [
        "text",
        7,
        (1 << 63) - 1,
        -(1 << 63),
        0.1,
        2.0,
        1e300,
        True,
        None,
        ("a", "b"),
        (),
        "2023-11-14",
        "x" * 40_000,
        "ü" * 20_000,
        "👩" * 9_000,
        "",
    ]
    names = [*KEYWORDS, "tokens", "cost_pico_usd", "other", "a.b", "", "version", "time", "fields"]
    documents = [
        DocumentRecord(stamp(n), Screened("text"), dict.fromkeys(names, value))
        for n, value in enumerate(values)
    ]
    written(store, *documents)
    for each in documents:
        assert read(store, each) == content(each)
        assert type(read(store, each)["fields"]["a.b"]) is type(content(each)["fields"]["a.b"])  # type: ignore[index]
    store.sink.count()
    assert len(store.queries.search("text", model="text")) == 1


def test_a_conflict_of_versions_counts_as_written(
    store: ElasticsearchStore, server: Elasticsearch
) -> None:
    second, first = document(1, "second", version=2), document(1, "first", version=1)
    written(store, second, first)
    written(store, first)
    assert read(store, first) == content(second)
    rewritten = document(1, "second again", version=2)
    written(store, rewritten)
    assert read(store, first) == content(rewritten)
    results = store.sink.write([document(2, "", version=ERASING), document(3, "", version=-1)])
    assert {(r.status, r.code) for r in results} == {("rejected", "bad_number")}


def test_an_erasure_and_a_write_at_once_leave_nothing(
    opened: Callable[..., ElasticsearchStore],
) -> None:
    writer, eraser = opened(), opened()
    writer.init()
    together = threading.Barrier(2)
    documents = [document(n, "secret") for n in range(30)]

    def write() -> None:
        for each in documents:
            together.wait()
            writer.sink.write([each])

    def erase() -> None:
        for each in documents:
            together.wait()
            assert list(eraser.sink.delete([each.stamp.record_id])) == [ERASED]

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(write), pool.submit(erase)]:
            done.result()
    assert writer.sink.count() == 0
    assert [r.status for r in writer.sink.write(documents)] == ["erased"] * 30
    assert writer.sink.count() == 0


def test_a_write_that_comes_after_its_erasure_meets_a_greater_version(
    store: ElasticsearchStore, settings: ElasticsearchSettings, server: Elasticsearch
) -> None:
    """A request may lie in a buffer while its sender gives up, tries again and hears: erased."""
    record = document(1, "secret", version=3)
    late = entry(record, Names(settings.prefix), 1 << 20)
    written(store, record)
    store.sink.delete([record.stamp.record_id])
    (item,) = server.bulk(operations=[late.action, late.source])["items"]
    assert item["index"]["status"] == 409
    assert store.sink.count() == 0


def test_a_replay_removes_what_an_interrupted_writer_left(
    store: ElasticsearchStore, settings: ElasticsearchSettings, server: Elasticsearch
) -> None:
    """A writer that died between the write and its second look at the tombstones."""
    record = document(1, "secret")
    store.sink.delete([record.stamp.record_id])
    left = entry(record, Names(settings.prefix), 1 << 20)
    server.bulk(operations=[left.action, left.source])
    assert store.sink.count() == 1
    assert list(store.sink.write([record])) == [ERASED]
    assert store.sink.count() == 0


@pytest.mark.slow
def test_what_is_erased_is_merged_away(store: ElasticsearchStore) -> None:
    documents = [document(n, f"canary{n}") for n in range(20)]
    written(store, *documents)
    store.sink.delete([each.stamp.record_id for each in documents[:5]])
    assert store.sink.count() == 15
    while store.expunge():
        time.sleep(0.2)
    assert store.sink.count() == 15


class Answers(BaseHTTPRequestHandler):
    """Answers as a cluster in trouble: the first of ``answers`` whose path fits."""

    answers: tuple[tuple[str, int, dict[str, str], Any], ...] = ()
    asked: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).asked.append(self.path.partition("?")[0])
        _, status, headers, answer = next(a for a in self.answers if a[0] in self.path)
        if callable(answer):
            status, answer = answer(body)
        data = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {
            "X-Elastic-Product": "Elasticsearch",
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **headers,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def answering(*answers: tuple[str, int, dict[str, str], Any]) -> Iterator[Any]:
    handler = type("Handler", (Answers,), {"answers": answers, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        store = ElasticsearchStore(ElasticsearchSettings(urls=(url,)))
        yield store, handler
        store.close()
        server.shutdown()


NO_TOMBSTONES = ("_mget", 200, {}, {"docs": []})


def test_items_fail_alone_and_by_their_code() -> None:
    items = [
        {"index": {"status": 201}},
        {"index": {"status": 409, "error": {"type": "version_conflict_engine_exception"}}},
        {"index": {"status": 429, "error": {"type": "es_rejected_execution_exception"}}},
        {"index": {"status": 400, "error": {"type": "document_parsing_exception"}}},
        {"index": {"status": 400, "error": {"type": "validation_exception"}}},
        {"index": {"status": 403, "error": {"type": "cluster_block_exception"}}},
        {"index": {"status": 503, "error": {"type": "unavailable_shards_exception"}}},
        {"index": {"status": 500, "error": {"type": "anything"}}},
    ]
    with answering(NO_TOMBSTONES, ("_bulk", 200, {}, {"items": items})) as (store, _):
        results = store.sink.write([document(n, "") for n in range(len(items))])
    assert [(r.status, r.code) for r in results] == [
        ("written", ""),
        ("written", ""),
        ("unavailable", "overloaded"),
        ("rejected", "unparsable"),
        ("unavailable", "refused"),
        ("unavailable", "forbidden"),
        ("unavailable", "overloaded"),
        ("unavailable", "server_error"),
    ]


def test_a_batch_that_is_too_large_is_halved() -> None:
    def bulk(body: bytes) -> tuple[int, Any]:
        lines = body.splitlines()
        if len(body) > 2_000 or b"huge" in body:
            return 413, {}
        return 200, {"items": [{"index": {"status": 201}}] * (len(lines) // 2)}

    with answering(NO_TOMBSTONES, ("_bulk", 0, {}, bulk)) as (store, _):
        results = store.sink.write([document(n, "huge" if n == 3 else "") for n in range(8)])
    assert [(r.status, r.code) for r in results] == [
        *[("written", "")] * 3,
        ("rejected", "too_large"),
        *[("written", "")] * 4,
    ]


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "unauthorized"), (403, "forbidden"), (404, "index_missing"), (500, "server_error")],
)
def test_errors_of_a_request_are_told_by_code(status: int, code: str) -> None:
    leaking = {"error": {"type": "x", "reason": "canary"}, "status": status}
    with answering(("", status, {}, leaking)) as (store, _):
        (result,) = store.sink.write([document(1, "canary")])
        assert (result.status, result.code) == ("unavailable", code)
        with pytest.raises(Unavailable) as told:
            store.queries.search("canary")
    assert "canary" not in str(told.value)
    assert told.value.__suppress_context__


def test_a_server_that_asks_for_time_gets_it() -> None:
    busy = ("", 429, {"Retry-After": "30"}, {})
    with answering(busy) as (store, handler):
        for _ in range(3):
            (result,) = store.sink.write([document(1, "")])
            assert (result.status, result.code) == ("unavailable", "overloaded")
            assert 0 < result.retry_after <= 30
        assert len(handler.asked) == 1


def test_what_is_no_elasticsearch_is_told() -> None:
    with answering(("", 200, {"X-Elastic-Product": "other"}, {"docs": []})) as (store, _):
        (result,) = store.sink.write([document(1, "")])
    assert (result.status, result.code) == ("unavailable", "not_elasticsearch")


def test_a_request_dropped_in_the_middle_of_its_batch(
    store: ElasticsearchStore,
    opened: Callable[..., ElasticsearchStore],
    settings: ElasticsearchSettings,
) -> None:
    batch = [document(n, "words " * 50) for n in range(100)]
    with Proxy(port_of(settings.urls[0])) as proxy:
        far = opened(urls=(f"http://{proxy.address}",))
        proxy.cut(after=40_000)
        assert {r.status for r in far.sink.write(batch)} == {"unavailable"}
        proxy.heal()
        assert set(far.sink.write(batch)) == {WRITTEN}
    assert store.sink.count() == 100


def test_an_index_without_its_shard_holds_up_its_own_documents_alone(
    store: ElasticsearchStore, server: Elasticsearch, opened: Callable[..., ElasticsearchStore]
) -> None:
    """A day whose shard is lost, or not assigned yet: the server waits for it a minute."""
    day = 86_400_000_000
    good, stuck = (document(n, "words", time=1_700_000_000_000_000 + n * day) for n in range(2))
    server.options(request_timeout=60).indices.create(
        index=store.sink._names.index(stuck.stamp.time),
        settings={"index.routing.allocation.require._name": "nobody"},
        wait_for_active_shards="0",
    )
    # Its index is made first, which may take its time.
    assert list(store.sink.write([good])) == [WRITTEN]
    results = opened(timeout_seconds=6.0).sink.write([good, stuck])
    assert [(r.status, r.code) for r in results] == [
        ("written", ""),
        ("unavailable", "overloaded"),
    ]


def test_the_copies_of_an_index_follow_the_settings(
    store: ElasticsearchStore, settings: ElasticsearchSettings
) -> None:
    index = events_template(settings.model_copy(update={"shards": 3, "replicas": 2}))["template"]
    assert index["settings"]["index"]["number_of_shards"] == 3
    assert index["settings"]["index"]["number_of_replicas"] == 2
    assert index["settings"]["index"]["translog"] == {"durability": "request"}


def test_init_check_and_size(
    opened: Callable[..., ElasticsearchStore], server: Elasticsearch
) -> None:
    store = opened()
    names = store.sink._names
    with pytest.raises(UserError, match="stores init"):
        store.check()
    (result,) = store.sink.write([document(1, "")])
    assert (result.status, result.code) == ("unavailable", "index_missing")
    assert list(store.init()) == [f"index template {names.template}", f"index {names.tombstones}"]
    assert list(store.init()) == []
    assert list(opened(shards=2).init()) == [f"index template {names.template}"]
    store.check()
    written(store, document(1, "text"))
    size = store.size()
    assert size is not None
    assert size > 0
    mapping = server.indices.get_mapping(index=names.events)
    (held,) = mapping.values()
    assert held["mappings"]["dynamic"] == "false"
    server.indices.put_mapping(index=names.tombstones, meta={"format": FORMAT + 1})
    for call in (store.check, store.init):
        with pytest.raises(UserError, match="newer"):
            call()
    server.indices.delete(index=names.tombstones)
    with pytest.raises(UserError, match=names.tombstones):
        store.check()
    (result,) = store.sink.write([document(1, "text")])
    assert (result.status, result.code) == ("unavailable", "index_missing")


def test_nothing_is_logged(store: ElasticsearchStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    written(store, document(1, "canary", model="canary"))
    read(store, document(1, ""))
    store.queries.search("canary")
    assert "canary" not in caplog.text
    assert not [r for r in caplog.records if r.name.startswith(("elastic", "urllib3"))]
