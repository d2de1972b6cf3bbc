"""``memory-graph reconcile --follow`` as a real process: killed in mid-drain, it loses nothing."""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flows.keys import derive
from schemas.queues import Parking
from schemas.records import Store
from sinks.kafka.queues import KafkaQueues
from sinks.sqlite.database import Database
from sinks.sqlite.parking import SqliteParking
from tests.conformance.records import record
from tests.sinks.kafka.topics import is_queue, own_topics

MASTER = bytes(range(32))
TABLES: dict[Store, str] = {"graph": "graph_record", "search": "search_document"}
COUNT = 4_000


@pytest.fixture(params=["sqlite", pytest.param("kafka", marks=pytest.mark.servers)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Parking]]:
    """A settings file, and the queue that it names."""
    database = Database.open(tmp_path / "memory.db")
    lines = ["[worker]", 'data = "."', "[backends]", f'queues = "{request.param}"']
    queues = None
    parking: Parking
    if request.param == "kafka":
        own = own_topics(request.getfixturevalue("kafka").bootstrap, is_queue, partitions=2)
        queues = KafkaQueues(own, derive(MASTER).dead_letters)
        lines += ["[kafka]"] + [
            f'{name} = "{getattr(own, name)}"'
            for name in ("bootstrap_servers", "topic_prefix", "group")
        ]
        parking = queues.parking
    else:
        parking = SqliteParking(database)
    config = tmp_path / "memory-graph.toml"
    config.write_text("\n".join(lines))
    yield config, parking
    if queues is not None:
        queues.close()
    database.close()


def start(config: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli.app", "reconcile", "--config", config, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"MEMORY_GRAPH_KEY": base64.b64encode(MASTER).decode()},
    )


def stored(config: Path, store: Store) -> int:
    with closing(sqlite3.connect(config.parent / "memory.db")) as connection:
        return int(connection.execute(f"SELECT count(*) FROM {TABLES[store]}").fetchone()[0])


def until(met: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not met():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "not within 120 s"
        time.sleep(0.01)


def test_killed_in_mid_drain_it_loses_nothing(bench: tuple[Path, Parking]) -> None:
    config, parking = bench
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    for store in TABLES:
        parking.park(store, [(record(store, n), "full") for n in range(COUNT)])
    for _ in range(2):
        process = start(config, "--follow")
        goal = stored(config, "graph") + rng.randrange(1, 1_000)
        until(lambda goal=goal: stored(config, "graph") >= min(goal, COUNT), process)  # type: ignore[misc]
        process.kill()
        process.communicate()
    process = start(config, "--json")
    out, error = process.communicate(timeout=200)
    assert process.returncode == 0, error
    assert all(of["left"] == 0 for of in json.loads(out).values()), out
    for store in TABLES:
        assert stored(config, store) == COUNT
    assert set(parking.backlog().values()) == {0}


def test_a_stop_is_orderly_and_prints_what_was_done(bench: tuple[Path, Parking]) -> None:
    config, parking = bench
    parking.park("search", [(record("search", n), "full") for n in range(300)])
    process = start(config, "--follow", "--store", "search", "--json")
    until(lambda: stored(config, "search") == 300, process)
    until(lambda: parking.backlog()["search"] == 0, process)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    result: dict[str, Any] = json.loads(out)
    assert result == {"search": {"written": 300, "rejected": 0, "left": 0, "codes": {}}}


def test_an_unknown_store_is_named(tmp_path: Path) -> None:
    process = start(tmp_path / "none.toml", "--store", "grahp")
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "grahp" in error
    assert "timeseries" in error
