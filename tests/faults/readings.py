"""All that the servers hold, through their own interfaces and none of ours, by where it stands."""

from __future__ import annotations

import json
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from elasticsearch import Elasticsearch
from neo4j import GraphDatabase

from flows.keys import Keys
from schemas.events import TOPICS
from sinks.common.packing import body
from sinks.seal import Seal
from tests.faults.fleet import Fleet, FleetBench

Found = Iterator[tuple[str, Any]]
Message = tuple[str, bytes | None, Sequence[tuple[str, Any]], bytes | None]
"""Topic without the bench's prefix, key, headers, value."""
PATIENCE = 30.0
OPENED = "opened "
"""Before the topic whose messages were opened."""


class Readings:
    """Reads what one bench has in the servers of a fleet, bypassing the proxies."""

    def __init__(self, fleet: Fleet, bench: FleetBench) -> None:
        self._address = {kind: server.address for kind, server in fleet.servers.items()}
        self._folders = {k: Path(s.record.folder) for k, s in fleet.servers.items()}
        self._name = bench.prefix.rstrip(".")
        self.kinds: dict[str, Callable[[], Found]] = {
            "neo4j": self._neo4j,
            "pinecone": self._pinecone,
            "influxdb": self._influxdb,
            "elasticsearch": self._elasticsearch,
            "redis": self._redis,
            "kafka": self._kafka,
        }

    def all(self) -> dict[str, bytes]:
        """What stands in each place of each server."""
        return self.all_of(*self.kinds)

    def all_of(self, *kinds: str) -> dict[str, bytes]:
        """The same of some of them."""
        places: defaultdict[str, list[bytes]] = defaultdict(list)
        for kind in kinds:
            for place, value in self.kinds[kind]():
                places[f"{kind} {place}"].append(_bytes(value))
        return {place: b"\n".join(values) for place, values in sorted(places.items())}

    def logs(self) -> dict[str, bytes]:
        """What the servers themselves wrote to their logs."""
        return {
            f"log of {kind} {path.name}": path.read_bytes()
            for kind, folder in self._folders.items()
            for path in sorted(folder.rglob("*.log"))
            if not {"data", "engine"} & set(path.relative_to(folder).parts)
        }

    def _neo4j(self) -> Found:
        """Labels, names and values of all properties; edges likewise."""
        with (
            GraphDatabase.driver(self._address["neo4j"].uri) as driver,
            driver.session() as session,
        ):
            for text in (
                "MATCH (n) RETURN labels(n) AS names, properties(n) AS held",
                "MATCH ()-[e]->() RETURN [type(e)] AS names, properties(e) AS held",
            ):
                for row in session.run(text):
                    label = ":".join(sorted(row["names"]))
                    yield "labels", row["names"]
                    for name, value in row["held"].items():
                        yield f"{label}.{name}", value
                        yield "names of properties", name

    def _pinecone(self) -> Found:
        """Names of the namespaces, ids, and each field of the metadata."""
        for namespace in self._ask_pinecone("/describe_index_stats", {})["namespaces"]:
            yield "namespace", namespace
            where = quote(namespace, safe="")
            after = ""
            while True:
                page = self._ask_pinecone(f"/vectors/list?namespace={where}&limit=100{after}")
                ids = [vector["id"] for vector in page["vectors"]]
                yield "id", ids
                asked = "&".join(f"ids={quote(id_, safe='')}" for id_ in ids)
                if ids:
                    vectors = self._ask_pinecone(f"/vectors/fetch?namespace={where}&{asked}")
                    for vector in vectors["vectors"].values():
                        yield "values", vector["values"]
                        for name, value in vector.get("metadata", {}).items():
                            yield f"metadata.{name}", value
                token = page.get("pagination", {}).get("next")
                if not token:
                    break
                after = f"&paginationToken={quote(token, safe='')}"

    def _ask_pinecone(self, path: str, body: Any = None) -> Any:
        address = self._address["pinecone"]
        return _ask(address.host + path, {"Api-Key": address.api_key}, body)

    def _influxdb(self) -> Found:
        """Every tag and field of every point of both buckets, and the series."""
        address = self._address["influxdb"]
        headers = {
            "Authorization": f"Token {address.token}",
            "Content-Type": "application/vnd.influxql",
        }
        for bucket in (self._name, f"{self._name}-erased"):
            for statement in ("SELECT * FROM /.*/", "SHOW SERIES", "SHOW FIELD KEYS"):
                url = f"{address.url}/query?db={quote(bucket)}&epoch=ns"
                answer = _ask(url, headers, statement)
                for series in answer["results"][0].get("series", ()):
                    for row in series["values"]:
                        for column, value in zip(series["columns"], row, strict=True):
                            yield f"{series.get('name', 'schema')}.{column}", value

    def _elasticsearch(self) -> Found:
        """Sources, fields as a search shows them, every term of the texts, and the mappings."""
        with Elasticsearch(self._address["elasticsearch"].url) as client:
            indices = f"{self._name}-*"
            client.indices.refresh(index=indices)
            yield "mappings", client.indices.get(index=indices).body
            yield "templates", client.indices.get_index_template(name=indices).body
            hits = client.search(index=indices, size=10_000, fields=[{"field": "*"}])["hits"][
                "hits"
            ]
            for hit in hits:
                yield "id", hit["_id"]
                for name, value in hit["_source"].items():
                    yield f"source.{name}", value
                for name, value in hit.get("fields", {}).items():
                    yield f"fields.{name}", value
                texts: list[Any] = ["text", "text.english", "characters"]
                terms = client.termvectors(index=hit["_index"], id=hit["_id"], fields=texts)
                for name, held in terms["term_vectors"].items():
                    yield f"terms.{name}", " ".join(held["terms"])

    def _redis(self) -> Found:
        with redis.Redis.from_url(self._address["redis"].url) as client:
            for key in client.scan_iter(match=f"{self._name}*", count=1_000):
                # name:store set:kind:…, or name:cache:….
                kind = "cache" if key.split(b":")[1] == b"cache" else key.split(b":")[2].decode()
                yield f"{kind} key", key
                yield f"{kind} value", _redis_value(client, key)

    def _kafka(self) -> Found:
        for topic, key, headers, value in self.messages():
            yield f"{topic} key", key or b""
            yield f"{topic} value", value or b""
            for name, held in headers:
                yield f"{topic} header {name}", held or b""
                yield f"{topic} names of headers", name

    def messages(self) -> Iterator[Message]:
        """All topics but the three that events come from, the broker's own ones too."""
        settings = {
            "bootstrap.servers": self._address["kafka"].bootstrap,
            "group.id": "readings",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_uncommitted",
        }
        consumer = Consumer(settings)
        try:
            known = consumer.list_topics(timeout=PATIENCE).topics
            inputs = {f"{self._name}.{topic}" for topic in TOPICS}
            topics = [
                t for t in known if t.startswith((f"{self._name}.", "__")) and t not in inputs
            ]
            wanted = [
                TopicPartition(topic, number, OFFSET_BEGINNING)
                for topic in topics
                for number in known[topic].partitions
            ]
            consumer.assign(wanted)
            left = {(each.topic, each.partition) for each in wanted}
            while left:
                message = consumer.poll(PATIENCE)
                assert message is not None, f"no answer of {sorted(left)[:3]}"
                error, topic = message.error(), message.topic() or ""
                if error is not None:
                    assert error.code() == KafkaError._PARTITION_EOF, error.name()
                    left.discard((topic, message.partition() or 0))
                    continue
                name = topic.removeprefix(f"{self._name}.")
                headers: Any = message.headers() or ()
                yield name, message.key(), list(headers), message.value()
        finally:
            consumer.close()

    def opened(self, keys: Keys) -> dict[str, bytes]:
        """What is under the seals of the queues, by their topics; no dead letters."""
        seal = Seal(keys.dead_letters)
        found: defaultdict[str, list[bytes]] = defaultdict(list)
        for topic, key, _, value in self.messages():
            bound = b"request\0"
            if topic.startswith("llm.reconciliation."):
                bound = f"parked\0{topic.split('.')[2]}\0".encode()
            elif topic != "llm.enrichment.v1":
                continue
            if value:
                found[OPENED + topic].append(bytes(body(seal.open(value, bound + (key or b"")))))
        return {place: b"\n".join(values) for place, values in found.items()}


def _redis_value(client: Any, key: bytes) -> Any:
    reads: dict[bytes, Callable[[bytes], Any]] = {
        b"string": client.get,
        b"hash": lambda k: [part for pair in client.hgetall(k).items() for part in pair],
        b"zset": lambda k: client.zrange(k, 0, -1),
        b"set": lambda k: list(client.smembers(k)),
        b"list": lambda k: client.lrange(k, 0, -1),
        b"none": lambda _: b"",  # It has expired meanwhile.
    }
    return reads[client.type(key)](key)


def _ask(url: str, headers: dict[str, str], body: Any = None) -> Any:
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    request = urllib.request.Request(url, None if body is None else data, headers)
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.loads(answer.read())


def _bytes(value: Any) -> bytes:
    """Texts and bytes as they are, parts in lines, the rest as JSON without escapes."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list | tuple):
        return b"\n".join(_bytes(part) for part in value)
    return json.dumps(value, ensure_ascii=False, default=str).encode()
