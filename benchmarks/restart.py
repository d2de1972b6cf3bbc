"""From the SIGKILL of a worker under load to the first event that its next life writes."""

from __future__ import annotations

import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import events
from benchmarks.commits import Commits
from benchmarks.corpus import Corpus
from benchmarks.lives import (
    Life,
    Start,
    file_committed,
    group_committed,
    has_row,
    logged,
    mapped,
    serves,
    written,
)
from benchmarks.machine import ROOT
from benchmarks.openloop import Sender
from benchmarks.servers import MEMORY_GRAPH, Installation, Servers, running
from benchmarks.soak import WITHOUT_MODELS
from deploy.local.ports import free_ports
from flows.filelog import LogWriter, create_topics

ROUNDS = int(os.environ.get("ROUNDS", "5"))
CHARACTERS = 1_000
RATE = 50.0
"""Events a second, all the while."""
TEXTS = 4_000
SESSION_MS = 4_000
"""Silence after which the group takes a member for dead, here; the default of a broker is 45 s,
the specification's 30 s."""
HEARTBEAT_MS = 800
JOURNAL = "inflight"
STATIC: dict[str, object] = {
    "protocol": "classic",
    "instance_id": "bench",
    "session_timeout_ms": SESSION_MS,
}
BROKER = {
    "group.consumer.session.timeout.ms": str(SESSION_MS),
    "group.consumer.heartbeat.interval.ms": str(HEARTBEAT_MS),
}
ONE_ROW = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1])
connection.execute("CREATE TABLE bare (id INTEGER)")
connection.execute("INSERT INTO bare VALUES (1)")
connection.commit()
time.sleep(600)
"""
Pairs = Iterator[tuple[str, events.Event]]
Row = dict[str, Any]


def measure(corpus: Corpus) -> dict[str, Any]:
    """``ROUNDS`` kills of each, at moments of their own, the next life started at once.

    Of a worker without models: on embedded stores and files; on the real servers as the only
    member of a group with the protocol ``consumer``; and there as a static member (``classic``),
    which gets its partitions back without waiting for the group to miss it. Beside each, what takes
    its place without it: a bare consumer that commits what it polls, with the same group settings;
    and for the embedded one a Python that commits one row to SQLite.

    ``listens``: settings are read, the pages of health and metrics are served. ``built``: stages
    are loaded and stores opened. ``assigned``: the group has given it partitions. ``written``: a
    store has confirmed a record. ``committed``: an offset of this life is stored, so that an event
    is in all stores.
    """
    texts = corpus.pieces(CHARACTERS, TEXTS)
    rows = {"embedded": _embedded(texts), "embedded, bare": _one_row()}
    with running(kafka=BROKER) as servers:
        protocols: dict[str, dict[str, object]] = {"consumer": {}, "static": STATIC}
        for name, kafka in protocols.items():
            place = servers.installation(name, {"kafka": kafka}, WITHOUT_MODELS)
            with _produced(place, texts):
                rows[f"servers, {name}"] = _worker(servers, place)
                rows[f"servers, {name}, bare"] = _consumer(servers, place, kafka)
    return {"rounds": ROUNDS, "events_per_second": RATE, "session_ms": SESSION_MS, "rows": rows}


def _killed(start: Start) -> Row:
    """Median and greatest of each step's time since the kill."""
    dice = random.Random(0)
    found: list[dict[str, float]] = []
    life = start()
    try:
        life.watch()
        for _ in range(ROUNDS):
            time.sleep(dice.uniform(0.5, 1.5))
            moment = time.time()
            life.kill()
            life = start()
            found.append({name: at - moment for name, at in life.watch().items()})
    finally:
        life.kill()
    return {
        name: {
            "median": round(statistics.median(times[name] for times in found), 3),
            "greatest": round(max(times[name] for times in found), 3),
        }
        for name in found[0]
    }


def _worker(servers: Servers, place: Installation) -> Row:
    log = place.config.with_name("worker.log")
    journal = place.config.with_name("worker") / JOURNAL
    commits = Commits(servers.bootstrap, place.group)

    def start() -> Life:
        (port,) = free_ports(1)
        with log.open("wb") as told:
            process = place.start("run", "--follow", "--metrics-port", str(port), stderr=told)
        steps = {
            "listens": serves(port),
            "built": mapped(process, journal),
            "assigned": logged(log, "assigned"),
            "written": written(port),
            "committed": group_committed(commits, "assigned"),
        }
        return Life(process, steps)

    try:
        return _killed(start)
    finally:
        commits.close()


def _consumer(servers: Servers, place: Installation, kafka: Mapping[str, object]) -> Row:
    group = f"{place.group}-bare"
    properties = {"bootstrap.servers": servers.bootstrap, "group.id": group}
    if kafka:
        properties |= {
            "group.protocol": "classic",
            "group.instance.id": str(kafka["instance_id"]),
            "session.timeout.ms": str(kafka["session_timeout_ms"]),
            "partition.assignment.strategy": "cooperative-sticky",
        }
    else:
        properties |= {"group.protocol": "consumer"}
    topics = [place.prefix + events.PROMPTS, place.prefix + events.RESPONSES]
    log = place.config.with_name("bare.log")
    commits = Commits(servers.bootstrap, group)
    arguments = json.dumps(topics), json.dumps(properties)
    command = [sys.executable, "-m", "benchmarks.bareconsumer", *arguments]

    def start() -> Life:
        with log.open("wb") as told:
            process = subprocess.Popen(command, cwd=ROOT, stdout=told)
        steps = {
            "assigned": logged(log, "assigned"),
            "committed": group_committed(commits, "assigned"),
        }
        return Life(process, steps)

    try:
        return _killed(start)
    finally:
        commits.close()


def _embedded(texts: Sequence[str]) -> Row:
    with TemporaryDirectory(prefix="bench-") as name:
        data = Path(name)
        create_topics(data / "log")
        command = [*MEMORY_GRAPH, "run", "--follow", "--data", name]

        def start() -> Life:
            (port,) = free_ports(1)
            committed = file_committed(data)
            process = subprocess.Popen(
                [*command, "--metrics-port", str(port)],
                cwd=ROOT,
                env=os.environ | WITHOUT_MODELS,
                stderr=subprocess.DEVNULL,
            )
            steps = {
                "listens": serves(port),
                "built": mapped(process, data / JOURNAL),
                "written": written(port),
                "committed": committed,
            }
            return Life(process, steps)

        with _appended(data / "log", texts):
            return _killed(start)


def _one_row() -> Row:
    """A Python that commits one row to a file."""
    with TemporaryDirectory(prefix="bench-") as name:
        path = Path(name) / "bare.db"

        def start() -> Life:
            path.unlink(missing_ok=True)
            command = [sys.executable, "-c", ONE_ROW, str(path)]
            process = subprocess.Popen(command, cwd=ROOT)
            return Life(process, {"committed": has_row(path)})

        return _killed(start)


@contextmanager
def _produced(place: Installation, texts: Sequence[str]) -> Iterator[None]:
    """Events come to Kafka all the while."""
    sender = Sender(place.bootstrap, place.prefix)
    with _background(texts, lambda waiting: sender.send(waiting, sys.maxsize, RATE)):
        yield


@contextmanager
def _appended(log: Path, texts: Sequence[str]) -> Iterator[None]:
    """Events come to the log in files all the while."""
    writer = LogWriter(log)

    def append(waiting: Pairs) -> None:
        for topic, event in waiting:
            now = time.time_ns() // 1_000_000
            writer.append([events.record(topic, events.moved(event, now), now)])
            time.sleep(1 / RATE)

    with _background(texts, append):
        yield


@contextmanager
def _background(texts: Sequence[str], feed: Callable[[Pairs], object]) -> Iterator[None]:
    """Feeds conversations, of which no event comes twice, until the block ends."""
    over = threading.Event()
    rounds = (events.conversations(texts, seed) for seed in itertools.count())
    waiting = itertools.takewhile(
        lambda _: not over.is_set(), itertools.chain.from_iterable(rounds)
    )
    thread = threading.Thread(target=feed, args=(waiting,), name="feed")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    steps = ("listens", "built", "assigned", "written", "committed")
    lines = [
        f"| seconds after SIGKILL, median (greatest) of {result['rounds']} | "
        + " | ".join(steps)
        + " | to bare |",
        "|---|" + "---|" * (len(steps) + 1),
    ]
    rows = result["rows"]
    for name, row in rows.items():
        found = [row.get(step) for step in steps]
        cells = [f"{x['median']:.2f} ({x['greatest']:.2f})" if x else "" for x in found]
        bare = rows.get(f"{name}, bare")
        if bare:
            ratio = row["committed"]["median"] / bare["committed"]["median"]
            cells.append(f"**{ratio:.1f}×**")
        lines.append(f"| {name} | {' | '.join(cells)} |" + ("" if bare else " |"))
    return "\n".join(lines)
