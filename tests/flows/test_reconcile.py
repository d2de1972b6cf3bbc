"""Reconciliation: a dead store holds up no other, nothing is dropped, and it goes on by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flows import reconcile
from flows.control import Control
from flows.reconcile import Lanes, reconciling
from flows.reconciling import MOST_ATTEMPTS, Drain
from flows.settings import Settings
from flows.stores import Stores
from schemas.ports import WRITTEN, Result, Unavailable
from schemas.queues import Refused
from schemas.records import STORES, Record, Store
from sinks.kafka.queues import KafkaQueues
from sinks.sqlite.database import Database
from sinks.sqlite.deadletters import SqliteDeadLetters
from sinks.sqlite.parking import SqliteParking
from tests.awaiting import until
from tests.conformance.records import record
from tests.flows import tiny
from tests.flows.test_faults import beside, stop_run
from tests.flows.test_worker import contents, filled, lag, run
from tests.servers.proxy import Proxy
from tests.sinks.kafka.topics import is_queue, own_topics

KEY = bytes(range(32))
QUICK = Drain(follow=True, first=0.05, longest=0.2, poll=0.05)
ONCE = Drain(patience=30.0, first=0.05)


class Memory:
    """A store that does as it is told."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.held: dict[str, Record] = {}
        self.calls = 0
        self.answer: Callable[[Record], Result] = lambda record: WRITTEN
        self.open = threading.Event()
        self.open.set()

    def write(self, records: Sequence[Record], /) -> Sequence[Result]:
        self.calls += 1
        self.open.wait()
        results = [self.answer(r) for r in records]
        for written, result in zip(records, results, strict=True):
            if result.status == "written":
                self.held[written.stamp.id] = written
        return results


class World(SimpleNamespace):
    parking: Any
    letters: Any
    sinks: dict[Store, Memory]

    def park(self, store: Store, count: int, start: int = 0) -> set[str]:
        records = [record(store, n) for n in range(start, start + count)]
        self.parking.park(store, [(r, "full") for r in records])
        return {r.stamp.id for r in records}

    def once(self, drain: Drain = ONCE) -> Any:
        lanes = Lanes(self, STORES, drain)  # type: ignore[arg-type]
        lanes.start()
        lanes.join()
        if lanes.failure is not None:
            raise lanes.failure
        return lanes.drained

    @contextmanager
    def following(self, drain: Drain = QUICK) -> Iterator[Lanes]:
        lanes = Lanes(self, STORES, drain)  # type: ignore[arg-type]
        lanes.start()
        try:
            yield lanes
        finally:
            for sink in self.sinks.values():
                sink.open.set()
            lanes.stop()
            lanes.join()
        assert lanes.failure is None


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.servers)])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    sinks = {store: Memory(store) for store in STORES}
    if request.param == "sqlite":
        database = Database.open(tmp_path / "memory.db")
        letters = SqliteDeadLetters(database, KEY)
        yield World(parking=SqliteParking(database), letters=letters, sinks=sinks)
        database.close()
        return
    own = own_topics(request.getfixturevalue("kafka").bootstrap, is_queue, partitions=2)
    queues = KafkaQueues(own, KEY)
    yield World(parking=queues.parking, letters=queues.letters, sinks=sinks)
    queues.close()


def test_once_drains_every_queue_and_says_so(world: World) -> None:
    expected = {store: world.park(store, 700 + n) for n, store in enumerate(STORES)}
    drained = world.once()
    for store in STORES:
        assert set(world.sinks[store].held) == expected[store]
        assert drained[store].written == len(expected[store])
    assert world.parking.backlog() == dict.fromkeys(STORES, 0)
    assert all(d.written == 0 for d in world.once().values())


def test_once_leaves_what_its_store_does_not_take_and_says_why(world: World) -> None:
    expected = {store: world.park(store, 30) for store in STORES}
    world.sinks["graph"].answer = lambda record: Result("unavailable", "refused")
    drained = world.once()
    assert drained["graph"].codes.keys() == {"refused"}
    assert world.parking.backlog() == {store: 30 * (store == "graph") for store in STORES}
    world.sinks["graph"].answer = lambda record: WRITTEN
    assert world.once()["graph"].written == 30
    assert all(set(world.sinks[store].held) == expected[store] for store in STORES)


def test_once_a_store_that_can_take_but_a_few_is_asked_again(world: World) -> None:
    """It learns of its slowness by failing; whoever began anew each time would never come on."""
    expected = world.park("graph", 30)
    most = 1_000

    def slow(records: Sequence[Record], /) -> Sequence[Result]:
        nonlocal most
        if most > 10:
            most //= 20
            return [Result("unavailable", "too_slow")] * len(records)
        return Memory.write(sink, records)

    sink = world.sinks["graph"]
    sink.write = slow  # type: ignore[method-assign]
    drained = world.once()
    assert (drained["graph"].written, drained["graph"].codes) == (30, {})
    assert set(sink.held) == expected
    assert world.parking.backlog()["graph"] == 0


def test_a_store_that_is_down_holds_up_no_other_and_drains_when_it_is_back(world: World) -> None:
    expected = {store: world.park(store, 600) for store in STORES}
    world.sinks["vector"].answer = lambda record: Result("unavailable", "refused")
    world.sinks["search"].open.clear()  # It hangs.
    with world.following():
        for store in ("graph", "timeseries"):
            until(lambda store=store: set(world.sinks[store].held) == expected[store])  # type: ignore[misc]
        expected["graph"] |= world.park("graph", 100, start=5_000)
        until(lambda: set(world.sinks["graph"].held) == expected["graph"])
        calls = world.sinks["vector"].calls
        until(lambda: world.sinks["vector"].calls > calls + 3)
        assert world.sinks["vector"].held == world.sinks["search"].held == {}
        world.sinks["vector"].answer = lambda record: WRITTEN
        world.sinks["search"].open.set()
        until(lambda: world.parking.backlog() == dict.fromkeys(STORES, 0))
    assert all(set(world.sinks[store].held) == expected[store] for store in STORES)
    assert world.letters.count() == 0


def test_a_queue_is_drained_as_soon_as_the_worker_finds_its_store_back(world: World) -> None:
    expected = world.park("graph", 30)
    sink, control = world.sinks["graph"], Control(quiet=True)
    sink.answer = lambda record: Result("unavailable", "refused")
    control.circuit("graph", "open")
    with reconciling(world, control, Drain(follow=True, first=1_000.0), every=0.02):  # type: ignore[arg-type]
        until(lambda: sink.calls > 0)
        sink.answer = lambda record: WRITTEN
        control.circuit("graph", "closed")
        until(lambda: set(sink.held) == expected)


def test_no_dataflow_outlives_its_worker(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that still runs when the interpreter ends aborts the process. A store hangs, and what
    another has refused cannot become a dead letter."""
    monkeypatch.setattr(reconcile, "LEAVING", 0.1)
    monkeypatch.setattr(reconcile, "LETTING_GO", 60.0)
    asked = threading.Event()

    class Full:
        def put(self, letters: Sequence[object]) -> None:
            asked.set()
            raise Unavailable("database", "full")

    for store in ("graph", "search"):
        world.park(store, 3)
    world.sinks["graph"].open.clear()
    world.sinks["search"].answer = lambda record: Result("rejected", "too_large")
    stores: Any = SimpleNamespace(parking=world.parking, sinks=world.sinks, letters=Full())
    with reconciling(stores, Control(quiet=True), QUICK, every=0.02):
        until(lambda: world.sinks["graph"].calls and asked.is_set())
    assert not [t.name for t in threading.enumerate() if t.name.startswith("reconcile-")]
    world.sinks["graph"].open.set()
    until(lambda: not [t for t in threading.enumerate() if t.name.startswith("write-")])
    assert world.parking.backlog() == {"graph": 3, "vector": 0, "timeseries": 0, "search": 3}


def test_anybody_may_see_what_waits_without_taking_it(world: World) -> None:
    world.park("graph", 300)
    world.sinks["graph"].open.clear()
    with world.following():
        until(lambda: world.sinks["graph"].calls > 0)
        expected = {(record("graph", n).stamp.record_id, 1) for n in range(300)}
        assert set(world.parking.waiting("graph")) == expected
        assert list(world.parking.waiting("search")) == []
        world.sinks["graph"].open.set()
        until(lambda: world.parking.backlog()["graph"] == 0)
        assert list(world.parking.waiting("graph")) == []


def test_a_stop_in_mid_drain_loses_nothing(world: World) -> None:
    expected = world.park("graph", 3_000)
    with world.following():
        until(lambda: len(world.sinks["graph"].held) > 0)
    left = world.parking.backlog()["graph"]
    written = set(world.sinks["graph"].held)
    assert len(expected - written) <= left
    world.once()
    assert set(world.sinks["graph"].held) == expected
    assert world.parking.backlog()["graph"] == 0


def test_what_a_store_refuses_for_good_becomes_a_dead_letter(world: World) -> None:
    world.park("graph", 10)
    bad = record("graph", 4)

    def answer(given: Record) -> Result:
        refused = given.stamp.id == bad.stamp.id
        return Result("rejected", "too_big") if refused else WRITTEN

    world.sinks["graph"].answer = answer
    drained = world.once()["graph"]
    assert (drained.written, drained.rejected) == (9, 1)
    (letter,) = world.letters.list()
    assert (letter.kind, letter.store, letter.code) == ("record", "graph", "too_big")
    assert world.letters.open(letter.sequence) == Refused("graph", bad, "too_big")


def test_a_poisoned_record_in_a_batch_costs_only_itself(world: World) -> None:
    expected = world.park("search", 50)
    bad = record("search", 7).stamp.id

    def answer(given: Record) -> Result:
        if given.stamp.id == bad:
            raise RuntimeError("canary-5a3c")
        return WRITTEN

    world.sinks["search"].answer = answer
    world.once()
    assert set(world.sinks["search"].held) == expected - {bad}
    assert world.letters.counts() == {"internal_error": 1}


def test_a_record_that_makes_its_store_raise_each_time_becomes_a_dead_letter(world: World) -> None:
    world.park("graph", 1)
    raised = 0

    def answer(given: Record) -> Result:
        nonlocal raised
        raised += 1
        raise RuntimeError("canary-5a3c")

    world.sinks["graph"].answer = answer
    with world.following():
        until(lambda: world.letters.count() == 1)
        until(lambda: world.parking.backlog()["graph"] == 0)
    assert world.letters.counts() == {"internal_error": 1}
    assert raised == 2 * MOST_ATTEMPTS, "each time with its batch and alone"


def test_one_record_that_never_passes_does_not_stop_those_behind_it(world: World) -> None:
    expected = world.park("graph", 20)
    stuck = record("graph", 0).stamp.id

    def answer(given: Record) -> Result:
        busy = given.stamp.id == stuck
        return Result("unavailable", "busy") if busy else WRITTEN

    world.sinks["graph"].answer = answer
    with world.following():
        until(lambda: set(world.sinks["graph"].held) == expected - {stuck})
        calls = world.sinks["graph"].calls
        until(lambda: world.sinks["graph"].calls > calls + 5)
        expected |= world.park("graph", 20, start=100)
        until(lambda: set(world.sinks["graph"].held) == expected - {stuck})
        until(lambda: world.parking.backlog()["graph"] == 1)
        world.sinks["graph"].answer = lambda record: WRITTEN
        until(lambda: world.parking.backlog()["graph"] == 0)
    assert set(world.sinks["graph"].held) == expected


def test_a_store_is_not_called_before_it_asked_to_be(world: World) -> None:
    world.park("graph", 1)
    answered: list[float] = []

    def answer(given: Record) -> Result:
        answered.append(time.monotonic())
        busy = len(answered) == 1
        return Result("unavailable", "throttled", retry_after=1.0) if busy else WRITTEN

    world.sinks["graph"].answer = answer
    with world.following():
        until(lambda: len(world.sinks["graph"].held) == 1)
    assert answered[1] - answered[0] >= 1.0


def test_no_broker_is_said_at_once_and_waited_for(proxied_kafka: tuple[Any, Proxy]) -> None:
    server, between = proxied_kafka
    own = own_topics(server.address.bootstrap, is_queue)
    own = own.model_copy(update={"bootstrap_servers": between.address})
    queues = KafkaQueues(own, KEY)
    sinks = {store: Memory(store) for store in STORES}
    world = World(parking=queues.parking, letters=queues.letters, sinks=sinks)
    expected = world.park("graph", 500)
    between.refuse()
    with pytest.raises(Unavailable) as down:
        world.once()
    assert down.value.what == "kafka"
    with world.following() as lanes:
        until(lambda: bool(lanes.troubles))
        between.heal()
        until(lambda: set(sinks["graph"].held) == expected)
        until(lambda: not lanes.troubles)
    queues.close()


def test_a_following_worker_drains_what_a_store_owed_by_itself(tmp_path: Path) -> None:
    calm, events = filled(tmp_path / "calm", 60)
    run(calm)
    settings, _ = filled(tmp_path / "fresh", 60)
    quick = settings.delivery.model_copy(update={"deadline_seconds": 0.1})
    settings = settings.model_copy(update={"delivery": quick})
    opened: list[Stores] = []

    def build(given: Settings, keys: Any, stores: Stores) -> Any:
        stores.sinks["search"].close()  # It is unavailable from now on.
        opened.append(stores)
        return tiny.build(given, keys, stores)

    def heal() -> None:
        until(lambda: bool(opened) and opened[0].parking.backlog()["search"] > 0)
        opened[0].sinks["search"]._closed = False  # type: ignore[attr-defined]
        until(lambda: lag(settings) == 0 and not any(opened[0].parking.backlog().values()))
        stop_run()

    wait = beside(heal)
    summary = run(settings, follow=True, build=build)
    wait()
    assert summary.written["search"]["parked"] > 0
    assert contents(settings, events) == contents(calm, events)
    assert not [t.name for t in threading.enumerate() if t.name.startswith("reconcile")]


def test_a_worker_s_end_waits_for_no_queue_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reconcile, "LEAVING", 0.2)
    asked, go = threading.Event(), threading.Event()

    class Hanging:
        def backlog(self) -> dict[str, int]:
            asked.set()
            assert go.wait(60)
            return dict.fromkeys(STORES, 0)

    stores: Any = SimpleNamespace(parking=Hanging())
    with reconcile.reconciling(stores, Control(), every=0.0):
        assert asked.wait(30)
    assert not go.is_set()
    go.set()
