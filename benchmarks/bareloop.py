"""What one would write: poll, four drivers one after the other, commit.

``python -m benchmarks.bareloop SERVERS TEXTS PREFIX SEED`` reads the texts' conversations from the
topics with that prefix and writes the records that the pipeline makes of them, which it has made
before: it does none of the worker's own work. It says ``ready``, goes on until SIGTERM and prints
what :mod:`benchmarks.confirming` prints.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Consumer, Message, TopicPartition

from benchmarks import bare, events, records
from benchmarks.servers import Servers
from schemas.records import STORES, Record, Store

GROUP = "bare"
STOPPED = "stopped"


def main(folder: Path, texts: list[str], prefix: str, seed: int) -> None:
    prepared = _prepared(texts, seed)
    servers = Servers.find(folder)
    at = {kind: server.address for kind, server in servers.of.items()}
    writers: dict[Store, bare.Writer] = {
        "graph": bare.neo4j(at["neo4j"]),
        "vector": bare.pinecone(at["pinecone"]),
        "timeseries": bare.influxdb(at["influxdb"], "bare"),
        "search": bare.elasticsearch(at["elasticsearch"]),
    }
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    consumer = open_consumer(servers.bootstrap, GROUP)
    consumer.subscribe([prefix + events.PROMPTS, prefix + events.RESPONSES], on_assign=_at_the_end)
    noted: list[tuple[str, int, int, int, float]] = []
    said = False
    while not stop:
        messages = consumer.consume(1, 0.1)
        if not said and consumer.assignment():
            said = True
            print("ready", flush=True)
        if not messages:
            continue
        messages += consumer.consume(499, 0)
        found = [prepared[json.loads(message.value() or b"{}")["eventId"]] for message in messages]
        for store, write in writers.items():
            write([record[store] for record in found])
        noted += [_note(message, time.time()) for message in messages]
        consumer.commit(asynchronous=False)
    consumer.close()
    json.dump(noted, sys.stdout)


def open_consumer(bootstrap: str, group: str, **more: Any) -> Consumer:
    """A consumer with the client's defaults that commits when it is told to."""
    made = {"bootstrap.servers": bootstrap, "group.id": group, "group.protocol": "consumer"}
    return Consumer(made | {"enable.auto.commit": False} | more)


def _prepared(texts: list[str], seed: int) -> dict[str, dict[Store, Record]]:
    """The records of each event, by its id."""
    found = records.mutations(texts, seed)
    dice = np.random.default_rng(0)
    made = {store: records.select(store, found, dice) for store in STORES}
    if any(len(each) != len(texts) for each in made.values()):
        raise RuntimeError("not every store gets a record of every event")
    return {
        mutation.event.id: {store: made[store][number] for store in STORES}
        for number, mutation in enumerate(found)
    }


def _at_the_end(consumer: Consumer, partitions: list[TopicPartition]) -> None:
    for one in partitions:
        _, one.offset = consumer.get_watermark_offsets(one, 10)
    consumer.incremental_assign(partitions)


def _note(message: Message, now: float) -> tuple[str, int, int, int, float]:
    place = message.topic() or "", message.partition() or 0, message.offset() or 0
    return *place, len(STORES), now


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        json.loads(Path(sys.argv[2]).read_text("utf-8")),
        sys.argv[3],
        int(sys.argv[4]),
    )
