"""Real servers that die, freeze, refuse, stall and cut, under load: nothing is lost.

By default every server and every kind of fault comes once; ``FAULTS=all`` is every pair of them
(``make server-faults``). Each scenario ends with ``prove`` and with the comparison against an
undisturbed worker on embedded stores, which other tests compare with the reference implementation.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from tests.faults.fleet import KINDS, UNAVAILABLE, Fleet, FleetBench
from tests.faults.harness import COMMAND, Worker
from tests.faults.load import SEED, Calm, check, feed, finish, slices, taken

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.xdist_group("fleet")]

OUTAGE = 10.0
"""Seconds: longer than the retries of a record."""
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


def ended_as_asked(process: Worker) -> bool:
    """Python itself ends by the signal before our handler is there; and who is waiting for a server
    that is slow to come back says so, in time and in order."""
    ended = process.wait()
    if ended.code == UNAVAILABLE:
        return "stop_deadline_passed" not in ended.err and "Traceback" not in ended.err
    return ended.code in (0, -signal.SIGTERM)


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize(("kind", "fault"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
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
        assert ended_as_asked(drain), drain.err[-2_000:]
        finish(bench, worker, calm)
    check(bench, calm)


@pytest.mark.timeout(1_800)
def test_members_that_come_and_go_lose_nothing(
    bench: FleetBench, calm: Calm, record_property: Callable[[str, Any], None]
) -> None:
    dice = random.Random(SEED)
    parts = slices(calm.records)
    changes = int(os.environ.get("CHANGES", "6"))
    record_property("changes", changes)
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
                assert ended_as_asked(leaving), leaving.err[-2_000:]
            time.sleep(dice.uniform(0, 2.0))
        if not members:
            members[0] = bench.member(0)
        last = next(iter(members.values()))
        for number in [n for n, w in members.items() if w is not last]:
            members.pop(number).kill()
        finish(bench, last, calm)
    check(bench, calm)
