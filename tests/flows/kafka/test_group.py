"""Members of one group, started, stopped and killed under load: nothing is lost.

GROUP_STEPS (starts, stops and kills) makes a longer run, GROUP_SEED repeats one.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from sinks.kafka.settings import KafkaSettings
from tests.flows.kafka.world import PARTITIONS, World, make_topics, until

Place = tuple[str, int, int]


class Load:
    """Produces steadily in a thread; knows every acknowledged record."""

    def __init__(self, settings: KafkaSettings) -> None:
        self.acknowledged: set[Place] = set()
        self._prefix = settings.topic_prefix
        self._producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "enable.idempotence": True,
                "reconnect.backoff.max.ms": 500,
                "linger.ms": 5,
                "log_level": 0,
            }
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._ended.wait(0.01):
            for topic, count in PARTITIONS.items():
                for _ in range(5):
                    number += 1
                    self._producer.produce(
                        self._prefix + topic, b"{}", partition=number % count, timestamp=number,
                        on_delivery=self._report,
                    )  # fmt: skip
            self._producer.poll(0)

    def _report(self, error: object, message: Any) -> None:
        if error is None:
            topic = message.topic().removeprefix(self._prefix)
            self.acknowledged.add((topic, message.partition(), message.offset()))

    def stop(self) -> set[Place]:
        self._ended.set()
        self._thread.join()
        assert self._producer.flush(60) == 0
        return self.acknowledged


class Fleet:
    """Processes of :mod:`tests.flows.kafka.member`, and what they have written."""

    def __init__(self, settings: KafkaSettings, folder: Path) -> None:
        self.settings = settings
        self.record = folder / "record"
        self.hold = folder / "hold"
        self.folder = folder
        self.members: list[subprocess.Popen[bytes]] = []
        self.started = 0

    def start(self, *options: str, **changes: Any) -> subprocess.Popen[bytes]:
        settings = self.settings.model_copy(update=changes).model_dump_json()
        self.started += 1
        path = self.folder / f"log{self.started}"
        with path.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.flows.kafka.member", settings, str(self.record),
                 "--hold", str(self.hold), *options],
                stdout=log,
                stderr=log,
            )  # fmt: skip
        self.members.append(process)
        until(lambda: b"ready" in path.read_bytes() or process.poll() is not None)
        return process

    def end(self, process: subprocess.Popen[bytes], number: signal.Signals) -> int:
        process.send_signal(number)
        self.members.remove(process)
        return process.wait(60)

    def written(self) -> Counter[Place]:
        """How often each record was written, by any member."""
        if not self.record.exists():
            return Counter()
        whole, _, _ = self.record.read_text().rpartition("\n")  # The last may be in the writing.
        lines = (line.split() for line in whole.splitlines())
        return Counter((topic, int(number), int(offset)) for topic, number, offset in lines)

    def drain(self) -> None:
        """Reads the rest and ends with nothing left."""
        process = self.start("--once")
        try:
            code = process.wait(60)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGABRT)  # With a traceback of every thread.
            process.wait(60)
            raise AssertionError(self.logs()) from None
        assert code == 0, self.logs()
        self.members.remove(process)

    def logs(self) -> str:
        return "\n".join(p.read_text()[-3_000:] for p in sorted(self.folder.glob("log*")))

    def close(self) -> None:
        for process in self.members:
            process.kill()
            process.wait()
        print(self.logs())


@contextmanager
def fleet_of(settings: KafkaSettings, folder: Path) -> Iterator[Fleet]:
    fleet = Fleet(settings, folder)
    try:
        yield fleet
    finally:
        fleet.close()


@pytest.fixture
def fleet(settings: KafkaSettings, tmp_path: Path) -> Iterator[Fleet]:
    with fleet_of(settings, tmp_path) as made:
        yield made


def grows(fleet: Fleet, by: int = 300) -> Callable[[], bool]:
    goal = fleet.written().total() + by
    return lambda: fleet.written().total() >= goal


def nothing_lost(fleet: Fleet, load: Load) -> None:
    """Everything acknowledged was written, everything written is committed."""
    acknowledged = load.stop()
    fleet.drain()
    assert not World(fleet.settings).lag()
    missing = acknowledged - set(fleet.written())
    assert not missing, f"{len(missing)} of {len(acknowledged)} lost; {sorted(missing)[:10]}"


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
def test_members_that_come_stop_and_die_lose_nothing(fleet: Fleet, protocol: str) -> None:
    seed = int(os.environ.get("GROUP_SEED", random.randrange(1 << 32)))
    steps = int(os.environ.get("GROUP_STEPS", "4"))
    print(f"GROUP_SEED={seed}")
    rng = random.Random(seed)
    fleet.settings = fleet.settings.model_copy(
        update={"protocol": protocol, "session_timeout_ms": 2_000}
    )
    load = Load(fleet.settings)
    for _ in range(2):
        fleet.start(max_poll_interval_ms=10_000)
    until(grows(fleet))
    for _ in range(steps):
        if len(fleet.members) < 3 and (not fleet.members or rng.random() < 0.5):
            fleet.start(max_poll_interval_ms=10_000)
        else:
            number = rng.choice((signal.SIGKILL, signal.SIGTERM))
            code = fleet.end(rng.choice(fleet.members), number)
            assert code == (0 if number == signal.SIGTERM else -9), fleet.logs()
            if not fleet.members:
                fleet.start(max_poll_interval_ms=10_000)
        until(grows(fleet))
    for process in list(fleet.members):
        assert fleet.end(process, signal.SIGTERM) == 0, fleet.logs()
    nothing_lost(fleet, load)


def test_a_static_member_restarts_without_moving_anything(fleet: Fleet) -> None:
    static = {"protocol": "classic", "session_timeout_ms": 20_000, "max_poll_interval_ms": 20_000}
    load = Load(fleet.settings)
    first = fleet.start(instance_id="a", **static)
    fleet.start(instance_id="b", **static)
    until(grows(fleet))
    fleet.end(first, signal.SIGKILL)
    fleet.start(instance_id="a", **static)
    until(grows(fleet, 1_000))
    for process in list(fleet.members):
        assert fleet.end(process, signal.SIGTERM) == 0, fleet.logs()
    # What belongs to a and b is theirs until their sessions end: they read on themselves.
    acknowledged = load.stop()
    last = fleet.start("--once", instance_id="a", **static)
    other = fleet.start("--once", instance_id="b", **static)
    assert (last.wait(120), other.wait(120)) == (0, 0), fleet.logs()
    assert not acknowledged - set(fleet.written())


def test_a_second_process_of_one_name_ends_the_first(fleet: Fleet) -> None:
    static = {"protocol": "classic", "session_timeout_ms": 20_000, "max_poll_interval_ms": 20_000}
    load = Load(fleet.settings)
    first = fleet.start(instance_id="a", **static)
    until(grows(fleet))
    fleet.start(instance_id="a", **static)
    assert first.wait(60) == 1
    assert "kafka.instance_id" in fleet.logs()
    load.stop()


def test_a_member_whose_stores_are_down_stays_and_goes_on(fleet: Fleet) -> None:
    load = Load(fleet.settings)
    fleet.start(max_poll_interval_ms=3_000, protocol="consumer")
    until(grows(fleet))
    fleet.hold.touch()
    # Twice the longest time between two polls.
    threading.Event().wait(6.0)
    held = fleet.written().total()
    until(lambda: len(load.acknowledged) > held + 500)
    fleet.hold.unlink()
    until(grows(fleet, 1_000))
    (member,) = fleet.members
    assert member.poll() is None
    assert "group_moved_on" not in fleet.logs()
    assert "revoked" not in fleet.logs()
    assert fleet.end(member, signal.SIGTERM) == 0
    nothing_lost(fleet, load)


def test_a_broker_that_dies_under_load_loses_nothing(
    own_server: Callable[..., Any], tmp_path: Path
) -> None:
    server = own_server("kafka")
    settings = KafkaSettings(bootstrap_servers=server.address.bootstrap, group="broker")
    make_topics(settings)
    with fleet_of(settings, tmp_path) as fleet:
        load = Load(settings)
        fleet.start()
        fleet.start()
        until(grows(fleet))
        server.kill()
        server.restart()
        until(grows(fleet))
        assert all(p.poll() is None for p in fleet.members), fleet.logs()
        for process in list(fleet.members):
            assert fleet.end(process, signal.SIGTERM) == 0, fleet.logs()
        nothing_lost(fleet, load)
