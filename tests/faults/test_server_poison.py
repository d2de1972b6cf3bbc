"""A record that a real server refuses for good in every batch of every store: it becomes a dead
letter, everything else is as an undisturbed worker makes it, and a retry brings in what is cured.

What no valid event can do within our own limits, the servers are set up for: an index and a mapping
of somebody else's, a field that holds texts, a lower limit of the index of vectors.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from elasticsearch import Elasticsearch
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from neo4j import GraphDatabase

from flows.bus import KafkaBus
from flows.filelog import LogWriter, NewRecord
from flows.keys import load_keys
from flows.settings import Settings
from flows.stores import open_stores
from schemas.log import LogRecord, Origin, Original
from schemas.queues import Refused
from schemas.records import STORES, RecordId, Store
from tests.e2e.holdings import Holdings, assert_equal, holdings
from tests.faults.fleet import Fleet, FleetBench
from tests.faults.harness import KEY, Bench
from tests.faults.load import SEED, Calm, drain, finish, lag, slices
from tests.faults.needles import Needles
from tests.faults.readings import Readings
from tests.generate import write_log

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.xdist_group("fleet")]

COUNT = 400
PARTS = 3
PROMPTS, RESPONSES = "llm.prompts.v1", "llm.responses.v1"
SECTIONS = "[pii.detect]\nnames = false\n"
LIKE_NEO4J = "[stores.graph]\nmax_record_bytes = 50000\n"
"""Embedded, the graph refuses the same records by their size."""
CURED = {"refused_record", "unparsable", "bad_request"}
"""Codes of records that their servers take once they are set up otherwise."""
MOST_METADATA = 2_500
WORD = "zwpoisonkq"
"""In every value that a server refuses: libraries and servers like to quote those."""


Codes = dict[tuple[Store, str, str], str]
"""The code of each dead letter, by store, kind and id."""


class Poison(NamedTuple):
    """What makes a server refuse the record of an event, and the code of its dead letter."""

    store: Store
    topic: str
    change: Callable[[dict[str, Any]], None]
    code: str


def _long_key(event: dict[str, Any]) -> None:
    """The key of a document, of two names of which each is short enough."""
    event["session"]["applicationId"] = WORD + "名" * 500
    event["context"] = {"documents": [{"id": WORD + "名" * 500, "content": "a page"}]}


def _long_property(event: dict[str, Any]) -> None:
    event["prompt"]["parameters"] = {"note": f"{WORD} " * 6_000}


def _long_term(event: dict[str, Any]) -> None:
    event["tags"] = [WORD + "y" * 33_000]


def _much_metadata(event: dict[str, Any]) -> None:
    event["session"] = {"id": WORD + "名" * 490, "userId": WORD + "名" * 490}


def _other_type(event: dict[str, Any]) -> None:
    event["metrics"] = {"cost": 0.25}


POISONS = (
    Poison("graph", PROMPTS, _long_key, "too_large"),
    Poison("graph", PROMPTS, _long_property, "refused_record"),
    Poison("search", PROMPTS, _long_term, "unparsable"),
    Poison("vector", PROMPTS, _much_metadata, "bad_request"),
    Poison("timeseries", RESPONSES, _other_type, "refused"),
)


class Poisoned:
    """A generated log in parts. Each part has every poison in every partition where it can be."""

    def __init__(self, folder: Path) -> None:
        self.refused: Codes = {}
        self._numbers = itertools.count(1)
        self.parts: list[list[LogRecord]] = []
        self._ends: Counter[tuple[str, int]] = Counter()
        records = write_log(folder / "generated", COUNT, SEED)
        prompts = [r for r in records if r.origin.topic == PROMPTS]
        for part in slices(records, PARTS):
            now = part[-1].origin.timestamp
            made = [self._made(r.origin, *r.original.open()) for r in part]
            for poison in POISONS:
                for partition in range(12):
                    event = self._event(poison, now, prompts, partition)
                    poison.change(event)
                    origin = Origin(poison.topic, partition, 0, now)
                    made.append(self._made(origin, None, (), json.dumps(event).encode()))
            self.parts.append(made)
        LogWriter(folder / "log").append([_new(r) for part in self.parts for r in part])

    @property
    def records(self) -> list[LogRecord]:
        return [record for part in self.parts for record in part]

    def _made(self, origin: Origin, key: Any, headers: Any, value: bytes) -> LogRecord:
        place = origin.topic, origin.partition
        placed = Origin(*place, self._ends[place], origin.timestamp)
        self._ends[place] += 1
        return LogRecord(placed, Original(key, headers, value))

    def _event(
        self, poison: Poison, now: int, prompts: Sequence[LogRecord], partition: int
    ) -> dict[str, Any]:
        """What Neo4j refuses leaves the nodes that it shares: others name the same ones."""
        number = next(self._numbers)
        event_id = str(uuid.UUID(int=number << 64, version=4))
        at = datetime.fromtimestamp(now / 1_000).astimezone().isoformat()
        event: dict[str, Any] = {"eventId": event_id, "timestamp": at}
        kind = "prompt" if poison.topic == PROMPTS else "response"
        self.refused[poison.store, kind, event_id] = poison.code
        if kind == "response":
            asked = json.loads(prompts[partition].original.open()[2])["eventId"]
            return event | {"promptEventId": asked, "response": {"text": f"Number {number}."}}
        return event | {
            "prompt": {"text": f"What is number {number}?"},
            "session": {"id": f"s-poison-{partition}", "userId": "ana"},
            "model": {"id": "gpt-4o", "provider": "openai"},
        }


def _new(record: LogRecord) -> NewRecord:
    origin, (key, headers, value) = record.origin, record.original.open()
    return NewRecord(origin.topic, value, origin.timestamp, key, headers, origin.partition)


@contextmanager
def unwilling(servers: Fleet, bench: FleetBench, poisoned: Poisoned) -> Iterator[None]:
    """The servers, set up to refuse."""
    name = bench.prefix.rstrip(".")
    with ExitStack() as stack:
        address = servers.servers["neo4j"].address
        driver = stack.enter_context(GraphDatabase.driver(address.uri))
        driver.execute_query(
            "CREATE INDEX of_somebody_else IF NOT EXISTS FOR (n:Prompt) ON (n.parameters)"
        )
        stack.callback(driver.execute_query, "DROP INDEX of_somebody_else IF EXISTS")
        driver.execute_query("CALL db.awaitIndexes(300)")

        search = stack.enter_context(Elasticsearch(servers.servers["elasticsearch"].address.url))
        (found,) = search.indices.get_index_template(name=f"{name}-events")["index_templates"]
        template = found["index_template"] | {"priority": 1_000}
        template["template"]["mappings"]["properties"]["tags"] = {"type": "keyword"}
        search.indices.put_index_template(name=f"{name}-of-somebody-else", **template)
        stack.callback(search.indices.delete_index_template, name=f"{name}-of-somebody-else")
        mapping = {"tags": {"type": "keyword", "ignore_above": 8_191}}
        indices = f"{name}-events-*"
        stack.callback(search.indices.put_mapping, index=indices, properties=mapping)

        _texts(servers, name, poisoned.records)

        pinecone = servers.servers["pinecone"]
        before = dict(pinecone.record.options)
        pinecone.record.options["arguments"] = ["--metadata", str(MOST_METADATA)]
        pinecone.restart()
        try:
            yield
        finally:
            pinecone.record.options.clear()
            pinecone.record.options.update(before)
            pinecone.restart()


def _texts(servers: Fleet, bucket: str, records: Sequence[LogRecord]) -> None:
    """In each shard, the field of the reported cost is one of texts."""
    address = servers.servers["influxdb"].address
    days = {r.origin.timestamp // 86_400_000 for r in records}
    lines = [
        f'event,kind=foreign reported_cost_usd="{WORD}" {day * 86_400_000_000_000}'
        for day in range(min(days) - 1, max(days) + 2)
    ]
    with InfluxDBClient(address.url, address.token, org=address.org) as client:
        client.write_api(write_options=SYNCHRONOUS).write(bucket, record=lines)


def expected(calm: Holdings, refused: Codes) -> Holdings:
    """What the embedded stores hold, without what the servers refuse."""
    records = {store: dict(calm.records[store]) for store in STORES}
    counts = dict(calm.counts)
    for store, kind, id_ in refused:
        if store != "graph":
            assert records[store].pop((kind, id_)), (store, kind, id_)
            counts[store] -= 1
    letters = {key: ("record", "write", code, "$", None) for key, code in refused.items()}
    return msgspec.structs.replace(
        calm, records=records, counts=counts, letters=dict(calm.letters) | letters
    )


def elsewhere(settings: Settings, refused: Codes) -> dict[Any, Any]:
    """What the other stores hold of the records that the graph has refused."""
    ids = [RecordId(kind, id_) for store, kind, id_ in refused if store == "graph"]  # type: ignore[arg-type]
    with open_stores(settings, load_keys(settings.data)) as stores:
        return {
            (store, key): (held.stamp.sha256, held.content)
            for store in STORES
            for key, held in stores.sinks[store].fetch(ids).items()
        }


@pytest.mark.timeout(900)
def test_a_poisoned_record_in_every_batch_of_every_store(servers: Fleet, tmp_path: Path) -> None:
    print(f"SEED={SEED}")
    poisoned = Poisoned(tmp_path)
    refused = poisoned.refused
    embedded = Bench(tmp_path / "calm", tmp_path / "log", SECTIONS + LIKE_NEO4J)
    embedded.run("--json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMORY_GRAPH_KEY", KEY)
        calm = Calm(poisoned.records, holdings(embedded.settings()))
        besides = elsewhere(embedded.settings(), refused)
    assert {store for store, _ in besides} == {"vector", "timeseries", "search"}

    servers.heal()
    servers.empty()
    bench = servers.bench(tmp_path / "bench", SECTIONS)
    with unwilling(servers, bench, poisoned), bench.worker("--follow") as worker:
        bus = KafkaBus(bench.settings())
        for part in poisoned.parts:
            bench.produce(part)
            worker.until(lambda: lag(bus) == 0, "an end of the part", 0.5)
        bus.close()
        finish(bench, worker, calm)
        with bench.signed_in():
            settings = bench.settings()
            assert_equal(expected(calm.holdings, refused), holdings(settings))
            assert elsewhere(settings, refused) == besides
        bench.patiently("prove", "--all")
        _sealed_and_silent(servers, bench, worker.err, refused)
    _cured(servers, bench, calm.holdings, refused)


def _sealed_and_silent(servers: Fleet, bench: FleetBench, log: str, refused: Codes) -> None:
    """Nothing of a refused value is in the log or in a topic; in each letter is its record."""
    needles = Needles({WORD: "what was refused"})
    places = Readings(servers, bench).all_of("kafka") | {
        "log": log.encode(),
        "answer": bench.command("dlq", "list", "--json").out.encode(),
    }
    assert [place for place, data in places.items() if needles.found(data)] == []
    with bench.signed_in():
        settings = bench.settings()
        with open_stores(settings, load_keys(settings.data)) as stores:
            opened = set()
            for letter in stores.letters.list(limit=10_000):
                held = stores.letters.open(letter.sequence)
                if isinstance(held, Refused):
                    opened.add((held.store, held.record.stamp.kind, held.record.stamp.id))
    assert opened == refused.keys()


def _cured(servers: Fleet, bench: FleetBench, calm: Holdings, refused: Codes) -> None:
    """The servers are as they should be: letters are retried, and what was cured is there."""
    servers.heal()
    bench.patiently("dlq", "retry")
    drain(bench)
    with bench.signed_in():
        found = holdings(bench.settings())
    left = Counter(code for _, stage, code, _, done in found.letters.values()
                   if stage == "write" and done is None)  # fmt: skip
    assert left == Counter(code for code in refused.values() if code not in CURED)
    for store in ("vector", "search"):
        assert calm.records[store].items() <= found.records[store].items(), store
        assert calm.counts[store] == found.counts[store]
    graph = sum(store == "graph" and code in CURED for (store, *_), code in refused.items())
    assert found.counts["graph"] == calm.counts["graph"] + graph
    bench.patiently("prove", "--all")
