"""The real servers keep what they confirmed when they are killed, and are what clients expect."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from elasticsearch import Elasticsearch
from influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from neo4j import GraphDatabase
from neo4j.exceptions import AuthError
from redis import Redis

from deploy.local import addresses
from deploy.local.kinds.elasticsearch import stand_in
from deploy.local.server import Server, serving
from tests.servers.plugin import SETTINGS


class OnKafka:
    def write(self, at: addresses.Kafka) -> None:
        admin = AdminClient({"bootstrap.servers": at.bootstrap})
        admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(60)
        producer = Producer({"bootstrap.servers": at.bootstrap, "acks": "all"})
        producer.produce("kept", b"words")
        assert producer.flush(60) == 0

    def read(self, at: addresses.Kafka) -> object:
        properties = {"bootstrap.servers": at.bootstrap, "group.id": "new"}
        consumer = Consumer(properties | {"auto.offset.reset": "earliest"})
        consumer.subscribe(["kept"])
        message = consumer.poll(60)
        consumer.close()
        return message and message.value()


class OnNeo4j:
    def write(self, at: addresses.Neo4j) -> None:
        with GraphDatabase.driver(at.uri) as driver:
            driver.execute_query("CREATE (:Kept {words: $words})", words="words")

    def read(self, at: addresses.Neo4j) -> object:
        with GraphDatabase.driver(at.uri) as driver:
            (record,) = driver.execute_query("MATCH (k:Kept) RETURN k.words AS words").records
            return record["words"].encode()


class OnElasticsearch:
    def write(self, at: addresses.Elasticsearch) -> None:
        with Elasticsearch(at.url) as client:
            client.index(index="kept", id="1", document={"words": "words"})

    def read(self, at: addresses.Elasticsearch) -> object:
        with Elasticsearch(at.url) as client:
            words: str = client.get(index="kept", id="1")["_source"]["words"]
            return words.encode()


class OnInfluxdb:
    def write(self, at: addresses.Influxdb) -> None:
        with InfluxDBClient(at.url, at.token, org=at.org) as client:
            client.buckets_api().create_bucket(bucket_name="kept")
            client.write_api(SYNCHRONOUS).write("kept", record='kept words="words" 1', org=at.org)

    def read(self, at: addresses.Influxdb) -> object:
        with InfluxDBClient(at.url, at.token, org=at.org) as client:
            ((record,),) = client.query_api().query('from(bucket: "kept") |> range(start: 0)')
            return record.get_value().encode()


class OnRedis:
    def write(self, at: addresses.Redis) -> None:
        with Redis.from_url(at.url) as client:
            client.set("kept", b"words")

    def read(self, at: addresses.Redis) -> object:
        with Redis.from_url(at.url) as client:
            return client.get("kept")


ON: dict[str, Any] = {
    "kafka": OnKafka(),
    "neo4j": OnNeo4j(),
    "elasticsearch": OnElasticsearch(),
    "influxdb": OnInfluxdb(),
    "redis": OnRedis(),
}


@pytest.mark.parametrize("kind", ON)
def test_what_was_confirmed_survives_a_kill(kind: str, own_server: Callable[..., Server]) -> None:
    settings = {"appendfsync": "always"} if kind == "redis" else {}
    server = own_server(kind, settings=settings)
    address = server.address
    ON[kind].write(address)
    server.kill()
    assert not server.is_alive
    assert not server.answers()
    server.restart()
    assert server.address == address
    assert ON[kind].read(address) == b"words"


def test_neo4j_asks_for_the_password_when_it_is_to(own_server: Callable[..., Server]) -> None:
    at = own_server("neo4j", auth=True).address
    assert at.password
    with GraphDatabase.driver(at.uri, auth=(at.user, at.password)) as driver:
        driver.verify_connectivity()
    with GraphDatabase.driver(at.uri, auth=(at.user, "wrong")) as driver, pytest.raises(AuthError):
        driver.verify_connectivity()


def test_elasticsearch_has_what_the_small_distribution_lacks(
    elasticsearch: addresses.Elasticsearch,
) -> None:
    with Elasticsearch(elasticsearch.url) as client:
        assert client.ping()
        assert client.info()["version"]["number"].startswith("8.19.")

        def words(text: str, **how: Any) -> list[str]:
            return [t["token"] for t in client.indices.analyze(text=text, **how)["tokens"]]

        assert words("The costs of it", analyzer="english") == ["cost"]
        assert words("Die Kosten", analyzer="german") == ["kost"]
        assert words("Les coûts", analyzer="french") == ["coût"]
        folded = [{"type": "asciifolding"}]
        assert words("coûts", tokenizer="standard", filter=folded) == ["couts"]
        stems = ["lowercase", {"type": "stemmer", "language": "english"}]
        assert words("Costs", tokenizer="standard", filter=stems) == ["cost"]
        same = ["lowercase", {"type": "synonym", "synonyms": ["price, Cost => money"]}]
        assert words("cost PRICE", tokenizer="standard", filter=same) == ["money", "money"]


@pytest.fixture
def closed_folder() -> Iterator[Path]:
    """A folder that only its owner can enter."""
    with tempfile.TemporaryDirectory() as folder:
        assert os.stat(folder).st_mode & 0o077 == 0
        yield Path(folder) / "es"
    shutil.rmtree(stand_in(Path(folder) / "es"), ignore_errors=True)


@pytest.mark.servers
def test_elasticsearch_runs_where_nobody_can_enter(closed_folder: Path) -> None:
    with serving("elasticsearch", closed_folder) as server:
        ON["elasticsearch"].write(server.address)
        server.restart()
        assert ON["elasticsearch"].read(server.address) == b"words"


def test_the_settings_of_tests_are_those_of_the_broker(own_server: Callable[..., Server]) -> None:
    server = own_server("kafka", settings={"group.consumer.session.timeout.ms": "2000"})
    text = (Path(server.record.folder) / "server.properties").read_text()
    found = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    assert found["group.consumer.session.timeout.ms"] == "2000"
    assert (
        found["group.consumer.heartbeat.interval.ms"]
        == (SETTINGS["kafka"]["group.consumer.heartbeat.interval.ms"])
    )
