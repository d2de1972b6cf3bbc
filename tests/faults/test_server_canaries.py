"""Markers in every raw field, on real servers: personal data is in no store, topic, log, metric,
span or answer, in any guise; and plain words are where they are meant to be, and nowhere else."""

from __future__ import annotations

import itertools
import json
import re
import signal
import sys
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from flows.bus import KafkaBus
from flows.filelog import NewRecord
from flows.filelog.layout import PARTITIONS
from flows.filelog.murmur2 import partition_of
from flows.keys import load_keys
from flows.stores import open_stores
from schemas.log import LogRecord, Origin, Original
from schemas.queues import DeadLetter
from tests.awaiting import answered
from tests.faults.fleet import PATIENT, STORES, Fleet, FleetBench
from tests.faults.harness import Worker
from tests.faults.kept import FOUND, KEPT, QUEUES
from tests.faults.load import lag
from tests.faults.needles import Needles
from tests.faults.outside import Collector, Services
from tests.faults.planted import CODES, MOST, SEALED, Personal, Plain
from tests.faults.readings import OPENED, Readings
from tests.faults.test_canaries import ROUNDS, Planted

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.xdist_group("fleet")]

SECTIONS = f"""
[worker]
follow = true
epoch_seconds = 0.2
[validate]
max_bytes = {MOST}
[metrics]
port = 0
sample_seconds = 0.5
[tracing]
ratio = 1
events = 10000
endpoint = "http://127.0.0.1:{{collector}}/v1/traces"
"""
TURN = 3
"""Events of a turn: a prompt, its response and a session event."""
TURNS = ROUNDS * TURN
NUMBERS = re.compile(r"^\d+ |\[\d+\]")
"""Of turns and of places in lists."""
GROUP = re.compile(r"^(neo4j|pinecone|influxdb|elasticsearch|redis|kafka|file|log) .*", re.S)
DEBUG = (sys.executable, "-m", "tests.faults.child", "--debug")


class Seen:
    """Everything that was searched. ``leaks``: the places where personal data was found; ``words``:
    where each field's words were found, ``opened``: in which sealed queues some were; ``known``:
    where an id or a name was found that may be there."""

    def __init__(self, personal: Planted, plain: Planted) -> None:
        self.personal = personal.needles()
        self._words = Needles(plain.plant.marked)
        records = [*personal.records[:TURNS], *plain.records[:TURNS]]
        known = {json.loads(r.value)["eventId"]: "an event id" for r in records}
        known |= {"timeseries": "the name of a store", "llm.prompts.v1": "the name of a topic"}
        self._known = Needles(known)
        self.leaks: dict[str, set[str]] = {}
        self.words: defaultdict[str, set[str]] = defaultdict(set)
        self.opened: set[str] = set()
        self.known: set[tuple[str, str]] = set()

    def look(self, when: str, places: Mapping[str, bytes]) -> None:
        for place, data in places.items():
            if found := self.personal.found(data):
                self.leaks[f"{place}, {when}"] = found
            words = self._words.found(data)
            if words and place.startswith(OPENED):
                self.opened.add(place.removeprefix(OPENED))
            else:
                for field in words:
                    self.words[NUMBERS.sub("", field)].add(GROUP.sub(r"\1", place))
            self.known.update((place, what) for what in self._known.found(data))


def pages(worker: Worker) -> dict[str, bytes]:
    """The worker's own pages, whatever their status."""
    (entry,) = [
        e
        for line in worker.err.splitlines()
        if line.startswith("{") and (e := json.loads(line))["event"] == "metrics"
    ]
    found = {}
    for page in ("metrics", "health", "ready"):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{entry['port']}/{page}") as answer:
                found[f"page {page}"] = answer.read()
        except urllib.error.HTTPError as error:
            found[f"page {page}"] = error.read()
    return found


def files(bench: FleetBench) -> dict[str, bytes]:
    """What the worker and the commands wrote: folders and logs, without what was asked for."""
    found = [p for p in bench.folder.rglob("*") if p.is_file() and p.suffix != ".out"]
    return {f"file {p.relative_to(bench.folder)}": p.read_bytes() for p in found}


def sent(records: list[NewRecord]) -> list[LogRecord]:
    return [
        LogRecord(
            Origin(r.topic, partition_of(r.key, r.value, PARTITIONS[r.topic]), 0, r.timestamp),
            Original(r.key, r.headers, r.value),
        )
        for r in records
    ]


def parked(worker: Worker) -> set[str]:
    """The stores of which records have been parked, as the worker says."""
    lines = [json.loads(line) for line in worker.err.splitlines() if line.startswith("{")]
    return {line["store"] for line in lines if line["event"] == "parked"}


def owed(bench: FleetBench) -> tuple[int, int]:
    """How many records wait for a store, and how many events for their enrichment."""
    with bench.signed_in():
        settings = bench.settings()
        with open_stores(settings, load_keys(settings.data)) as stores:
            parking = answered(stores.parking.backlog)
            return sum(parking.values()), answered(stores.requests.backlog)


def dead_letters(bench: FleetBench) -> tuple[list[DeadLetter], bytes]:
    """The open ones, and the events under their seals."""
    with bench.signed_in():
        settings = bench.settings()
        with open_stores(settings, load_keys(settings.data)) as stores:
            found = list(stores.letters.list(limit=1_000))
            held = [stores.letters.open(letter.sequence) for letter in found]
            parts = [part for one in held if isinstance(one, Original) for part in one.open()]
    return found, b"\n".join(repr(part).encode() for part in parts)


def answer(bench: FleetBench, *words: str) -> dict[str, bytes]:
    """What a command says, wide enough that no marker is wrapped."""
    ended = bench.patiently(*words, env={"COLUMNS": "10000"})
    return {f"answer of {words[0]}": (ended.out + ended.err).encode()}


@pytest.mark.timeout(900)
def test_no_marker_is_anywhere(
    servers: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers.heal()
    servers.empty()
    personal, plain = Personal(tmp_path / "personal"), Plain(tmp_path / "plain")
    both = [personal.records, plain.records]
    seen = Seen(personal, plain)
    users = {json.loads(r.value)["session"]["userId"] for r in both[0][:6] + both[1][:6]}

    def turns(first: int, end: int | None) -> list[LogRecord]:
        return sent(list(itertools.chain.from_iterable(part[first:end] for part in both)))

    with ExitStack() as stack:
        collector = stack.enter_context(Collector().served())
        bench = servers.bench(tmp_path / "bench", SECTIONS.format(collector=collector.port))
        readings = Readings(servers, bench)
        services = Services(bench, users, monkeypatch)
        stack.callback(services.stop)
        services.start()
        services.settings(bench)
        fault = f"raise:lookup:{personal.raising}"
        worker = stack.enter_context(bench.start((*DEBUG, fault)))
        bus = KafkaBus(bench.settings())
        with bench.signed_in():
            keys = load_keys(bench.settings().data)

        def consumed() -> bool:
            return lag(bus) == 0

        for part in (turns(0, 2 * TURN - 1), turns(2 * TURN - 1, 2 * TURN) + turns(TURNS, None)):
            # The prompt of the second turn is last, and its response waits for it.
            bench.produce(part)
            worker.until(consumed, "the first events", 0.2)
        seen.look("while all is well", readings.all() | pages(worker))
        for kind in STORES.values():
            servers.proxies[kind].refuse()
        bench.produce(turns(2 * TURN, 3 * TURN))
        worker.until(consumed, "the events without stores", 0.2)
        worker.until(lambda: parked(worker) == set(STORES), "records parked for each store", 0.2)
        places = readings.all_of("redis", "kafka") | readings.opened(keys)
        seen.look("while the stores are down", places | pages(worker))
        seen.look("while the stores are down", answer(bench, "status"))
        for proxy in servers.proxies.values():
            proxy.heal()
        worker.until(lambda: not any(owed(bench)), "an end of the backlog", 1.0)
        services.stop()
        bench.produce(turns(3 * TURN, 4 * TURN))
        worker.until(consumed, "the events without services", 0.2)
        assert owed(bench)[1] > 0
        places = readings.all() | readings.opened(keys)
        seen.look("while the services are down", places | pages(worker))
        services.start()
        for _ in range(PATIENT):  # Joining the queue's group may take longer than it waits.
            seen.look("in the end", answer(bench, "enrich"))
            if not owed(bench)[1]:
                break
        worker.until(lambda: not any(owed(bench)), "an end of what was completed", 1.0)
        worker.signal(signal.SIGTERM)
        worker.wait(0)
        bus.close()
        report = bench.folder / "report.json"
        letters, raw = dead_letters(bench)
        assert {letter.code for letter in letters} >= CODES
        assert seen.personal.found(raw) >= SEALED
        for words in (
            ("usage",),
            ("search", "and"),
            ("graph", "export", "--format", "json"),
            ("dlq", "list"),
            ("dlq", "show", str(letters[0].sequence)),
            ("dlq", "retry"),
            ("prove", "--all", "--deep", "--json", str(report)),
        ):
            seen.look("in the end", answer(bench, *words))
        seen.look("in the end", readings.all() | readings.logs())
    extra = {"asked of services": b"\n".join(services.asked)}
    extra["spans"] = b"\n".join(collector.bodies)
    seen.look("in the end", files(bench) | extra)
    assert seen.leaks == {}
    assert seen.words == {field: places for _, places, fields in KEPT for field in fields}
    assert seen.opened == QUEUES
    assert seen.known >= FOUND
