"""Registry, directory and embedder down at random, then ``enrich``: as if nothing had been.

``SEED`` repeats a run; the services' holding-off is that of the real clients' contract (they raise
Unavailable), here by the flip of a coin.
"""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from flows.enrich import enrich
from flows.keys import VARIABLE
from flows.settings import Settings
from schemas.ports import Unavailable
from tests.faults.contents import Contents, assert_same, contents
from tests.faults.harness import KEY, Bench
from tests.faults.services import World
from tests.generate import write_log

SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
COUNT = 800
SECTIONS = (
    '[embed]\nmode = "{}"\n[pii.detect]\nnames = false\n'
    "[worker]\nepoch_seconds = 0.05\nchunk_events = 40\n[delivery]\ndeadline_seconds = 1\n"
)
VERSIONS = "SELECT kind, id, version FROM {}_{} ORDER BY kind, id"


@pytest.fixture(scope="module", autouse=True)
def master_key() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, KEY)
        yield


class Log:
    """A generated log, and what an undisturbed run makes of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        write_log(self.log, COUNT, SEED)
        bench = self.bench("undisturbed", "inline")
        World().run(bench.settings())
        self.expected = contents(bench.database)
        self.versions = versions(bench)
        assert requests(bench) == 0

    def bench(self, name: str, mode: str, sections: str = "") -> Bench:
        return Bench(self.folder / name, self.log, SECTIONS.format(mode) + sections)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    print(f"SEED={SEED}")
    return Log(tmp_path_factory.mktemp("enrich"))


def requests(bench: Bench) -> int:
    return int(bench.query("SELECT count(*) FROM requests")[0][0])


def versions(bench: Bench) -> dict[str, list[tuple[Any, ...]]]:
    """Of every record in every store."""
    tables = {"graph": "record", "vector": "record", "timeseries": "point", "search": "document"}
    with closing(sqlite3.connect(bench.database)) as connection:
        return {
            store: connection.execute(VERSIONS.format(store, table)).fetchall()
            for store, table in tables.items()
        }


def same(log: Log, bench: Bench) -> Contents:
    found = contents(bench.database)
    assert_same(log.expected, found)
    assert versions(bench) == log.versions
    return found


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_what_went_on_without_is_completed_to_what_it_would_have_been(
    log: Log, share: float
) -> None:
    bench = log.bench(f"share-{share}", "inline")
    settings, world = bench.settings(), World(SEED)
    world.share = share
    world.run(settings)
    assert all(service.failed for service in world.made)
    waiting = requests(bench)
    assert waiting > 50
    before = contents(bench.database)
    # What is part of an identity does not stand there under a wrong one.
    for name in ("vectors", "points"):
        expected = log.expected.tables[name]
        assert len(before.tables[name]) < len(expected)
        assert all(row == expected[key] for key, row in before.tables[name].items())
    half = world.enrich(settings)
    assert half.left == requests(bench)
    if share == 1.0:
        assert (half.completed, half.left) == (0, waiting)
        assert set(half.lacks) == {"embedding", "directory", "registry"}
    world.share = 0.0
    progress = world.enrich(settings)
    assert (progress.left, requests(bench)) == (0, 0)
    assert progress.completed == half.left
    same(log, bench)
    assert world.enrich(settings).completed == 0


def test_deferred_embedding_comes_to_the_same(log: Log) -> None:
    bench = log.bench("deferred", "deferred")
    settings, world = bench.settings(), World()
    world.run(settings)
    assert not contents(bench.database).tables["vectors"]
    assert contents(bench.database).tables["points"] == log.expected.tables["points"]
    world.enrich(settings)
    same(log, bench)


def test_following_beside_a_worker(log: Log) -> None:
    """Both at work on one file, the services up and down at random; nothing is left over."""
    import threading

    bench = log.bench("beside", "inline")
    settings, world, other = bench.settings(), World(SEED), World(SEED + 1)
    world.share = other.share = 0.4
    stop, results = Event(), []
    settings.data.mkdir(parents=True, exist_ok=True)

    def follow() -> None:
        results.append(enrich(settings, follow=True, stop=stop, services=other))

    thread = threading.Thread(target=follow)
    thread.start()
    world.run(settings)
    other.share = 0.0
    try:
        worker_until(lambda: requests(bench) == 0)
    finally:
        stop.set()
        thread.join()
    assert results[0].left == 0
    same(log, bench)


def worker_until(condition: Callable[[], bool]) -> None:
    import time

    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_prompt_that_the_join_store_forgot_is_found_in_the_graph(log: Log) -> None:
    """The prompts' sides are lost while their responses lack something: the graph has them."""
    bench = log.bench("forgotten", "deferred")
    settings, world = bench.settings(), World()
    world.run(settings)
    with closing(sqlite3.connect(bench.database)) as connection:
        connection.execute("DELETE FROM join_prompts")
        connection.execute("DELETE FROM join_responses")
        connection.commit()
    forget_sides(settings)
    world.enrich(settings)
    same(log, bench)


def forget_sides(settings: Settings) -> None:
    """As if each response had been waiting still when it was queued."""
    import msgspec

    from flows.keys import load_keys
    from flows.stores import open_stores

    with open_stores(settings, load_keys(settings.data, create=False)) as stores:
        queue: Any = stores.requests
        taken = queue.take(1_000_000)
        changed = [
            msgspec.structs.replace(queued.request, side=None)
            for queued in taken
            if queued.request.side is not None and not queued.request.orphan
        ]
        assert changed
        queue.settle([q for q in taken if q.request.side is not None and not q.request.orphan])
        queue.put(changed)


def test_what_the_join_store_lost_for_good_is_completed_from_graph_and_log(log: Log) -> None:
    """It loses everything, again and again: each chunk finds an empty one."""
    from sinks.sqlite.joins import SqliteJoins

    bench = log.bench("lost", "inline")
    settings, world = bench.settings(), World()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteJoins, "_sides_of", lambda *_: {})
        patch.setattr(SqliteJoins, "_responses_of", lambda _, ids: dict.fromkeys(ids, ()))
        world.run(settings)
    before = contents(bench.database)
    assert before.graph != log.expected.graph
    progress = enrich(settings, forgotten=True, services=world)
    assert progress.forgotten > 100
    assert (progress.expired, progress.left) == (0, 0)
    assert_same(log.expected, contents(bench.database))
    assert enrich(settings, forgotten=True, services=world).forgotten == 0


def test_the_worker_stops_reading_while_the_requests_cannot_be_queued(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sinks.sqlite.requests import SqliteRequests

    bench = log.bench("no-queue", "deferred")
    refused = []
    put = SqliteRequests.put

    def flaky(self: SqliteRequests, requests: Sequence[Any], /) -> None:
        if len(refused) < 3:
            refused.append(len(requests))
            raise Unavailable("requests", "locked")
        put(self, requests)

    monkeypatch.setattr(SqliteRequests, "put", flaky)
    world = World()
    world.run(bench.settings())
    assert len(refused) == 3
    world.enrich(bench.settings())
    same(log, bench)


def test_the_requests_may_wait_in_kafka(log: Log, kafka: Any) -> None:
    from sinks.kafka.queues import KafkaQueues
    from tests.sinks.kafka.topics import is_queue, own_topics

    topics = own_topics(kafka.bootstrap, is_queue, partitions=3)
    bench = log.bench(
        "kafka",
        "inline",
        f'[backends]\nqueues = "kafka"\n[kafka]\nbootstrap_servers = "{kafka.bootstrap}"\n'
        f'topic_prefix = "{topics.topic_prefix}"\ngroup = "{topics.group}"\n',
    )
    settings, world = bench.settings(), World(SEED)
    world.share = 0.5
    world.run(settings)
    assert requests(bench) == 0
    # Joining the group of a queue may take longer than it waits for a first request.
    half = next(done for _ in range(10) if (done := world.enrich(settings)).completed)
    assert half.left
    world.share = 0.0
    assert any(world.enrich(settings).left == 0 for _ in range(10))
    found = contents(bench.database)
    # Dead letters are in Kafka as well.
    assert_same(log.expected, found, leave_out=["dead letters"])
    assert versions(bench) == log.versions
    queues = KafkaQueues(topics, bytes(range(32)))
    try:
        assert queues.letters.count() == len(log.expected.tables["dead letters"])
    finally:
        queues.close()
