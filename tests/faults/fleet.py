"""All real servers, each behind a proxy, and workers on them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Producer

from deploy.local.server import Server
from flows.keys import VARIABLE
from flows.settings import Settings
from flows.stores import opened_servers
from schemas.log import LogRecord
from sinks.kafka.topics import create_topics
from tests.faults.harness import COMMAND, KEY, Bench, Ended, Worker
from tests.servers.plugin import Run
from tests.servers.proxy import Proxy

KINDS = ("kafka", "redis", "neo4j", "elasticsearch", "influxdb", "pinecone")
STORES = {
    "graph": "neo4j",
    "vector": "pinecone",
    "timeseries": "influxdb",
    "search": "elasticsearch",
}
PATIENT = 10
"""Times in a row that a server may not be there for a command."""
UNAVAILABLE = 4
"""The exit code of a command that a server was not there for."""
_FAST = {
    "kafka": {
        "group.consumer.session.timeout.ms": "3000",
        "group.consumer.heartbeat.interval.ms": "500",
    }
}
_EMPTY = "MATCH (n) CALL (n) { DETACH DELETE n } IN TRANSACTIONS OF 1000 ROWS"


class Fleet:
    """Started servers and a proxy before each. Kafka advertises its proxy."""

    def __init__(self, run: Run, stack: ExitStack) -> None:
        self.proxies: dict[str, Proxy] = {}
        self.servers: dict[str, Server] = {}
        for kind in KINDS:
            proxy = stack.enter_context(Proxy())
            options: dict[str, Any] = {"settings": _FAST.get(kind, {})}
            if kind == "kafka":
                options["advertised"] = proxy.port
            server = run.own(kind, **options)
            stack.callback(run.forget, server)
            proxy.target = server.ports["proxied"] if kind == "kafka" else _port(server)
            self.servers[kind], self.proxies[kind] = server, proxy

    def heal(self) -> None:
        """Every server runs and every proxy passes."""
        for kind, server in self.servers.items():
            self.proxies[kind].heal()
            if server.is_alive:
                server.resume()
            else:
                server.start()
            server.wait_ready()

    def empty(self) -> None:
        """Neo4j and Pinecone have one database and one index for all benches."""
        from neo4j import GraphDatabase

        uri = self.servers["neo4j"].address.uri
        with GraphDatabase.driver(uri) as driver, driver.session() as session:
            session.run(_EMPTY).consume()
        pinecone = self.servers["pinecone"]
        pinecone.stop()
        for left in Path(pinecone.record.folder).glob("*.jsonl"):
            left.unlink()
        pinecone.start()

    def bench(
        self, folder: Path, sections: str = "", more: Mapping[str, str] | None = None
    ) -> FleetBench:
        """A data folder with settings for these servers, and nothing in any of them. ``more``:
        variables of the environment for what the sections need."""
        name = f"t{secrets.token_hex(4)}"
        address = {kind: server.address for kind, server in self.servers.items()}
        through = {kind: proxy.address for kind, proxy in self.proxies.items()}
        toml = f"""
[backends]
log = "kafka"
graph = "neo4j"
vector = "pinecone"
timeseries = "influxdb"
search = "elasticsearch"
state = "redis"
queues = "kafka"
[kafka]
bootstrap_servers = "{through["kafka"]}"
topic_prefix = "{name}."
group = "{name}"
[neo4j]
uri = "bolt://{through["neo4j"]}"
[pinecone]
host = "http://{through["pinecone"]}"
[influxdb]
url = "http://{through["influxdb"]}"
org = "{address["influxdb"].org}"
bucket = "{name}"
[elasticsearch]
urls = ["http://{through["elasticsearch"]}"]
prefix = "{name}-"
replicas = 0
[redis]
url = "redis://{through["redis"]}/0"
prefix = "{name}"
[delivery]
breaker_recovery_seconds = 2
"""
        environment = {
            "MEMORY_GRAPH_INFLUXDB__TOKEN": address["influxdb"].token,
            "MEMORY_GRAPH_PINECONE__API_KEY": address["pinecone"].api_key,
            "MEMORY_GRAPH_NEO4J__PASSWORD": address["neo4j"].password,
            VARIABLE: KEY,
            # A machine with all these servers may be slow; a stop that hangs is told all the same.
            "MEMORY_GRAPH_WORKER__STOP_SECONDS": "90",
            **(more or {}),
        }
        bench = FleetBench(folder, toml + sections, environment, f"{name}.")
        bench.bootstrap = self.servers["kafka"].address.bootstrap
        bench.prepare()
        return bench


class FleetBench(Bench):
    """A data folder whose log, stores and queues are servers."""

    bootstrap = ""

    def __init__(
        self, folder: Path, sections: str, environment: Mapping[str, str], prefix: str
    ) -> None:
        super().__init__(folder, folder / "unused", sections)
        self.prefix = prefix
        self._environment = dict(environment)

    def start(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, **popen: Any
    ) -> Worker:
        return super().start(command, env={**self._environment, **(env or {})}, **popen)

    def member(self, number: int) -> Worker:
        """One of several workers, with a data folder of its own."""
        member = copy(self)
        member.data = self.folder / f"data-{number}"
        return member.worker("--follow")

    def settings(self) -> Settings:
        """For what the test itself reads and makes ready: with more time than a worker gives."""
        with self.signed_in():
            given = super().settings()
        servers = {name: getattr(given, name) for name in KINDS if name != "kafka"}
        patient = {"timeout_seconds": 60.0}
        return given.model_copy(
            update={name: one.model_copy(update=patient) for name, one in servers.items()}
        )

    def patiently(self, *words: str, env: Mapping[str, str] | None = None) -> Ended:
        """Runs a command to a good end. A server that was slow to answer it says nothing of the
        events: it is asked again."""
        for _ in range(PATIENT):
            with self.start((*COMMAND, *words), env=env) as process:
                ended = process.wait()
            if ended.code != UNAVAILABLE:
                break
        assert ended.code == 0, ended.out[-3_000:] + ended.err[-3_000:]
        return ended

    @contextmanager
    def signed_in(self) -> Iterator[None]:
        """The secrets are in the environment of this process."""
        before = {name: os.environ.get(name) for name in self._environment}
        os.environ.update(self._environment)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name)
                else:
                    os.environ[name] = value

    def prepare(self) -> None:
        """Topics and stores are made, as ``topics create`` and ``stores init`` make them."""
        settings = self.settings()
        create_topics(settings.kafka, replication=1)
        with self.signed_in(), opened_servers(settings) as servers:
            for server in servers.values():
                server.init()

    def produce(self, records: Sequence[LogRecord]) -> None:
        """Sends records to the partitions and with the log times that they have; they get the
        offsets that they have, when all of a partition are sent in order."""
        failed: list[str] = []
        producer = Producer(
            {"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 5}
        )
        for record in records:
            origin, (key, headers, value) = record.origin, record.original.open()
            while True:
                try:
                    producer.produce(
                        self.prefix + origin.topic,
                        value,
                        key,
                        origin.partition,
                        on_delivery=lambda error, _: failed.append(error.name()) if error else None,
                        timestamp=origin.timestamp,
                        headers=list(headers),
                    )
                except BufferError:
                    producer.poll(0.1)
                else:
                    break
        left = len(producer)
        while left:  # A broker that was just started again may take its time.
            before, left = left, producer.flush(60)
            assert left < before, f"{left} messages are not taken"
        assert not failed, failed[:3]

    def status(self) -> dict[str, Any]:
        """What ``memory-graph status --json`` says."""
        return dict(msgspec.json.decode(self.command("status", "--json").out))


@contextmanager
def fleet(run: Run) -> Iterator[Fleet]:
    """The servers, until the block ends."""
    with ExitStack() as stack:
        yield Fleet(run, stack)


def _port(server: Server) -> int:
    return next(iter(server.ports.values()))
