"""Real servers that die, freeze, refuse, stall and cut, under load: nothing is lost.

By default every server and every kind of fault comes once; ``FAULTS=all`` is every pair of them
(``make server-faults``). Each scenario ends with ``prove`` and with the comparison against an
undisturbed worker on embedded stores, which other tests compare with the reference implementation.
"""

from __future__ import annotations

import heapq
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from flows.bus import KafkaBus
from schemas.log import LogRecord
from tests.e2e.holdings import Holdings, assert_equal, holdings
from tests.faults.fleet import KINDS, Fleet, FleetBench, fleet
from tests.faults.harness import COMMAND, KEY, Bench, Worker
from tests.generate import write_log
from tests.servers.plugin import Run

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.xdist_group("fleet")]

EVENTS = int(os.environ.get("EVENTS", "1500"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
FAST = '[embed]\nmode = "off"\n[pii.detect]\nnames = false\n'
OUTAGE = 10.0
"""Seconds: longer than the retries of a record."""
SLICES = 12
Break = Callable[[Fleet, str], None]


def kill(fleet: Fleet, kind: str) -> None:
    fleet.servers[kind].kill()


def freeze(fleet: Fleet, kind: str) -> None:
    fleet.servers[kind].pause()


def refuse(fleet: Fleet, kind: str) -> None:
    fleet.proxies[kind].refuse()


def hang(fleet: Fleet, kind: str) -> None:
    fleet.proxies[kind].hang()


def slow(fleet: Fleet, kind: str) -> None:
    fleet.proxies[kind].delay(0.05)


def cut(fleet: Fleet, kind: str) -> None:
    fleet.proxies[kind].cut(after=20_000)


FAULTS: dict[str, Break] = {f.__name__: f for f in (kill, freeze, refuse, hang, slow, cut)}
ONCE = [
    ("kafka", "kill"),
    ("redis", "freeze"),
    ("neo4j", "kill"),
    ("elasticsearch", "refuse"),
    ("influxdb", "cut"),
    ("pinecone", "hang"),
    ("neo4j", "slow"),
]
PAIRS = (
    [(kind, fault) for kind in KINDS for fault in FAULTS]
    if os.environ.get("FAULTS") == "all"
    else ONCE
)


class Calm(NamedTuple):
    """The records, and what an undisturbed worker makes of them."""

    records: list[LogRecord]
    holdings: Holdings


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Calm:
    folder = tmp_path_factory.mktemp("calm")
    records = write_log(folder / "log", EVENTS, SEED)
    print(f"\nSEED={SEED} EVENTS={EVENTS}")
    bench = Bench(folder / "bench", folder / "log", FAST)
    bench.run("--json")
    return Calm(records, _holdings(bench))


@pytest.fixture(scope="module")
def servers(server_run: Run) -> Iterator[Fleet]:
    with fleet(server_run) as found:
        yield found


@pytest.fixture
def bench(servers: Fleet, tmp_path: Path) -> Iterator[FleetBench]:
    servers.heal()
    empty(servers)
    yield servers.bench(tmp_path / "bench", FAST)
    servers.heal()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kind", "fault"), PAIRS, ids="-".join)
def test_a_server_that_fails_in_mid_run_costs_nothing(
    servers: Fleet, bench: FleetBench, calm: Calm, kind: str, fault: str
) -> None:
    with ExitStack() as stack:
        worker = stack.enter_context(bench.worker("--follow"))
        drain = stack.enter_context(bench.start((*COMMAND, "reconcile", "--follow")))
        parts = slices(calm.records)
        third = len(parts) // 3
        feed(bench, parts[:third])
        taken(bench, worker, 1)
        FAULTS[fault](servers, kind)
        broken = time.monotonic()
        if kind != "kafka":
            feed(bench, parts[third : 2 * third])
        while time.monotonic() - broken < OUTAGE:
            assert worker.process.poll() is None, worker.err[-3_000:]
            time.sleep(0.2)
        servers.heal()
        feed(bench, parts[2 * third :] if kind != "kafka" else parts[third:])
        drain.signal(signal.SIGTERM)
        drain.wait(0)
        finish(bench, worker, calm)
    check(bench, calm)


@pytest.mark.timeout(1_800)
def test_members_that_come_and_go_lose_nothing(bench: FleetBench, calm: Calm) -> None:
    dice = random.Random(SEED)
    parts = slices(calm.records)
    changes = int(os.environ.get("CHANGES", "6"))
    members: dict[int, Worker] = {}
    with ExitStack() as stack:
        stack.callback(lambda: [w.__exit__(None, None, None) for w in members.values()])
        for step in range(max(changes, len(parts))):
            if step < len(parts):
                feed(bench, [parts[step]])
            if step >= changes:
                continue
            number = dice.randrange(3)
            if number not in members:
                members[number] = bench.member(number)
            elif dice.random() < 0.5:
                members.pop(number).kill()
            else:
                leaving = members.pop(number)
                leaving.signal(signal.SIGTERM)
                # Python itself ends by the signal where it has not come to our handler yet.
                assert leaving.wait().code in (0, -signal.SIGTERM), leaving.err[-2_000:]
            time.sleep(dice.uniform(0, 2.0))
        if not members:
            members[0] = bench.member(0)
        last = next(iter(members.values()))
        for number in [n for n, w in members.items() if w is not last]:
            members.pop(number).kill()
        finish(bench, last, calm)
    check(bench, calm)


def slices(records: Sequence[LogRecord]) -> list[list[LogRecord]]:
    """In step by log time, each partition in its order."""
    partitions: dict[tuple[str, int], list[LogRecord]] = {}
    for record in records:
        partitions.setdefault((record.origin.topic, record.origin.partition), []).append(record)
    ordered = list(heapq.merge(*partitions.values(), key=lambda r: r.origin.timestamp))
    size = -(-len(ordered) // SLICES)
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


def feed(bench: FleetBench, parts: Sequence[Sequence[LogRecord]]) -> None:
    for part in parts:
        bench.produce(part)


def taken(bench: FleetBench, worker: Worker, least: int) -> None:
    """Waits until the worker has taken so many events."""
    worker.until(lambda: bench.health().get("events", 0) >= least, "its first events", 0.05)


def finish(bench: FleetBench, worker: Worker, calm: Calm) -> None:
    """Waits until everything is consumed and nothing is parked, and ends the worker in order."""
    bus = KafkaBus(bench.settings())
    assert sum(bus.ends().values()) == len(calm.records)
    worker.until(lambda: sum(bus.lag().values()) == 0, "an end of the lag", 0.5)
    worker.signal(signal.SIGTERM)
    worker.wait(0)
    for _ in range(10):
        if not any(_backlog(bench).values()):
            break
        bench.command("reconcile")


def check(bench: FleetBench, calm: Calm) -> None:
    """Every store holds what an undisturbed one does, and every offset is accounted for."""
    with bench.signed_in():
        assert_equal(calm.holdings, holdings(bench.settings()))
    bench.command("prove", "--all")


def empty(servers: Fleet) -> None:
    """Neo4j and Pinecone have one database and one index for all tests."""
    from neo4j import GraphDatabase

    address = servers.servers["neo4j"].address
    with GraphDatabase.driver(address.uri) as driver, driver.session() as session:
        session.run("MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 1000 ROWS").consume()
    servers.servers["pinecone"].stop()
    for left in Path(servers.servers["pinecone"].record.folder).glob("*.jsonl"):
        left.unlink()
    servers.servers["pinecone"].start()


def _backlog(bench: FleetBench) -> dict[str, int]:
    from flows.stores import open_stores
    from flows.worker import worker_keys

    with bench.signed_in():
        settings = bench.settings()
        with open_stores(settings, worker_keys(settings)) as stores:
            return {str(store): n for store, n in stores.parking.backlog().items()}


def _holdings(bench: Bench) -> Holdings:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMORY_GRAPH_KEY", KEY)
        return holdings(bench.settings())
