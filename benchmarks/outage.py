"""Each store in turn is killed under load: what the other three do meanwhile, and how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from benchmarks.corpus import Corpus
from benchmarks.feeding import Feed, Worker, Written, working
from benchmarks.machine import ROOT
from benchmarks.servers import Installation, Servers, running
from flows.backends import Folder, open_queues
from flows.bus import KafkaBus
from flows.prove import prove
from flows.settings import Settings
from flows.stores import opened_views
from flows.views.export import hash_of
from flows.worker import worker_keys
from schemas.queues import ParkingQueue
from schemas.records import STORES, Store

SERVERS: dict[Store, str] = {
    "graph": "neo4j",
    "vector": "pinecone",
    "timeseries": "influxdb",
    "search": "elasticsearch",
}
CHARACTERS = 1_000
BATCH = 1_000
WARM = float(os.environ.get("WARM", "5"))
"""Seconds for which the load was what it is before anything is counted."""
BEFORE = float(os.environ.get("BEFORE", "8"))
OUTAGE = float(os.environ.get("OUTAGE", "16"))
"""Seconds of an outage: longer than a record is tried."""
PATIENCE = 180.0
POLL = 0.25
SECTIONS: dict[str, dict[str, object]] = {
    "pii.detect": {"names": False},
    # Deadlines by default, not those with which deploy.local lets servers start cold; a store that
    # is back is found sooner than by default, so that four of them take minutes.
    "delivery": {
        "deadline_seconds": 5.0,
        "breaker_timeout_seconds": 5.0,
        "breaker_recovery_seconds": 10.0,
    },
    "metrics": {"port": 0},
}
Row = dict[str, Any]


def measure(corpus: Corpus) -> dict[str, Any]:
    """One worker follows a log that never runs dry, with vectors that no model makes, and drains
    beside its work what was parked.

    Each store's server is killed (Pinecone's fake is ended) for ``OUTAGE`` seconds and started
    again; then half as many events come until nothing is parked any more, and the next follows.
    Rates are of the records that the three other stores confirm. On one machine they are helped by
    the cores that the dead server leaves them; the longest pause is what the outage itself costs
    them. At the end every offset is accounted for, and the graph is the one that an undisturbed
    worker with embedded stores makes of the same log.
    """
    texts = corpus.pieces(CHARACTERS, BATCH)
    with ExitStack() as stack:
        servers = stack.enter_context(running())
        place = servers.installation("outage", SECTIONS)
        settings = stack.enter_context(place.signed_in())
        queue = stack.enter_context(_queue(settings))
        worker = stack.enter_context(working(place))
        with Feed(settings.kafka, texts, worker) as feed:
            _until(lambda: worker.taken > 0, "its first events", feed)
            rows = {str(store): _outage(store, servers, worker, feed, queue) for store in STORES}
        sent = feed.sent
        ended = _end(place, settings, worker, queue)
    if ended["offsets"] != sent or ended["unaccounted"] or not ended["graph_as_undisturbed"]:
        raise RuntimeError(f"of {sent} events not all are where they belong: {ended}")
    least = min(row["least_ratio"] for row in rows.values())
    return {"outage_seconds": OUTAGE, "stores": rows, "least_ratio": least, **ended}


def _outage(store: Store, servers: Servers, worker: Worker, feed: Feed, queue: ParkingQueue) -> Row:
    """One outage, from a worker that has nothing parked to one that has nothing parked."""
    server = servers.of[SERVERS[store]]
    others = [other for other in STORES if other != store]
    feed.rate = None
    time.sleep(WARM)
    before = _watch(worker, BEFORE)
    end = server.stop if SERVERS[store] == "pinecone" else server.kill
    end()
    during = _watch(worker, OUTAGE)
    feed.check()
    feed.rate = before.rates["timeseries"] / 2
    server.start()
    back, greatest = time.monotonic(), 0

    def drained() -> bool:
        nonlocal greatest
        left = queue.backlog()[store]
        greatest = max(greatest, left)
        return left == 0 and worker.asks(store)

    _until(drained, f"an end of what {store} is owed", feed)
    ratios = {other: during.rates[other] / before.rates[other] for other in others}
    return {
        "before_per_second": {other: round(before.rates[other], 1) for other in STORES},
        "during_per_second": {other: round(during.rates[other], 1) for other in STORES},
        "ratios": {other: round(ratio, 2) for other, ratio in ratios.items()},
        "least_ratio": round(min(ratios.values()), 2),
        "pause_before": round(max(before.pauses[other] for other in others), 1),
        "pause_during": round(max(during.pauses[other] for other in others), 1),
        "parked": greatest,
        "drained_seconds": round(time.monotonic() - back, 1),
    }


class Seen(NamedTuple):
    """By store: records confirmed a second, and the most seconds in which none was."""

    rates: Written
    pauses: Written


def _watch(worker: Worker, seconds: float) -> Seen:
    """What each store confirms in the next seconds."""
    begun = now = time.monotonic()
    first = last = worker.written()
    moved, pauses = dict.fromkeys(STORES, begun), dict.fromkeys(STORES, 0.0)
    while now - begun < seconds:
        time.sleep(POLL)
        now, found = time.monotonic(), worker.written()
        for store in STORES:
            pauses[store] = max(pauses[store], now - moved[store])
            if found[store] != last[store]:
                moved[store] = now
        last = found
    return Seen({s: (last[s] - first[s]) / (now - begun) for s in STORES}, pauses)


def _end(
    place: Installation, settings: Settings, worker: Worker, queue: ParkingQueue
) -> dict[str, Any]:
    """The rest is read and written; then everything is compared."""
    bus = KafkaBus(settings)
    _until(lambda: not any(bus.lag().values()), "the end of the log", worker, 1.0)
    _until(lambda: not any(queue.backlog().values()), "the end of the queues", worker, 1.0)
    bus.close()
    worker.process.send_signal(signal.SIGTERM)
    if worker.process.wait(60):
        raise RuntimeError(f"the worker ended with {worker.process.returncode}: {worker.tail}")
    with _undisturbed(place) as finish:
        report = prove(settings)
        return {
            "offsets": report.offsets,
            "unaccounted": report.unaccounted,
            "graph_as_undisturbed": _graph(settings) == _graph(finish()),
        }


@contextmanager
def _undisturbed(place: Installation) -> Iterator[Callable[[], Settings]]:
    """Another worker reads the same log into embedded stores; their settings, when it has."""
    embedded = dict.fromkeys([*STORES, "state", "queues"], "sqlite")
    changed = {f"MEMORY_GRAPH_BACKENDS__{part}".upper(): name for part, name in embedded.items()}
    changed["MEMORY_GRAPH_KAFKA__GROUP"] = "undisturbed"
    changed["MEMORY_GRAPH_WORKER__DATA"] = str(place.config.parent / "undisturbed")
    own = place._replace(environment=place.environment | changed)
    command = [sys.executable, "-m", "benchmarks.following", str(place.config), "--once"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=ROOT, env=own.environment, stdout=quiet, stderr=quiet)

    def finish() -> Settings:
        if process.wait():
            raise RuntimeError(f"undisturbed, a worker ended with {process.returncode}")
        with own.signed_in() as settings:
            return settings

    try:
        yield finish
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _graph(settings: Settings) -> str:
    with opened_views(settings) as stores:
        return hash_of(stores.graph)


@contextmanager
def _queue(settings: Settings) -> Iterator[ParkingQueue]:
    with ExitStack() as stack:
        yield open_queues(settings, worker_keys(settings), Folder(settings, stack), stack).parking


def _until(
    condition: Callable[[], bool], what: str, running: Feed | Worker, pause: float = POLL
) -> None:
    ends = time.monotonic() + PATIENCE
    while not condition():
        running.check()
        if time.monotonic() > ends:
            raise RuntimeError(f"not in {PATIENCE:.0f} s: {what}")
        time.sleep(pause)


def table(result: Mapping[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"| {result['outage_seconds']:.0f} s without | records/s of the others before | during "
        "| least of their ratios | longest pause, s, before / during | parked "
        "| s from its return until all is written |",
        "|---|---|---|---|---|---|---|",
    ]
    for store, row in result["stores"].items():
        before, during = (
            ", ".join(f"{found[other]:.0f}" for other in STORES if other != store)
            for found in (row["before_per_second"], row["during_per_second"])
        )
        lines.append(
            f"| {SERVERS[store]} | {before} | {during} | **{row['least_ratio']:.2f}** "
            f"| {row['pause_before']:.1f} / {row['pause_during']:.1f} | {row['parked']:,} "
            f"| {row['drained_seconds']:.0f} |"
        )
    lines.append(
        f"\n{result['offsets']:,} events, every one accounted for; graph hash as undisturbed."
    )
    return "\n".join(lines)
