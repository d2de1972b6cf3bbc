"""What InfluxDB does to points that other stores do not, and that nobody notices."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest

from schemas.failures import UserError
from schemas.ports import ERASED, WRITTEN, Unavailable
from schemas.records import PointRecord, RecordId
from sinks.influxdb import versions
from sinks.influxdb.lines import ANCHOR, EVENT, RECORD
from sinks.influxdb.places import Place
from sinks.influxdb.settings import InfluxSettings
from sinks.influxdb.store import InfluxStore
from tests.conformance.influxdb import remove
from tests.conformance.records import content, record, stamp

changed = msgspec.structs.replace


def point(number: int, version: int = 1, kind: Any = "response", **fields: Any) -> PointRecord:
    held = stamp(number, version, kind)
    tags = {"model": fields.pop("model", "m"), "status": fields.pop("status", "ok")}
    return PointRecord(held, fields.pop("time_ns", held.time * 1_000), tags, fields)


def rows(store: InfluxStore, measurement: str) -> list[Any]:
    client = store.sink._client
    bucket = store.sink._bucket
    found = client.query(bucket, [f"SELECT * FROM {measurement}"], client.deadline())[0]
    return [row for row in found if not row.get(ANCHOR)]


def written(store: InfluxStore, *records: PointRecord) -> None:
    assert list(store.sink.write(records)) == [WRITTEN] * len(records)


def test_a_version_with_other_tags_leaves_nothing_of_the_one_before(store: InfluxStore) -> None:
    orphan = point(1, 3, status="orphan", latency_ms=5, ttft_ms=9)
    complete = point(1, 4, model="known", latency_ms=5)
    for order in ([orphan, complete], [complete, orphan]):
        for each in order:
            written(store, each)
        (event,) = rows(store, EVENT)
        assert (event["status"], event["model"], event.get("ttft_ms")) == ("ok", "known", None)
        assert len(rows(store, RECORD)) == 1
        (usage,) = store.queries.usage()
        assert (usage.responses, usage.orphans, usage.ttft_p50_ms) == (1, 0, None)


def test_writers_of_two_versions_leave_the_higher(opened: Callable[..., InfluxStore]) -> None:
    stores = [opened() for _ in range(4)]
    stores[0].init()
    together = threading.Barrier(len(stores))

    def work(number: int) -> None:
        for start in range(0, 40, 10):
            together.wait()
            batch = [
                point(n, 1 + number, model=f"m{number}", latency_ms=number)
                for n in range(start, start + 10)
            ]
            written(stores[number], *batch)

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(work, range(len(stores))))
    assert stores[0].sink.count() == 40
    assert [usage.key for usage in stores[0].queries.usage(["model"])] == [("m3",)]
    assert stores[0].queries.usage(["model"], model="m0") == []
    stores[0].sink.sweep()
    assert stores[0].sink.sweep() == 0
    assert {row["version"] for row in rows(stores[0], EVENT)} == {"4"}
    assert {row["version"] for row in rows(stores[0], RECORD)} == {"4"}


def test_what_a_write_has_no_time_to_remove_counts_nowhere(
    store: InfluxStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "REMOVING", 0.0)
    before = [point(n, 1, model="before", latency_ms=1) for n in range(20)]
    after = [point(n, 2, model="after", latency_ms=2) for n in range(20)]
    written(store, *after[:10])
    written(store, *before)
    written(store, *after[10:])
    assert len(rows(store, EVENT)) == 40
    assert store.sink.count() == 20
    assert [usage.key for usage in store.queries.usage(["model"])] == [("after",)]
    assert store.queries.usage(["model"], model="before") == []
    assert list(store.collisions.find()) == []
    found = store.sink.fetch([each.stamp.record_id for each in after])
    assert {held.stamp.version for held in found.values()} == {2}
    assert store.sink.sweep() == 40
    assert len(rows(store, EVENT)) == len(rows(store, RECORD)) == store.sink.count() == 20


def test_an_erasure_and_a_write_at_once_leave_nothing(opened: Callable[..., InfluxStore]) -> None:
    writer, eraser = opened(), opened()
    writer.init()
    together = threading.Barrier(2)
    ids = [point(n).stamp.record_id for n in range(30)]

    def write() -> None:
        for number in range(30):
            together.wait()
            writer.sink.write([point(number)])

    def erase() -> None:
        for identity in ids:
            together.wait()
            assert list(eraser.sink.delete([identity])) == [ERASED]

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(write), pool.submit(erase)]:
            done.result()
    assert rows(writer, EVENT) == rows(writer, RECORD) == []
    assert list(writer.sink.write([point(3)])) == [ERASED]


def test_what_is_removed_hides_nothing_that_comes_into_its_series_meanwhile(
    opened: Callable[..., InfluxStore],
) -> None:
    """A series that a removal leaves empty goes from the server's index, and with it whatever was
    written into it in that moment: acknowledged, and found by nobody."""
    store, other = opened(), opened()
    store.init()
    client, name, when = store.sink._client, store.sink._bucket, point(1).time_ns
    rounds = 100

    def write(number: int, id_: str, time_ns: int) -> None:
        line = f'record,bucket=b{number},version=1 id="{id_}" {time_ns}'
        client.write(name, line, client.deadline())

    with ThreadPoolExecutor(1) as pool:
        for number in range(rounds):
            write(number, "prompt:gone", when)
            tags = (("bucket", f"b{number}"), ("version", "1"))
            place = Place(RecordId("prompt", "gone"), 1, when, RECORD, tags)
            removed = pool.submit(other.sink._versions.remove, [place], client.deadline())
            for _ in range(number % 3):
                write(rounds, "prompt:meanwhile", when)
            write(number, "prompt:kept", when + 1_000)
            removed.result()
    found = {row["bucket"]: row["id"] for row in rows(store, RECORD)}
    assert found.pop(f"b{rounds}") == "prompt:meanwhile"
    assert found == {f"b{number}": "prompt:kept" for number in range(rounds)}


def test_tombstones_of_another_process_are_seen(opened: Callable[..., InfluxStore]) -> None:
    first, second = opened(), opened()
    first.init()
    written(first, point(1), point(2))
    second.sink.delete([point(1).stamp.record_id])
    second.sink.delete([point(5).stamp.record_id])
    assert [r.status for r in first.sink.write([point(1), point(2), point(5)])] == [
        "erased",
        "written",
        "erased",
    ]
    assert first.sink.fetch([point(1).stamp.record_id]) == {}


def test_a_batch_from_all_over_the_years(store: InfluxStore) -> None:
    day = 86_400_000_000_000
    batch = [point(n, 2, time_ns=point(n).time_ns + n * day) for n in range(400)]
    older = [point(n, 1, time_ns=each.time_ns, model="old") for n, each in enumerate(batch)]
    written(store, *batch)
    written(store, *older[::40])
    assert store.sink.count() == 400
    assert [usage.key for usage in store.queries.usage(["model"])] == [("m",)]


TEXTS = (
    "a b,c=d",
    "line\nfeed\r\ttab",
    'quote " and \\ back\\',
    "50%5F%0A",
    "_",
    "%5F",
    "ünï 你好 👩‍👩‍👧",
    "\u0000\u007f\u2028",
    "'; DROP MEASUREMENT event; --",
    "trailing\\",
)


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_hostile_values_read_back_and_can_be_asked_for(store: InfluxStore, text: str) -> None:
    tag = {"_": "%5F"}.get(text, text)
    held = stamp(1, 2, "response", tenant=text, user=text)
    tags = dict.fromkeys(("kind", "tenant", "model", "provider", "purpose", "status"), tag)
    wanted = PointRecord(held, held.time * 1_000, tags, {"session_id": text, text: text})
    written(store, wanted, point(2))
    found = store.sink.fetch([held.record_id])[held.record_id]
    assert (found.stamp, found.content) == (held, content(wanted))
    model = "_" if text == "%5F" else text  # So says the tag.
    for asked in ({"tenant": text}, {"user": text}, {"model": model}):
        (usage,) = store.queries.usage(["tenant", "model", "user"], **asked)
        assert usage.responses == 1
        assert usage.key == (text, model, text)
    written(store, changed(wanted, stamp=changed(held, version=3)))
    assert len(rows(store, EVENT)) == 2
    assert list(store.sink.delete([held.record_id])) == [ERASED]
    assert len(rows(store, EVENT)) == len(rows(store, RECORD)) == 1


def test_a_repair_moves_what_was_overwritten_and_says_so(store: InfluxStore) -> None:
    when = point(1).time_ns
    written(store, point(1, time_ns=when), point(4, time_ns=when))
    written(store, point(7, time_ns=when))
    assert store.repair() == ["influxdb: 1 moved points"]
    assert list(store.collisions.find()) == []
    assert store.repair() == []


def test_points_of_one_series_and_nanosecond_stay_apart(store: InfluxStore) -> None:
    when = point(1).time_ns
    first, second, third = (point(n, time_ns=when, latency_ms=n) for n in (1, 4, 7))
    written(store, first, second)
    assert len(rows(store, EVENT)) == 2
    assert list(store.collisions.find()) == []
    written(store, third)
    (lost,) = store.collisions.find()
    assert [r.status for r in store.collisions.move([lost])] == ["written"]
    assert list(store.collisions.find()) == []
    for again in ([first, second, third], [third], [second, first]):
        written(store, *again)
        assert list(store.collisions.find()) == []
        assert store.queries.usage()[0].responses == 3
        assert sorted(row["latency_ms"] for row in rows(store, EVENT)) == [1, 4, 7]
    assert list(store.collisions.find(until=first.stamp.time)) == []
    missing = RecordId("prompt", point(9).stamp.id)
    assert [r.status for r in store.collisions.move([missing])] == ["rejected"]
    written(store, changed(second, stamp=changed(second.stamp, version=2)))
    assert len(rows(store, EVENT)) == store.sink.count() == 3


def test_what_goes_leaves_the_point_beside_it(store: InfluxStore) -> None:
    """The server removes by tags: those of a point beside must not be more of the same."""
    when = point(1).time_ns
    first, second = point(1, time_ns=when, latency_ms=1), point(4, time_ns=when, latency_ms=4)
    written(store, first, second)
    written(store, point(1, 2, time_ns=when, latency_ms=1))
    assert sorted(row["latency_ms"] for row in rows(store, EVENT)) == [1, 4]
    assert list(store.sink.delete([first.stamp.record_id])) == [ERASED]
    (left,) = rows(store, EVENT)
    assert left["event_id"] == second.stamp.id
    assert store.queries.usage()[0].responses == 1
    assert list(store.sink.write([first])) == [ERASED]
    assert len(rows(store, EVENT)) == 1
    assert list(store.sink.delete([second.stamp.record_id])) == [ERASED]
    assert rows(store, EVENT) == []


def test_a_point_that_the_server_refuses_does_not_take_others_along(store: InfluxStore) -> None:
    """Somebody else's points may hold our fields with another type; only words say which line."""
    spoilt = point(7, latency_ms=7)
    week = 7 * 86_400_000_000_000
    client = store.sink._client
    foreign = f"event,kind=x latency_ms=1.5 {spoilt.time_ns - 1}"
    client.write(store.sink._bucket, foreign, client.deadline())
    good = [point(n, time_ns=point(n).time_ns + 2 * week, latency_ms=1) for n in range(5)]
    results = store.sink.write([*good[:3], spoilt, *good[3:], point(8, text_tokens=1)])
    assert [(r.status, r.code) for r in results] == [
        *[("written", "")] * 3,
        ("rejected", "refused"),
        *[("written", "")] * 3,
    ]
    # Of its two lines the server has taken the one that it did not mind.
    assert store.sink.fetch([spoilt.stamp.record_id]) == {}
    assert store.sink.count() == 6
    assert spoilt.stamp.id not in {row.get("event_id") for row in rows(store, EVENT)}


def test_a_version_that_the_server_refuses_leaves_the_one_before(store: InfluxStore) -> None:
    before = point(7)
    written(store, before)
    client = store.sink._client
    foreign = f"event,kind=x latency_ms=1.5 {before.time_ns}"
    client.write(store.sink._bucket, foreign, client.deadline())
    (result,) = store.sink.write([point(7, 2, latency_ms=7)])
    assert (result.status, result.code) == ("rejected", "refused")
    (held,) = store.sink.fetch([before.stamp.record_id]).values()
    assert held.stamp == before.stamp
    assert store.sink.count() == 1


def test_points_outside_the_retention_are_refused(opened: Callable[..., InfluxStore]) -> None:
    store = opened(retention_days=30)
    store.init()
    now = time.time_ns()
    day = 86_400_000_000_000
    old, fresh = point(1, time_ns=now - 31 * day), point(2, time_ns=now - 29 * day)
    assert [(r.status, r.code) for r in store.sink.write([old, fresh])] == [
        ("rejected", "outside_retention"),
        ("written", ""),
    ]
    store.sink.delete([fresh.stamp.record_id])
    assert list(store.sink.write([fresh])) == [ERASED]
    with pytest.raises(UserError, match="30 days"):
        opened(retention_days=7).check()
    store.check()


@pytest.mark.parametrize("size", [70_000, 480_000])
def test_long_texts_read_back(store: InfluxStore, size: int) -> None:
    wanted = record("timeseries", 1, text="x" * 100)
    assert isinstance(wanted, PointRecord)
    wanted = changed(wanted, fields=wanted.fields | {"session_id": '\\"\n' * (size // 3)})
    written(store, wanted)
    held = store.sink.fetch([wanted.stamp.record_id])[wanted.stamp.record_id]
    assert held.content == content(wanted)


@pytest.mark.parametrize("time_ns", [-1, 0, -(1 << 62), (1 << 63) - 2, -((1 << 63) - 2)])
def test_times_far_away(store: InfluxStore, time_ns: int) -> None:
    wanted = point(1, time_ns=time_ns)
    written(store, wanted)
    assert store.sink.fetch([wanted.stamp.record_id])[wanted.stamp.record_id].content == content(
        wanted
    )
    written(store, point(1, 2, time_ns=time_ns))
    assert store.sink.count() == 1
    assert list(store.sink.delete([wanted.stamp.record_id])) == [ERASED]
    assert store.sink.count() == 0


def test_what_no_time_can_be_is_refused(store: InfluxStore) -> None:
    results = store.sink.write([point(1, time_ns=t) for t in ((1 << 63) - 1, -(1 << 63))])
    assert {(r.status, r.code) for r in results} == {("rejected", "bad_number")}


def test_init_check_and_size(opened: Callable[..., InfluxStore], settings: InfluxSettings) -> None:
    store = opened()
    with pytest.raises(UserError, match="stores init"):
        store.check()
    assert list(store.init()) == [f"bucket {settings.bucket}", f"bucket {settings.bucket}-erased"]
    assert list(store.init()) == []
    store.check()
    written(store, *(point(n) for n in range(50)))
    size = store.size()
    assert size is None or size >= 0
    with pytest.raises(UserError, match="organisation nobody"):
        opened(org="nobody").init()
    remove(settings)
    with pytest.raises(UserError, match=settings.bucket):
        store.check()
    (result,) = store.sink.write([point(1)])
    assert result.status == "unavailable"
    with pytest.raises(Unavailable):
        store.sink.count()
    with pytest.raises(Unavailable):
        store.queries.usage()


def test_a_wrong_token_is_told(opened: Callable[..., InfluxStore], store: InfluxStore) -> None:
    from pydantic import SecretStr

    wrong = opened(token=SecretStr("no such token"))
    (result,) = wrong.sink.write([point(1)])
    assert (result.status, result.code) == ("unavailable", "unauthorized")
    with pytest.raises(Unavailable, match="unauthorized"):
        wrong.check()


class Overloaded(BaseHTTPRequestHandler):
    """Wants to be left alone for a while, and tells who asked."""

    asked = 0
    status = 429

    def do_POST(self) -> None:
        type(self).asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Retry-After", "30")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_a_server_that_asks_for_time_gets_it() -> None:
    Overloaded.asked = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Overloaded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = InfluxStore(InfluxSettings(url=f"http://127.0.0.1:{server.server_port}"))
        for _ in range(3):
            (result,) = store.sink.write([point(1)])
            assert (result.status, result.code) == ("unavailable", "overloaded")
        store.close()
        server.shutdown()
    assert Overloaded.asked == 1


class Unreadable(Overloaded):
    """Takes no question, as one whose access to the bucket by InfluxQL is set up wrongly."""

    status = 400


def test_a_question_that_is_refused_is_no_fault_of_a_record() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Unreadable) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = InfluxStore(InfluxSettings(url=f"http://127.0.0.1:{server.server_port}"))
        (result,) = store.sink.write([point(1)])
        store.close()
        server.shutdown()
    assert (result.status, result.code) == ("unavailable", "query_failed")


def test_nothing_is_logged(store: InfluxStore, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    written(store, point(1, model="canary"))
    store.sink.fetch([point(1).stamp.record_id])
    store.queries.usage(model="canary")
    assert "canary" not in caplog.text
    assert not [r for r in caplog.records if r.name.startswith(("urllib3", "influxdb", "Rx"))]
