"""A proof over real stores and queues finds what was taken out of each of them by hand."""

from __future__ import annotations

import json
import random
import secrets
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from elasticsearch import Elasticsearch

from deploy.local.pinecone_index import Index
from flows.filelog import append_events
from flows.kafka.offsets import Names
from flows.pipeline import build_pipeline
from flows.prove import Report, prove
from flows.settings import Settings, load_settings
from flows.stores import opened_servers
from schemas.log import Partition
from schemas.records import RecordId, Store
from sinks.influxdb.settings import InfluxSettings
from sinks.influxdb.sink import InfluxSink
from sinks.kafka.reader import TopicReader
from sinks.kafka.settings import KafkaSettings
from sinks.neo4j.sink import Neo4jSink
from tests.conformance import influxdb as influx
from tests.conformance.neo4j import empty
from tests.conformance.pinecone import KEY, served
from tests.faults.services import World
from tests.flows import tiny
from tests.flows.kafka.test_queues import on_kafka
from tests.flows.test_prove import codes, states
from tests.flows.test_prove import prove as prove_tiny
from tests.flows.test_worker import filled, run, stores_of
from tests.sinks.kafka.topics import is_queue, own_topics

SAMPLE = Path(__file__).parents[2] / "deploy/sample/events.jsonl"
PROMPTS = "llm.prompts.v1"


class Servers:
    """A worker's stores, and a hand in each of them."""

    def __init__(self, settings: Settings, index: Index, search: Elasticsearch) -> None:
        self.settings = settings
        self._index = index
        self._search = search
        self._build = partial(build_pipeline, services=World())
        run(settings, build=self._build)

    def codes(self, *, deep: bool = False) -> list[str]:
        report = prove(self.settings, deep=deep, build=self._build)
        return sorted(found.code for found in report.exceptions)

    def keeping_points(self, days: int) -> Report:
        """A proof, deep, as if the buckets had been made with this retention."""
        influxdb = self.settings.influxdb.model_copy(update={"retention_days": days})
        settings = self.settings.model_copy(update={"influxdb": influxdb})
        return prove(settings, deep=True, build=self._build)

    def prompts(self) -> list[str]:
        """Ids of prompts that are in every store, each to be damaged once."""
        asked = [json.loads(line) for line in lines() if b'"prompt":' in line]
        ids = [RecordId("prompt", event["eventId"]) for event in asked]
        with stores_of(self.settings) as stores:
            held = [sink.fetch(ids).keys() for sink in stores.sinks.values()]
        return [i.id for i in ids if all(i in one for one in held)]

    def cypher(self, text: str, **parameters: str) -> None:
        with stores_of(self.settings) as stores:
            sink = stores.sinks["graph"]
            assert isinstance(sink, Neo4jSink)
            sink._client.rows(text, **parameters)

    def take_point(self, victim: str) -> None:
        with stores_of(self.settings) as stores:
            sink = stores.sinks["timeseries"]
            assert isinstance(sink, InfluxSink)
            client, bucket = sink._client, self.settings.influxdb.bucket
            (rows,) = client.query(bucket, ["SELECT * FROM record"], client.deadline())
            (time,) = [row["time"] for row in rows if row["id"] == f"prompt:{victim}"]
            client.delete(bucket, time, '_measurement="record"', client.deadline())

    def take_shown_point(self, victim: str) -> None:
        """What another event does to it that lies in the same series and nanosecond."""
        with stores_of(self.settings) as stores:
            sink = stores.sinks["timeseries"]
            assert isinstance(sink, InfluxSink)
            client, bucket = sink._client, self.settings.influxdb.bucket
            statement = "SELECT event_id, kind FROM event"
            (rows,) = client.query(bucket, [statement], client.deadline())
            (time,) = [row["time"] for row in rows if row["event_id"] == victim]
            client.delete(bucket, time, '_measurement="event"', client.deadline())

    def vectors(self, victim: str) -> list[tuple[str, str]]:
        """Namespace and id of the vector itself; its marker stays."""
        return [
            (name, id_)
            for name in self._index.counts()
            for id_ in self._index.fetch_all(name)
            if victim in id_ and name != "markers"
        ]

    def take_vector(self, victim: str) -> None:
        for name, id_ in self.vectors(victim):
            self._index.delete(name, {"ids": [id_]})

    def turn_vector(self, victim: str) -> None:
        for name, id_ in self.vectors(victim):
            found = self._index.fetch_all(name)[id_]
            turned = {"id": id_, "values": [-float(x) for x in found.values]}
            self._index.upsert(name, [{**turned, "metadata": found.metadata}])

    def take_document(self, victim: str) -> None:
        self._search.delete(index=self._place(victim), id=f"prompt:{victim}")

    def write_document(self, victim: str) -> None:
        place = self._place(victim)
        self._search.update(index=place, id=f"prompt:{victim}", doc={"text": "something else"})

    def _place(self, victim: str) -> str:
        events = f"{self.settings.elasticsearch.prefix}events-*"
        self._search.indices.refresh(index=events)
        query = {"ids": {"values": [f"prompt:{victim}"]}}
        (hit,) = self._search.search(index=events, query=query)["hits"]["hits"]
        return str(hit["_index"])


def lines() -> list[bytes]:
    return SAMPLE.read_bytes().splitlines()[:60]


@pytest.fixture
def servers(
    neo4j: Any, elasticsearch: Any, influxdb: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> Any:
    name = f"t{secrets.token_hex(4)}"
    empty(neo4j.uri)
    index = Index(384, tmp_path / "vectors.jsonl")
    search = Elasticsearch(elasticsearch.url)
    with served(index) as fake:
        config = tmp_path / "memory-graph.toml"
        config.write_text(f"""
[backends]
graph = "neo4j"
vector = "pinecone"
timeseries = "influxdb"
search = "elasticsearch"
[delivery]
deadline_seconds = 120
[neo4j]
timeout_seconds = 60
uri = "{neo4j.uri}"
[pinecone]
timeout_seconds = 60
host = "http://127.0.0.1:{fake.server_address[1]}"
[influxdb]
timeout_seconds = 60
url = "{influxdb.url}"
org = "{influxdb.org}"
bucket = "{name}"
[elasticsearch]
timeout_seconds = 60
urls = ["{elasticsearch.url}"]
prefix = "{name}-"
replicas = 0
[pii.detect]
names = false
""")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MEMORY_GRAPH_PINECONE__API_KEY", KEY)
            patch.setenv("MEMORY_GRAPH_INFLUXDB__TOKEN", influxdb.token)
            settings = load_settings(config, data=tmp_path / "data")
            with opened_servers(settings) as opened:
                for server in opened.values():
                    server.init()
            append_events(lines(), settings.log_dir)
            yield Servers(settings, index, search)
        search.indices.delete(index=f"{name}-*", expand_wildcards="all")
        influx.remove(InfluxSettings.model_validate(settings.influxdb.model_dump()))


def test_what_is_taken_out_of_a_server_or_changed_in_it_is_found(servers: Servers) -> None:
    assert servers.codes(deep=True) == []
    victims = servers.prompts()
    random.Random(5).shuffle(victims)
    servers.cypher("MATCH (r:Record {key: $key}) DETACH DELETE r", key=f"prompt/{victims[0]}")
    servers.take_vector(victims[1])
    servers.take_point(victims[2])
    servers.take_document(victims[3])
    lost: list[Store] = ["graph", "search", "timeseries", "vector"]
    assert servers.codes() == [f"absent_{store}" for store in lost]
    servers.take_shown_point(victims[7])
    assert "overwritten_timeseries" in servers.codes()
    servers.cypher("MATCH (p:Prompt {key: $key}) SET p.tokens = 4711", key=victims[4])
    servers.turn_vector(victims[5])
    servers.write_document(victims[6])
    altered = ["altered_graph", "altered_search", "altered_vector"]
    assert [c for c in servers.codes(deep=True) if c.startswith("altered")] == altered


def test_a_point_may_go_when_its_time_is_over(servers: Servers) -> None:
    servers.take_point(servers.prompts()[0])
    young = servers.keeping_points(36_500)
    assert codes(young) == {"absent_timeseries"}
    old = servers.keeping_points(1)
    assert old.ok, old.exceptions
    assert old.codes["written"] == {"points_expired": 1}


def test_what_is_taken_out_of_a_queue_in_kafka_is_found(kafka: Any, tmp_path: Path) -> None:
    own = own_topics(kafka.bootstrap, is_queue)
    settings, _ = filled(tmp_path, 40)
    settings = on_kafka(settings, own, deadline_seconds=0.1)
    append_events([b'{"nope'], settings.log_dir, topic=PROMPTS)

    def build(given: Settings, keys: Any, opened: Any) -> Any:
        opened.sinks["search"].close()
        return tiny.build(given, keys, opened)

    run(settings, build=build)
    report = prove_tiny(settings)
    assert report.ok, report.exceptions
    assert report.codes["waiting"]["store:search"] == states(report)["waiting"]
    drop(own, f"{PROMPTS}-dlq")
    assert codes(prove_tiny(settings)) == {"letter_missing"}
    drop(own, "llm.reconciliation.search.v1")
    found = {code.removeprefix("first_") for code in codes(prove_tiny(settings))}
    assert found == {"letter_missing", "absent_search"}


def drop(settings: KafkaSettings, topic: str) -> None:
    """Deletes all records of a topic, as nobody should."""
    reader = TopicReader(settings, [topic])
    ends: dict[Partition, int] = {p: (m.offset() or 0) + 1 for p, m in reader.read()}
    reader.close()
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    asked = [Names(settings).to_kafka(p, end) for p, end in ends.items()]
    assert asked
    for future in admin.delete_records(asked).values():
        future.result(30)
